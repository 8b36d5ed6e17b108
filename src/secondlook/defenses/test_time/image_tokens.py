"""Image towers whose blocks are shown further tokens: the visual half of prompt tuning.

A tower is open where its blocks hand a row of tokens on to each other, as those of vision
transformers do, and take a longer row. The further tokens stand at its end (VPT, Jia et al. 2022),
each block is shown its own, and nothing else of the tower is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.runtime.engine import like_blocks
from secondlook.randomness import Keys

SIDE: Final = 224
"""Of the image that finds the blocks, for embedders that name no size."""


class _Passed(NamedTuple):
    """What went through a block.

    Attributes:
        block: which.
        given: tokens, ``[2, T, W]``, or ``[T, 2, W]``.
    """

    block: nn.Module
    given: Tensor


class OpenTower:
    """The image tower of an embedder, whose first blocks can be shown further tokens.

    Args:
        embedder: whose tower it is.
        depth: of how many blocks at most.
        defense: who asks, for messages.

    Attributes:
        depth: how many blocks can be shown some.
        width: of a token.

    Raises:
        InvalidInput: the tower has no such blocks.
    """

    def __init__(self, embedder: Embedder, depth: int, defense: str) -> None:
        size = getattr(embedder, "size", None) or (SIDE, SIDE)
        probe = Keys.of(0, [0, 1]).fold("blocks").uniform((3, *size))
        passed = _passed(embedder, probe)
        self.blocks = [each.block for each in passed]
        self.depth = min(depth, len(passed))
        self.swapped, self.length, self.width = False, 0, 0
        if passed:
            shape = passed[0].given.shape
            self.swapped = shape[0] != 2
            self.length, self.width = shape[1 - self.swapped], shape[2]
        if not passed or not self._takes_more(embedder, probe):
            raise InvalidInput(
                f"{defense} shows an image tower further tokens, and that of {embedder.name} takes none: it is no row "
                "of blocks of a transformer; take scenes:clip-vit, or a CLIP with a vision transformer of the families "
                "hf: and openclip:"
            )

    def _takes_more(self, embedder: Embedder, probe: Tensor) -> bool:
        tokens = torch.ones(1, self.depth, 1, self.width, requires_grad=True)
        try:
            with torch.enable_grad(), self.shown(tokens):
                found = embedder.embed(probe)[:, 0].sum()
                (slope,) = torch.autograd.grad(found, tokens)
        except RuntimeError:
            return False
        return bool(slope.any(-1).all())

    @contextmanager
    def shown(self, tokens: Tensor) -> Iterator[list[Tensor]]:
        """Shows the blocks further tokens inside the block of code.

        Args:
            tokens: ``[B, depth, n, W]`` for images ``[B * V, ...]``, those of each in turn.

        Yields:
            what the blocks make of the image's own tokens, ``[B * V, T, W]`` each, once they have run.
        """
        seen: list[Tensor] = []
        handles = []
        for place, block in enumerate(self.blocks):
            if place < self.depth:
                handles.append(block.register_forward_pre_hook(self._adding(tokens[:, place], place > 0)))
            handles.append(block.register_forward_hook(self._noting(seen, place)))
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def _adding(self, tokens: Tensor, replacing: bool) -> Any:
        def add(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            own = self._turned(given[0])
            own = own[:, : self.length] if replacing else own
            rows = tokens.repeat_interleave(len(own) // len(tokens), 0).to(own)
            return (self._turned(torch.cat([own, rows], 1)), *given[1:])

        return add

    def _noting(self, seen: list[Tensor], place: int) -> Any:
        def note(_: nn.Module, __: Any, out: Any) -> Any:
            found = self._turned(out[0] if isinstance(out, tuple) else out)
            if place < self.depth:
                seen.append(found[:, : self.length])
            if place + 1 < len(self.blocks):
                return None
            kept = self._turned(found[:, : self.length])
            return (kept, *out[1:]) if isinstance(out, tuple) else kept

        return note

    def _turned(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(0, 1) if self.swapped else tokens


def _passed(embedder: Embedder, probe: Tensor) -> list[_Passed]:
    """The blocks that hand on tokens when two images are embedded, in their order."""
    seen: list[_Passed] = []

    def note(block: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        found = out[0] if isinstance(out, tuple) and out else out
        rows = given[0] if given else None
        if isinstance(rows, Tensor) and isinstance(found, Tensor) and rows.shape == found.shape and rows.dim() == 3:
            seen.append(_Passed(block, rows))

    handles = [block.register_forward_hook(note) for module in embedder.modules for block in like_blocks(module)]
    try:
        with torch.no_grad():
            embedder.embed(probe)
    finally:
        for handle in handles:
            handle.remove()
    return [each for each in seen if each.given.shape == seen[0].given.shape and 2 in each.given.shape[:2]]
