"""A purifier with one knob, the strength of its noise, in a frame of its own size."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Self

from torch import Tensor, nn

from secondlook.models.base import Purifier
from secondlook.models.frame import Frame
from secondlook.randomness import Keys


class TunablePurifier(Purifier):
    """A purifier whose randomness has a strength that a user may choose.

    Attributes:
        noise: the strength; what one unit of it is, the subclass says.
        frame: the sizes that the network takes.
    """

    def __init__(
        self, name: str, modules: tuple[nn.Module, ...], *, noise: float, frame: Frame
    ) -> None:
        self.name, self.modules, self.frame = name, modules, frame
        self._set(noise)

    @abstractmethod
    def remake(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of ``x``, which is of a size that the network takes."""

    @abstractmethod
    def check(self, noise: float) -> None:
        """Raises ``InvalidInput`` where the knob does not go."""

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of each image."""
        return self.frame.around(lambda inside: self.remake(inside, keys), x)

    @property
    def knobs(self) -> tuple[float, ...]:
        return (self.noise,)

    def tuned(self, noise: float) -> Self:
        """The same networks with another ``noise``.

        Raises:
            InvalidInput: the knob does not go there.
        """
        other = copy.copy(self)
        other._set(noise)
        return other

    def _set(self, noise: float) -> None:
        self.check(noise)
        self.noise, self.stochastic = noise, noise > 0
