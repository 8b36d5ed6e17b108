"""The frame: what the network sees, and what comes back."""

import torch
from torch import Tensor

from secondlook.models.frame import Frame


def test_edges_are_repeated_to_the_multiple_and_cut_off_again() -> None:
    seen: list[Tensor] = []

    def body(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    x = torch.rand(2, 3, 5, 9)
    out = Frame(multiple=4).around(body, x)
    assert seen[0].shape == (2, 3, 8, 12)
    assert torch.equal(seen[0][..., 4, :9], seen[0][..., 7, :9])
    assert torch.equal(out, x)


def test_a_single_pixel_is_enough() -> None:
    out = Frame(multiple=8).around(lambda inside: inside * 2, torch.full((1, 3, 1, 1), 0.25))
    assert torch.equal(out, torch.full((1, 3, 1, 1), 0.5))


def test_a_fixed_size_is_what_the_body_sees() -> None:
    sizes: list[torch.Size] = []
    Frame(size=(6, 4)).around(lambda x: (sizes.append(x.shape), x)[1], torch.rand(1, 3, 11, 3))
    assert sizes == [(1, 3, 6, 4)]
