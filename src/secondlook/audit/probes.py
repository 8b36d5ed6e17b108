"""Looks before and after a run: whether models and defences are what they say, and attacks work."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.audit.craft import craft
from secondlook.audit.matrix import CellPlan, Forge, Plan
from secondlook.audit.store import Record
from secondlook.defenses.base import Defence
from secondlook.defenses.calibration import thresholds
from secondlook.defenses.suspecting import Suspecting
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier
from secondlook.tasks.zeroshot import Batch

PROBED = 8
"""Samples on which an attack has to show that it succeeds when nothing holds it back."""
_SUM = 1e-4


def inspect(plan: Plan, cell: CellPlan) -> Record:
    """Looks at the defence of a clean row, and at its model, on a few clean samples.

    Raises:
        InvalidInput: the model's scores are no ``[B, K]`` of numbers for its K classes.
    """
    defence = cell.defence
    batch = _few(plan, defence.model)
    alone = Undefended(model=defence.model).decide(batch.images, batch.keys)
    _check(alone.scores, len(batch.ids), defence.model)
    defence.prepare()
    first, second = (
        defence.decide(batch.images, batch.keys.fold("inspect", look)) for look in (0, 1)
    )
    same = torch.equal(first.accepted, second.accepted) and torch.allclose(
        first.scores, second.scores, rtol=1e-4, atol=1e-5, equal_nan=True
    )
    return {
        "inspected": cell.id, "n": len(batch.ids), "unsteady": not same,
        "softmax": not defence.model.cosine and _probabilities(alone.scores),
        **_thresholds(defence),
    }  # fmt: skip


def _thresholds(defence: Defence) -> Record:
    """Where a detector would draw the line, by false rejection."""
    if not isinstance(defence, Suspecting) or defence.calibration is None:
        return {}
    return {"thresholds": thresholds(defence.clean)}


def _check(scores: Tensor, samples: int, model: Classifier) -> None:
    known = len(model.classes)
    if known < 2:
        raise InvalidInput(f"{model.name} knows {known} class(es); a choice needs two or more")
    if scores.dim() != 2 or len(scores) != samples:
        raise InvalidInput(
            f"{model.name} answers {samples} images with scores of shape {tuple(scores.shape)}; "
            "features() and scores() must keep one row for each image"
        )
    if scores.shape[1] != known:
        raise InvalidInput(
            f"{model.name} gives {scores.shape[1]} scores and names {known} classes; "
            "its classes must be as many, in the order of the scores"
        )
    if bool(scores.isnan().any()):
        raise InvalidInput(
            f"{model.name} answers clean images with NaN; look at its weights and normalisation"
        )


def _probabilities(scores: Tensor) -> bool:
    """Whether every row could be a softmax: within [0, 1], with sum 1."""
    within = bool(((scores >= -_SUM) & (scores <= 1 + _SUM)).all())
    return within and bool(((scores.sum(1) - 1).abs() <= _SUM).all())


def unbounded(plan: Plan, probe: Forge) -> Record:
    """How an adaptive attack does on a few samples with nothing to hold it back."""
    victim = probe.victims[0]
    batch = _few(plan, victim.model)
    made = craft(probe, batch, plan.task)
    decision = victim.decide(made.images, batch.keys.fold("p"))
    if plan.task.task.goal == "targeted":
        reached = decision.in_top(1, batch.target.to(decision.scores.device))
    else:
        reached = decision.accepted & ~decision.in_top(1, batch.truth.to(decision.scores.device))
    share = reached.float().mean().item()
    samples = dict(zip(batch.ids, reached.tolist(), strict=True))
    return {"probe": probe.id, "n": len(batch.ids), "reached": share, "samples": samples}


def _few(plan: Plan, model: Classifier) -> Batch:
    return plan.task.batch(plan.task.rows[:PROBED], model)
