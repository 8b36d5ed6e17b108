"""Purifiers through diffusion: noise up to a step, then denoise in a few strides."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.ledger import tally
from secondlook.models.base import check_pixels
from secondlook.models.purifiers.base import Frame, TunablePurifier
from secondlook.randomness import Keys


class DiffusionPurifier(TunablePurifier):
    """Noise up to a step t*, then denoise in a few strides (DiffPure, arXiv 2205.07460).

    Strides are ancestral steps of DDPM between steps that lie apart (arXiv 2102.09672, section 4);
    the last one returns the predicted clean image. All of it is differentiable.

    Attributes:
        noise: t* as a share of all steps of the schedule, in (0, 1].
        kept: the share of the clean signal's variance that is left at each step, falling.
        strides: how many times the network is asked.
        bounded: whether the clean image lies in [-1, 1].
    """

    bounded: bool = True

    def __init__(
        self,
        name: str,
        modules: tuple[nn.Module, ...],
        *,
        kept: Sequence[float],
        noise: float,
        strides: int,
        frame: Frame,
    ) -> None:
        if strides < 1:
            raise InvalidInput(f"strides={strides} never denoises; write 1 or more")
        self.kept, self.strides = tuple(kept), strides
        super().__init__(name, modules, noise=noise, frame=frame)

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """The noise in ``x`` ``[B, C, h, w]``, which is on its way, at the steps ``t`` ``[B]``."""

    def enter(self, x: Tensor) -> Tensor:
        """Pixels in [0, 1] to what is noised and denoised: here pixels in [-1, 1]."""
        return 2 * x - 1

    def leave(self, x: Tensor) -> Tensor:
        """The way back."""
        return (x + 1) / 2

    @property
    def settings(self) -> tuple[float, ...]:
        return (self.noise, self.strides)

    def check(self, noise: float) -> None:
        if not 0.5 <= noise * len(self.kept) <= len(self.kept):
            raise InvalidInput(
                f"noise={noise:g} of {self.name} is outside (0, 1]; it is a share of {len(self.kept)} steps"
            )

    @property
    def times(self) -> list[int]:
        """The steps that the network is asked at, from t* down."""
        start = min(round(self.noise * len(self.kept)), len(self.kept) - 1)
        marks = {round(start * left / self.strides) for left in range(1, self.strides + 1)}
        return sorted(marks, reverse=True)

    def checked_input(self, x: Tensor) -> Tensor:
        """Checks the pixels; each time that the network is asked is counted where it is asked."""
        check_pixels(x, self.name, self.channels)
        return self.brought(x)

    def remake(self, x: Tensor, keys: Keys) -> Tensor:
        times = self.times
        kept = self.kept[times[0]]
        x = self.enter(x)
        fresh = keys.fold("forward").normal(x.shape[1:], like=x)
        x = math.sqrt(kept) * x + math.sqrt(1 - kept) * fresh
        for now, later in zip(times, times[1:], strict=False):
            fresh = keys.fold("reverse", later).normal(x.shape[1:], like=x)
            x = self._stride(x, now, later, fresh)
        return self.leave(self._clean(x, times[-1]))

    def _clean(self, x: Tensor, now: int) -> Tensor:
        """The clean image that the predicted noise implies."""
        kept, t = self.kept[now], x.new_full((len(x),), now).long()
        clean = (x - math.sqrt(1 - kept) * self.predict(tally(self.name, x), t)) / math.sqrt(kept)
        return clean.clamp(-1, 1) if self.bounded else clean

    def _stride(self, x: Tensor, now: int, later: int, fresh: Tensor) -> Tensor:
        """A draw of the posterior of ``x`` at ``later``, given ``x`` at ``now``."""
        kept, goal = self.kept[now], self.kept[later]
        alpha = kept / goal
        beta = 1 - alpha
        mean = math.sqrt(goal) * beta * self._clean(x, now)
        mean = (mean + math.sqrt(alpha) * (1 - goal) * x) / (1 - kept)
        return mean + math.sqrt(beta * (1 - goal) / (1 - kept)) * fresh
