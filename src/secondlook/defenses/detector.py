"""What every detector can be asked: how suspicious an input is, whatever is done about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from secondlook.models.base import Model
from secondlook.randomness import Keys


class Detector(ABC):
    """Looks at an input, and perhaps at what a model said of it.

    Attributes:
        listens: whether it needs what was said, as captions.
    """

    listens: bool = False

    @property
    @abstractmethod
    def parts(self) -> tuple[Model, ...]:
        """All models inside."""

    @property
    def stochastic(self) -> bool:
        """Whether two looks at one input may differ."""
        return False

    def painted(self, captions: Sequence[str], keys: Keys) -> Tensor | None:
        """What it paints of captions, ``[B, P, 3, h, w]``; None where it paints nothing."""
        return None

    @abstractmethod
    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """How suspicious each input is, ``[B]``; higher is more likely attacked.

        It is differentiable in ``x`` where the detector's parts are.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            keys: one for each image, for the detector's own draws.
            captions: what was said of each, where the detector listens.
        """
