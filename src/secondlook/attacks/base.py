"""What every attack is: a final call around a search that a subclass writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Protocol, Self, final

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.base import check_pixels, evaluating
from secondlook.models.runtime.memory import halving
from secondlook.randomness import Keys
from secondlook.threat import Threat


class Evaluation(NamedTuple):
    """What one forward tells of a batch.

    Attributes:
        loss: ``[B]``, higher is worse for the defender.
        success: ``[B]`` bool, whether the goal is reached by what this forward saw.
    """

    loss: Tensor
    success: Tensor


class Objective(Protocol):
    """What an attack maximizes: a goal seen through a victim. It is all that an attack knows."""

    @property
    def parts(self) -> Sequence[Objective]:
        """The members of an ensemble, or the objective itself alone."""
        ...

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks inside."""
        ...

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Evaluates a batch ``[B, ...]``; ``keys`` feed the victim's own randomness."""
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
        last_loss: the loss of the last iterate that was evaluated.
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

    @classmethod
    def unknown(cls, clean: Tensor) -> Self:
        """The trace of a batch ``clean`` of which nothing was tried yet."""
        loss, none = clean.new_full((len(clean),), float("nan")), clean.new_zeros(len(clean))
        return cls(first_loss=loss, middle_loss=loss, last_loss=loss, zero_gradient=none, bad_gradient=none, steps=none)


@dataclass(frozen=True)
class Passes:
    """How often an attack evaluates its objective at a sample at most, whatever comes of it.

    Attributes:
        gradients: evaluations whose gradient is taken.
        queries: evaluations alone.

    Example:
        >>> Passes(gradients=10, queries=1) * 2 + Passes(queries=5)
        Passes(gradients=20, queries=7)
    """

    gradients: float = 0
    queries: float = 0

    def __add__(self, other: Passes) -> Passes:
        """Those of both."""
        return Passes(self.gradients + other.gradients, self.queries + other.queries)

    def __mul__(self, times: float) -> Passes:
        """Those of so many."""
        return Passes(self.gradients * times, self.queries * times)


class AttackResult(NamedTuple):
    """What an attack has made.

    Attributes:
        x: adversarial inputs ``[B, ...]``; the attack's call puts them on the threat's grid.
        trace: of their making.
        notices: what the user has to know of how they were made.
        by: which of several attacks fooled each sample with what it can hand in, ``[B]`` long, -1
            for none; None where there is only one.
        members: the names of those attacks.
        success: ``[B]`` bool, whose ``x`` the search itself has seen to reach the goal: its own
            claim, with its own draws and before any rounding. None where it did not look.
    """

    x: Tensor
    trace: Trace
    notices: tuple[str, ...] = ()
    by: Tensor | None = None
    members: tuple[str, ...] = ()
    success: Tensor | None = None


class FinalCall:
    """A class whose own call is final, so that a subclass of it writes the search alone.

    Attributes:
        key: what an audit keys the attack's draws by, where that is not its registered name: an
            attack that is renamed keeps its draws, so that its figures are found again.
    """

    key: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls) and FinalCall not in cls.__bases__:
            raise TypeError(f"{cls.__name__}.__call__ is final; write search() instead")


def finished(found: Tensor, clean: Tensor, threat: Threat) -> Tensor:
    """What a search has found, projected, and on the grid where the threat has one.

    Raises:
        BrokenThreat: an independent check, before and after the rounding, says that it left its
            threat model.
    """
    x = threat.project(found.detach(), clean)
    threat.check(x, clean)
    if threat.grid is None:
        return x
    rounded = threat.quantize(x, clean)
    threat.check(rounded, clean)
    return rounded


@dataclass(frozen=True, kw_only=True)
class Attack(FinalCall, ABC):
    """An optimizer. Subclasses write :meth:`search`; the call around it is final.

    The call hands over a copy of the batch, puts the networks into eval mode and restores them,
    leaves the parameters' ``.grad`` alone, projects the result, and then checks norm, range and
    shape independently, again after rounding where the threat has a grid.

    Attributes:
        replays_bare: whether it also shows a defense what fools the bare model.
        transfers: whether it begins on surrogates, and goes on by queries to the victim.
        only_asks: whether it takes no gradient of any model.
    """

    replays_bare: ClassVar[bool] = False
    transfers: ClassVar[bool] = False
    only_asks: ClassVar[bool] = False

    @abstractmethod
    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Looks for a point of the ball around ``clean`` where the objective is high."""

    def passes(self, objective: Objective, threat: Threat) -> Passes | None:
        """The evaluations that a search needs at most for a sample; None where an attack does not say."""
        return None

    def unbounded(self) -> Attack:
        """The same attack as it would be without a bound, eps 1: a health check runs it."""
        return self

    @final
    def __call__(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Attacks the batch ``clean``, ``[B, C, H, W]`` in [0, 1].

        Args:
            objective: what to maximize.
            clean: the inputs.
            threat: norm and radius, and the grid of the result, if any.
            keys: one key per sample, for every random draw of the search.

        Raises:
            InvalidInput: the batch is no batch of pixels, the keys are not one per sample, or the
                attack needs a gradient and the objective has none.
            BrokenThreat: the search left its threat model: a defect of the attack.
        """
        check_pixels(clean, type(self).__name__, channels=None)
        if len(keys) != len(clean):
            raise InvalidInput(f"{len(keys)} keys for {len(clean)} samples; one key per sample")
        with torch.inference_mode(False), torch.enable_grad(), evaluating(objective.modules):
            clean = clean.detach().clone()
            found = self.search(objective, clean, threat, keys)
            return found._replace(x=finished(found.x, clean, threat))


def attack_in_parts(attack: Attack, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
    """What ``attack`` makes of a batch; one that does not fit into memory is halved until it does.

    A sample's adversarial does not depend on who is beside it but for the float noise of the
    kernels, so that the parts make the whole. That it was halved is among the notices.

    Raises:
        InvalidInput: not even one sample fits; or as the attack raises it.
    """
    everyone = torch.arange(len(clean), device=clean.device)

    def some(rows: slice) -> AttackResult:
        whole = rows == slice(0, len(clean))
        part = objective if whole else objective.take(everyone[rows])
        return attack(part, clean[rows], threat, keys[rows])

    parts, size = halving(some, len(clean))
    return parts[0] if len(parts) == 1 else _joined(parts, size)


def _joined(parts: list[AttackResult], size: int) -> AttackResult:
    count = sum(len(part.x) for part in parts)
    notices = [notice for part in parts for notice in part.notices]
    notices.append(f"{count} images did not fit into memory and were attacked {size} at a time; write batch = {size}")
    traces = {f.name: [getattr(part.trace, f.name) for part in parts] for f in fields(Trace)}
    by = [part.by for part in parts if part.by is not None]
    success = [part.success for part in parts if part.success is not None]
    return AttackResult(
        x=torch.cat([part.x for part in parts]),
        trace=Trace(**{name: torch.cat(values) for name, values in traces.items()}),
        notices=tuple(dict.fromkeys(notices)),
        by=torch.cat(by) if by else None,
        members=parts[0].members,
        success=torch.cat(success) if success else None,
    )


View = Callable[[Tensor, Keys], Tensor]


def input_gradient(objective: Objective, x: Tensor, keys: Keys, view: View | None = None) -> tuple[Tensor, Evaluation]:
    """The gradient of each sample's loss to its own input, and the evaluation it came with.

    Args:
        objective: what is differentiated.
        x: where, ``[B, ...]``.
        keys: one for each sample.
        view: what the objective is shown of ``x``, differentiably; ``x`` itself by default.

    Raises:
        InvalidInput: the loss does not depend on ``x``.
    """
    x = x.detach().requires_grad_()
    try:
        evaluation = objective(x if view is None else view(x, keys), keys)
    except RuntimeError as error:
        if "nference tensor" not in str(error):
            raise
        raise InvalidInput(_no_gradient("its tensors were made in torch.inference_mode()")) from None
    gradient = differentiate(evaluation.loss, x)
    return gradient, Evaluation(evaluation.loss.detach(), evaluation.success.detach())


def differentiate(loss: Tensor, x: Tensor, *, keep: bool = False) -> Tensor:
    """The gradient of each sample's ``loss [B]`` to its own input ``x``; ``keep`` holds the graph.

    Raises:
        InvalidInput: the loss does not depend on ``x`` at all; a gradient that is zero, because a
            model saturates, say, is none of that.
    """
    gradient = None
    if loss.requires_grad:
        (gradient,) = torch.autograd.grad(loss.sum(), x, retain_graph=keep, allow_unused=True)
    if gradient is not None:
        return gradient
    if loss.is_inference():
        raise InvalidInput(_no_gradient("the model runs in torch.inference_mode()"))
    why = "the pixels are detached, rounded or replaced on their way through the model"
    if not loss.requires_grad:
        why = "the model runs in torch.no_grad(), or detaches what it is given"
    raise InvalidInput(_no_gradient(why))


def _no_gradient(why: str) -> str:
    return (
        f"the loss has no gradient to the pixels: {why}; let the gradient pass, or take an attack "
        "that only queries (square, rgf)"
    )
