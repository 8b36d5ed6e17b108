"""Images of one color each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from secondlook.data.base import Captioned, Samples

SIDE = 4


class Solid(Captioned):
    """Images of ``colors``, in 255ths, with captions that are a subclass's."""

    colors: list[tuple[int, ...]]

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        chosen = torch.tensor([self.colors[row] for row in rows])[:, :, None, None] / 255
        return Samples(chosen.expand(-1, -1, SIDE, SIDE).clone(), torch.tensor(list(rows)))
