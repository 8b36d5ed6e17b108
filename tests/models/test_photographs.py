"""What a photograph goes through before an encoder of CLIP's line."""

import pytest
import torch

from secondlook.errors import InvalidInput
from secondlook.models.photographs import DEVIATION, MEAN, centred, squeezed
from secondlook.models.positions import refitted


@pytest.mark.parametrize(("shape", "rows", "columns"), [
    ((8, 14), (0, 8), (3, 11)), ((13, 8), (2, 10), (0, 8)), ((8, 8), (0, 8), (0, 8)),
])  # fmt: skip
def test_the_middle_is_kept(
    shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    x = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    assert centred(8).fitted(x).equal(x[..., slice(*rows), slice(*columns)])


def test_all_of_a_squeezed_photograph_is_kept() -> None:
    x = torch.zeros(1, 3, 8, 16)
    x[..., 8:] = 1
    seen = squeezed(8).fitted(x)
    assert seen.shape == (1, 3, 8, 8)
    torch.testing.assert_close(seen.mean(), torch.tensor(0.5))
    assert centred(8).fitted(x).shape == (1, 3, 8, 8)


def test_the_mean_becomes_zero_and_a_deviation_one() -> None:
    mean, one = (torch.tensor(v).view(1, 3, 1, 1).expand(1, 3, 2, 2) for v in (MEAN, DEVIATION))
    for shown in (centred(2), squeezed(2)):
        torch.testing.assert_close(shown(mean), torch.zeros(1, 3, 2, 2))
        torch.testing.assert_close(shown(mean + one), torch.ones(1, 3, 2, 2))


def test_positions_are_stretched_and_the_class_tokens_stays() -> None:
    held = torch.full((1, 17, 2), 3.0)
    held[:, 0] = 7
    fitted = refitted(held, 64)
    assert fitted.shape == (1, 65, 2) and fitted[:, 0].eq(7).all()
    torch.testing.assert_close(fitted[:, 1:], torch.full((1, 64, 2), 3.0))
    assert refitted(held, 16) is held


def test_positions_of_no_square_are_refused() -> None:
    with pytest.raises(InvalidInput, match="16 patches do not fit 12"):
        refitted(torch.zeros(1, 17, 2), 12)
