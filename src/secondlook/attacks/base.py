"""The frame of every attack: a final call around a search that a subclass writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, final

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.base import check_pixels, evaluating
from secondlook.randomness import Keys
from secondlook.threat import Threat


class Judged(NamedTuple):
    """What one forward tells of a batch.

    Attributes:
        loss: ``[B]``, higher is worse for the defender.
        reached: ``[B]`` bool, whether the goal is reached by what this forward saw.
    """

    loss: Tensor
    reached: Tensor


class Objective(Protocol):
    """What an attack climbs: a goal seen through a victim. It is all that an attack knows."""

    @property
    def parts(self) -> Sequence[Objective]:
        """The members of an ensemble, or the objective itself alone."""
        ...

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks inside."""
        ...

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """Judges a batch ``[B, ...]``; ``keys`` feed the victim's own randomness."""
        ...

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What an attack saw on its way, one value per sample; the health checks read it.

    Attributes:
        first_loss: the loss at the start.
        middle_loss: the loss half-way.
        last_loss: the loss of the last iterate that was judged.
        zero_gradient: share of the steps whose gradient was zero everywhere.
        bad_gradient: share of the steps whose gradient held NaN or infinity.
        steps: steps taken.
    """

    first_loss: Tensor
    middle_loss: Tensor
    last_loss: Tensor
    zero_gradient: Tensor
    bad_gradient: Tensor
    steps: Tensor


class Attacked(NamedTuple):
    """What an attack has made.

    Attributes:
        x: adversarial inputs ``[B, ...]``; the attack's call puts them on the 8-bit grid.
        trace: of their making.
        notices: what the user has to know of how they were made.
        by: which of several attacks fooled each sample with an 8-bit image, ``[B]`` long, -1
            for none; None where there is only one.
        members: the names of those attacks.
    """

    x: Tensor
    trace: Trace
    notices: tuple[str, ...] = ()
    by: Tensor | None = None
    members: tuple[str, ...] = ()


class FinalCall:
    """What a frame is made of: its own call is final, and subclasses of it write the search."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls) and FinalCall not in cls.__bases__:
            raise TypeError(f"{cls.__name__}.__call__ is final; write search() instead")


def settled(found: Tensor, clean: Tensor, threat: Threat) -> Tensor:
    """What a search has found, projected and on the 8-bit grid.

    Raises:
        BrokenThreat: an independent check, before and after the rounding, says that it left its
            threat model.
    """
    x = threat.project(found.detach(), clean)
    threat.check(x, clean)
    rounded = threat.quantise(x, clean)
    threat.check(rounded, clean)
    return rounded


@dataclass(frozen=True, kw_only=True)
class Attack(FinalCall, ABC):
    """An optimiser. Subclasses write :meth:`search`; the call around it is final.

    The call puts the networks into eval mode and restores them, leaves the parameters' ``.grad``
    alone, projects the result, and then checks norm, range and shape independently, again after
    rounding to 8 bits.
    """

    @abstractmethod
    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Looks for a point of the ball around ``clean`` where the objective is high."""

    def unbounded(self) -> Attack:
        """The same attack as it would be without a bound, eps 1: a health check runs it."""
        return self

    @final
    def __call__(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Attacks the batch ``clean``, ``[B, 3, H, W]`` in [0, 1].

        Args:
            objective: what to climb.
            clean: the inputs.
            threat: norm and radius.
            keys: one key per sample, for every random draw of the search.

        Raises:
            InvalidInput: the batch is no batch of pixels, or the keys are not one per sample.
            BrokenThreat: the search left its threat model: a defect of the attack.
        """
        check_pixels(clean, type(self).__name__)
        if len(keys) != len(clean):
            raise InvalidInput(f"{len(keys)} keys for {len(clean)} samples; one key per sample")
        clean = clean.detach()
        with evaluating(objective.modules), torch.enable_grad():
            found = self.search(objective, clean, threat, keys)
        return found._replace(x=settled(found.x, clean, threat))


def input_gradient(objective: Objective, x: Tensor, keys: Keys) -> tuple[Tensor, Judged]:
    """The gradient of each sample's loss to its own input, and the judgement it came with."""
    x = x.detach().requires_grad_()
    judged = objective(x, keys)
    if judged.loss.requires_grad:
        (gradient,) = torch.autograd.grad(judged.loss.sum(), x, materialize_grads=True)
    else:
        gradient = torch.zeros_like(x)
    return gradient, Judged(judged.loss.detach(), judged.reached.detach())
