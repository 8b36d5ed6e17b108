"""Detectors that compare an input with other views of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from secondlook.defenses.detector import Detector
from secondlook.defenses.eyes import many
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder, Model, Purifier
from secondlook.models.jpeg import straight_through
from secondlook.models.views import VIEWS
from secondlook.randomness import Keys

Rule = Literal["mean", "max"]


@dataclass(frozen=True, kw_only=True)
class Consistency(Detector):
    """One less the cosine of an input to another view of itself, cos(E(x), E(T(x))).

    Attributes:
        eyes: embedders that compare; their cosines are averaged.
        views: what makes the other views.
        rule: of several views, whether the ``max`` of the suspicions counts, or their ``mean``.
    """

    eyes: tuple[Embedder, ...]
    views: tuple[Purifier, ...]
    rule: Rule = "max"

    @property
    def parts(self) -> tuple[Model, ...]:
        """Embedders and views."""
        return (*self.eyes, *self.views)

    @property
    def stochastic(self) -> bool:
        """Whether a view is."""
        return any(view.stochastic for view in self.views)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]`` in [0, 2]; a view without a gradient of use is passed straight through."""
        own = [eye.embed(x) for eye in self.eyes]
        found = []
        for number, view in enumerate(self.views):
            seen = _viewed(view, x, keys.fold("view", number))
            near = [(eye.embed(seen) * at).sum(1) for eye, at in zip(self.eyes, own, strict=True)]
            found.append(1 - torch.stack(near).mean(0))
        every = torch.stack(found)
        return every.amax(0) if self.rule == "max" else every.mean(0)


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Detector):
    """How far an autoencoder's reconstruction is off, in pixels (MagNet, arXiv 1705.09064, 4.2).

    Attributes:
        autoencoder: what reconstructs.
        order: 1 is the mean absolute error, 2 the root of the mean square.
    """

    autoencoder: Purifier
    order: int = 1

    @property
    def parts(self) -> tuple[Model, ...]:
        """The autoencoder."""
        return (self.autoencoder,)

    @property
    def stochastic(self) -> bool:
        """Whether the autoencoder is."""
        return self.autoencoder.stochastic

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]``, in pixel units."""
        off = (x - _viewed(self.autoencoder, x, keys)).flatten(1).abs()
        return off.mean(1) if self.order == 1 else off.square().mean(1).sqrt()


def _viewed(view: Purifier, x: Tensor, keys: Keys) -> Tensor:
    if view.differentiable:
        return view.purify(x, keys)
    return straight_through(x, view.purify(x.detach(), keys))


def views(given: Any) -> tuple[Purifier, ...]:
    """The views that ``given`` names: ``blur:1``, ``jpeg:75``, ``scenes:ae``, with commas between.

    Raises:
        UnknownName: there is no such view.
        InvalidInput: a strength out of range, or a model that is no purifier.
    """
    return many(
        [_view(each.strip()) for each in given.split(",")] if isinstance(given, str) else given,
        Purifier, "views", "blur:1",
    )  # fmt: skip


def _view(name: str) -> Any:
    kind, _, strength = name.partition(":")
    if kind not in VIEWS:
        return load(name)
    try:
        return VIEWS[kind](float(strength))
    except ValueError:
        raise InvalidInput(f"view {name!r} has no strength; write {kind}:NUMBER") from None
