"""Models that paint an image of a sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Model
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

    def unread(self, text: str) -> bool:
        """Whether the end of a text goes unread, as it is longer than the painter's context."""
        return False

    @torch.no_grad()
    def paint(
        self, texts: Sequence[str], keys: Keys, *, steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:  # fmt: skip
        """An image of each text, ``[B, 3, H, W]`` in [0, 1].

        Args:
            texts: what to paint.
            keys: one for each text; an image does not depend on its batch.
            steps: how often the network is asked for an image; None takes the painter's own.
            guidance: how strongly the text draws; None takes the painter's own.

        Raises:
            InvalidInput: not as many keys as texts, none, an empty text, or a number out of range.
        """
        if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
            raise InvalidInput(f"{texts!r} must be a list of texts, none of them empty")
        if len(keys) != len(texts):
            raise InvalidInput(f"{len(texts)} text(s) need as many keys, not {len(keys)}")
        steps = self.steps if steps is None else steps
        guidance = self.guidance if guidance is None else guidance
        if steps < 1 or not 0 <= guidance < float("inf"):
            raise InvalidInput(
                f"steps={steps} must be 1 or more, guidance={guidance:g} 0 or more, to paint"
            )
        return self.draw(texts, keys, steps, guidance).float().clamp(0, 1)
