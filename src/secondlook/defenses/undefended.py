"""No defense, and the two controls that have learned nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.defenses.base import Defense, Detector
from secondlook.models.base import Model
from secondlook.randomness import Keys
from secondlook.registry import register


@register("defense", "undefended")
@dataclass(frozen=True, kw_only=True)
class Undefended(Defense):
    """The bare model: answers for the input itself and accepts everything."""


@register("defense", "always-accept")
@dataclass(frozen=True, kw_only=True)
class AlwaysAccept(Undefended):
    """Rejects nothing: the control on the one side of every defense that can reject."""


@register("defense", "always-reject")
@dataclass(frozen=True, kw_only=True)
class AlwaysReject(Defense):
    """Rejects everything: never fooled, never of use, the control on the other side."""

    threshold = 0.0

    def detector(self, model: Model) -> Detector:
        """One whose suspicion is 1, whatever it is shown."""
        return _Certain()


class _Certain(Detector):
    """As suspicious of every input."""

    @property
    def parts(self) -> tuple[Model, ...]:
        """None."""
        return ()

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """1 for each input; there is no gradient towards acceptance."""
        return torch.ones(len(x), device=x.device)
