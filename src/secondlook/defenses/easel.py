"""Paintings of captions: made once for each caption, checked, and kept."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from secondlook.defenses.mirrors import Mirrors
from secondlook.errors import InvalidInput
from secondlook.models.base import resized
from secondlook.models.painter import Painter, strokes
from secondlook.randomness import Keys
from secondlook.threat import LEVELS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Easel:
    """Paints captions, some times each, by one painter or one of several drawn for each input.

    A painting is a function of its painter, its caption and its number under ``seed``: whoever
    asks again gets the same, and what lies in the cache is what would be painted anew. Pixels are
    rounded to 8 bits, so that it takes no more memory than a file of pixels.

    Attributes:
        painters: who paints.
        paintings: of each caption, P.
        seed: of the painters' draws.
        steps: of a painting, and ``guidance``; 0 and below 0 take the painter's own.
        guidance: see ``steps``.
        kept: paintings that are kept at most; the oldest go first.
        batch: captions that are painted together.

    Raises:
        InvalidInput: no painting at all, or a negative number of steps.
    """

    painters: tuple[Painter, ...]
    paintings: int = 1
    seed: int = 0
    steps: int = 0
    guidance: float = -1.0
    kept: int = 4096
    batch: int = 32
    _cache: dict[Any, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _known: dict[Hashable, dict[str, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.paintings < 1 or self.steps < 0 or self.batch < 1:
            raise InvalidInput(
                f"paintings={self.paintings}, steps={self.steps}, batch={self.batch}: write 1 "
                "painting or more, 0 steps for the painter's own, and a batch of 1 or more"
            )

    @property
    def stochastic(self) -> bool:
        """Whether the painter of an input is drawn."""
        return len(self.painters) > 1

    def hang(self, captions: Sequence[str], keys: Keys) -> Mirrors:
        """P paintings of each caption, all of the first painter's size.

        Args:
            captions: one for each input, none of them empty.
            keys: one for each input; they choose the painter, where there are several.

        Raises:
            InvalidInput: a painter fails, or paints what is no picture.
        """
        chosen = keys.fold("painter").integers(len(self.painters))
        wanted = [
            (number, caption, copy)
            for number, caption in zip(chosen, captions, strict=True)
            for copy in range(self.paintings)
        ]
        missing = [each for each in dict.fromkeys(wanted) if each not in self._cache]
        for number, painter in enumerate(self.painters):
            own = [each for each in missing if each[0] == number]
            for some in (own[at : at + self.batch] for at in range(0, len(own), self.batch)):
                self._cache.update(zip(some, self._painted(painter, some), strict=True))
        flat = torch.stack([self._cache[each] for each in wanted]).float() / LEVELS
        self._forget()
        pictures = flat.unflatten(0, (len(captions), self.paintings))
        return Mirrors(pictures, wanted, self._known)

    def _painted(
        self, painter: Painter, wanted: Sequence[tuple[int, str, int]]
    ) -> Iterator[Tensor]:
        """The pixels of some paintings of one painter, ``[3, h, w]`` in 8 bits each."""
        texts = [caption for _, caption, _ in wanted]
        keys = strokes(painter, texts, [copy for *_, copy in wanted], self.seed)
        guidance = None if self.guidance < 0 else self.guidance
        made = painter.paint(texts, keys, steps=self.steps or None, guidance=guidance)
        _warn_of_context(painter, texts)
        return iter((resized(made, *self.painters[0].size) * LEVELS).round().byte().cpu())

    def _forget(self) -> None:
        while len(self._cache) > self.kept:
            oldest = next(iter(self._cache))
            del self._cache[oldest]
            self._known.pop(oldest, None)


def _warn_of_context(painter: Painter, texts: Sequence[str]) -> None:
    """Says how many captions lose their end, where the painter tells how much it reads."""
    long = [text for text in texts if painter.unread(text)]
    if long:
        _log.warning(
            "%s reads no more than a part of %d of %d captions; the longest has %d words",
            painter.name, len(long), len(texts), max(len(text.split()) for text in long),
        )  # fmt: skip
