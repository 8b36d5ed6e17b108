"""The pointing game, the overlap of boxes and the heat inside, by hand."""

import pytest
import torch

from secondlook.errors import InvalidInput
from secondlook.metrics.pointing import pointed


def test_peak_overlap_and_share_by_hand() -> None:
    maps = torch.zeros(3, 10, 10)
    maps[0, 2:4, 2:6] = 1.0
    maps[0, 8, 8] = 0.9
    maps[1, 0, 9] = 2.0
    boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
    found = pointed(maps, boxes)
    assert found.hit.tolist() == [True, False, False]
    # The larger region is 4 wide and 2 high; 2×2 of it is in the box.
    assert found.overlap.tolist() == pytest.approx([4 / 8, 0, 0])
    assert found.inside.tolist() == pytest.approx([4 / 8.9, 0, 0])
    assert pointed(maps[:1], boxes[:1], 1.0).overlap.tolist() == pytest.approx([0.5])


def test_a_lower_threshold_takes_in_more() -> None:
    maps = torch.tensor([[[0.2, 0.6, 1.0, 0.6, 0.2]]])
    widths = [pointed(maps, torch.tensor([[0.0, 0, 1, 1]]), t).overlap.item() for t in (0.1, 0.5, 1)]
    assert widths == pytest.approx([1.0, 0.6, 0.2])


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_threshold_that_is_no_share_is_told(threshold: float) -> None:
    with pytest.raises(InvalidInput, match="outside"):
        pointed(torch.ones(1, 2, 2), torch.ones(1, 4), threshold)
    with pytest.raises(InvalidInput, match="boxes are"):
        pointed(torch.ones(1, 2, 2), torch.ones(2, 4))
