"""Models that paint an image of a sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.models.identity import TEXTS, Answer
from secondlook.randomness import Keys


class Painter(Model):
    """Texts to images; a subclass draws.

    Attributes:
        size: height and width of its images.
        steps: how often it asks its network for an image, where nobody says.
        guidance: how strongly the text draws, where nobody says; what one unit is, the subclass
            says.
    """

    size: tuple[int, int]
    steps: int
    guidance: float

    @abstractmethod
    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        """An image of each text, ``[B, 3, H, W]``, with randomness from ``keys``."""

    def probe_answers(self) -> Sequence[Answer]:
        keys = Keys.of(0, range(1)).fold("probe")
        return (*super().probe_answers(), lambda _: self.paint(TEXTS[:1], keys, steps=2))

    def truncates(self, text: str) -> bool:
        """Whether the end of a text goes unread, as it is longer than the painter's context."""
        return False

    @torch.no_grad()
    def paint(
        self, texts: Sequence[str], keys: Keys, *, steps: int | None = None, guidance: float | None = None
    ) -> Tensor:
        """An image of each text, ``[B, 3, H, W]`` in [0, 1].

        Args:
            texts: what to paint.
            keys: one for each text; an image does not depend on its batch.
            steps: how often the network is asked for an image; None takes the painter's own.
            guidance: how strongly the text draws; None takes the painter's own.

        Raises:
            InvalidInput: not as many keys as texts, none, an empty text, a number out of range, or
                it fails, or draws what is no picture.
        """
        if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
            raise InvalidInput(f"{texts!r} must be a list of texts, none of them empty")
        if len(keys) != len(texts):
            raise InvalidInput(f"{len(texts)} text(s) need as many keys, not {len(keys)}")
        settled = self._settled(steps, guidance)
        try:
            made = self.draw(texts, keys, *settled)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, LookupError) as error:
            raise InvalidInput(f"{self.name} failed to paint {texts[0]!r} …: {error}") from error
        return self._pictures(made, texts).float().clamp(0, 1)

    def _pictures(self, made: Tensor, texts: Sequence[str]) -> Tensor:
        """What was drawn, if it is pictures."""
        if made.dim() != 4 or made.shape[:2] != (len(texts), 3):
            raise InvalidInput(
                f"{self.name} painted {tuple(made.shape)} of {len(texts)} text(s); one picture "
                "of three channels is wanted of each"
            )
        spoilt = [text for text, one in zip(texts, made, strict=True) if not one.isfinite().all()]
        if spoilt:
            raise InvalidInput(
                f"{self.name} painted NaN or infinite pixels of {spoilt[0]!r}; run it in fp32, or leave it out"
            )
        return made

    def _settled(self, steps: int | None, guidance: float | None) -> tuple[int, float]:
        """What was asked for, or the painter's own."""
        steps = self.steps if steps is None else steps
        guidance = self.guidance if guidance is None else guidance
        if steps < 1 or not 0 <= guidance < float("inf"):
            raise InvalidInput(f"steps={steps} must be 1 or more, guidance={guidance:g} 0 or more, to paint")
        return steps, guidance


class SoftPainter(Painter):
    """A painter that takes how likely each word is, with a gradient back to the chances.

    Attributes:
        vocabulary: what tells its words and their numbers from those of others.
    """

    vocabulary: str

    @abstractmethod
    def draw_soft(self, words: Tensor, mask: Tensor, keys: Keys, steps: int, guidance: float) -> Tensor:
        """An image of each row of :meth:`paint_soft`, ``[B, 3, H, W]``."""

    def paint_soft(
        self, words: Tensor, mask: Tensor, keys: Keys, *, steps: int | None = None, guidance: float | None = None
    ) -> Tensor:
        """An image of each row of words, ``[B, 3, H, W]`` in [0, 1], differentiable in ``words``.

        Where a row is certain of each word, it is what :meth:`paint` makes of that text.

        Args:
            words: chances ``[B, L, V]`` of each word of a text, that of its end among them.
            mask: ``[B, L]``, 1 at words and 0 at what fills a row up.
            keys: one for each row; an image does not depend on its batch.
            steps: as in :meth:`paint`, as is ``guidance``; fewer steps are a shorter way back.
            guidance: see ``steps``.

        Raises:
            InvalidInput: chances, mask and keys do not fit each other, or a number is out of range.
        """
        if words.dim() != 3 or mask.shape != words.shape[:2] or len(keys) != len(words):
            raise InvalidInput(
                f"chances {tuple(words.shape)}, a mask {tuple(mask.shape)} and {len(keys)} key(s) "
                "do not fit; write [B, L, V], [B, L] and B keys"
            )
        made = self.draw_soft(words, mask, keys, *self._settled(steps, guidance))
        return made.float().clamp(0, 1)


def strokes(painter: Painter, texts: Sequence[str], copies: Sequence[int], seed: int) -> Keys:
    """The keys of paintings that belong to their painter, text and number under ``seed``."""
    names = [f"{text}\n{copy}" for text, copy in zip(texts, copies, strict=True)]
    return Keys.of(seed, names).fold("painting", painter.name)
