"""The regenerated image as an adaptive attacker sees it: with a gradient through the painting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.models.captioner import Captioner
from secondlook.models.painter import Painter, SoftPainter, strokes
from secondlook.objectives.evasion import Suspicious
from secondlook.randomness import Keys

MOST: Final = 2.0
"""One less the least cosine: the suspicion of an image of which nothing is said."""


@dataclass(frozen=True, kw_only=True)
class ThroughPainting:
    """One less the mean cosine of an image to the painting of what is likely to be said of it.

    It is a detector for :class:`~secondlook.objectives.evasion.DetectorEvasion`: the feature-level
    attack that arXiv 2406.09250 asks for, by an adapter from the captioner to the painter's
    conditioning. Both sides of the cosine follow the image: its embedding; and through the
    captioner's chances of each next word along a caption (teacher forcing), the mean embedding of
    those words in the painter's text encoder, and the painter's few steps, its painting. Noise is
    that of the detector's own paintings of that caption. Nothing is random, and one draw is enough.

    Attributes:
        captioner: the victim.
        painter: the detector's, one that passes a gradient back to words.
        encoders: the detector's; their mean counts.
        sharp: paint the caption itself, word for word, and pass the gradient straight through to
            the chances; else what is painted is as uncertain as the captioner.
        paintings: of each caption.
        steps: of a painting, and ``guidance``; 0 and below 0 take the painter's own. Fewer are
            cheaper, and are no longer what the detector paints.
        guidance: see ``steps``.
        seed: of the detector's paintings.
        caption: how captions are written where none are given; keywords of ``Captioner.caption``.

    Raises:
        InvalidInput: the painter has no gradient, or other words than the captioner; there is no
            encoder or no painting.
    """

    captioner: Captioner
    painter: Painter
    encoders: tuple[Embedder, ...]
    sharp: bool = False
    paintings: int = 1
    steps: int = 0
    guidance: float = -1.0
    seed: int = 0
    caption: dict[str, Any] = field(default_factory=lambda: {"length": 40})

    def __post_init__(self) -> None:
        if not isinstance(self.painter, SoftPainter):
            raise InvalidInput(
                f"painter={self.painter.name} passes no gradient back to words; write "
                "painter=scenes:painter, or paint the target's caption once (DetectorEvasion alone)"
            )
        if self.painter.vocabulary != self.captioner.vocabulary:
            raise InvalidInput(
                f"{self.captioner.name} and {self.painter.name} number their words differently; "
                "write scenes:captioner and scenes:painter, which share theirs"
            )
        if not self.encoders or self.paintings < 1 or self.steps < 0:
            raise InvalidInput(
                f"{len(self.encoders)} encoder(s), paintings={self.paintings}, steps={self.steps}: "
                "write one encoder and one painting or more, and 0 steps for the painter's own"
            )

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks inside."""
        parts: tuple[Model, ...] = (self.captioner, self.painter, *self.encoders)
        return tuple(module for part in parts for module in part.modules)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]`` in [0, 2], differentiable in ``x`` by both ways.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            keys: one for each image; they draw what is said where ``caption`` draws.
            captions: along which the chances are read, one for each image; empty takes what the
                captioner says now.

        Raises:
            InvalidInput: not as many captions as images.
        """
        if isinstance(captions, str) or len(captions) not in (0, len(x)):
            raise InvalidInput(f"{len(x)} image(s) need as many captions, not {len(captions)}")
        now = self.captioner.round_trip(captions, self._prompt) if captions else self._said(x, keys)
        painted = self._painted(*self._chances(x, now), now)
        total = x.new_zeros(len(x))
        for encoder in self.encoders:
            painted_vectors = encoder.embed(painted).view(len(x), self.paintings, -1).to(x.device)
            total = total + (encoder.embed(x)[:, None] * painted_vectors).sum(-1).mean(1)
        captioned = torch.tensor([bool(text.strip()) for text in now], device=x.device)
        return torch.where(captioned, 1 - total / len(self.encoders), MOST)

    @property
    def _prompt(self) -> str:
        prompt: str = self.caption.get("prompt", "") or self.captioner.prompt
        return prompt

    def _said(self, x: Tensor, keys: Keys) -> list[str]:
        """What is said now; a detector that asks for captions itself draws by the same keys."""
        return self.captioner.caption(x.detach(), keys.fold("caption"), **self.caption)

    def _chances(self, x: Tensor, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Chances ``[B, L, V]`` of each word after the right ones before it, and their mask."""
        seen = self.captioner.checked_input(x)
        ids, mask = (each.to(seen.device) for each in self.captioner.tokens(captions, self._prompt))
        chances = self.captioner.logits(seen, ids, self._prompt).softmax(-1)
        if self.sharp:
            certain = F.one_hot(ids, chances.shape[-1]).to(chances)
            chances = certain + chances - chances.detach()
        return chances, mask

    def _painted(self, chances: Tensor, mask: Tensor, captions: Sequence[str]) -> Tensor:
        """The paintings of each row side by side, ``[B * P, 3, h, w]``."""
        assert isinstance(self.painter, SoftPainter)
        each = self.paintings
        texts = [text for text in captions for _ in range(each)]
        keys = strokes(self.painter, texts, [*range(each)] * len(captions), self.seed)
        return self.painter.paint_soft(
            chances.repeat_interleave(each, 0),
            mask.repeat_interleave(each, 0),
            keys,
            steps=self.steps or None,
            guidance=None if self.guidance < 0 else self.guidance,
        )


@dataclass(frozen=True, kw_only=True)
class PaintingGradient:
    """A detector whose suspicion is its own, and whose gradient goes through its painting.

    Attributes:
        detector: says how suspicious an input is.
        slope: gives the gradient.
    """

    detector: Suspicious
    slope: ThroughPainting

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """The detector's ``[B]``, with the gradient of ``slope``."""
        with torch.no_grad():
            own = self.detector.suspicion(x, keys, captions)
        steep = self.slope.suspicion(x, keys, captions)
        return own + steep - steep.detach()
