"""Crafting: a forge's adversarials for one chunk of the samples, made once and stored."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.base import Attacked, Objective, Trace
from secondlook.attacks.roomy import attacked
from secondlook.audit.matrix import Forge, Plan
from secondlook.audit.store import Record, Run, load_tensors, save_tensors
from secondlook.defenses.base import Defence
from secondlook.goals.base import Aim, Ensemble, Goal
from secondlook.goals.melee import Melee
from secondlook.goals.mislead import Bout, Mislead
from secondlook.ledger import counting
from secondlook.models.base import evaluating
from secondlook.tasks.zeroshot import Batch, OpenTask
from secondlook.threat import LEVELS

_TRACES = (
    "first_loss", "middle_loss", "last_loss", "zero_gradient", "bad_gradient", "steps",
)  # fmt: skip


class Crafted(NamedTuple):
    """Adversarials as an 8-bit file holds them, how they were made, at what cost.

    Attributes:
        images: ``[B, 3, H, W]``.
        trace: of the making.
        by: the member attack that fooled each sample, ``[B]``, -1 for none; None where the attack
            has no members.
        cost: ``forwards``, ``backwards``, ``seconds`` and ``peak_memory`` of the whole chunk.
        tells: ``members``, the names that ``by`` counts, and the attack's ``notices``.
    """

    images: Tensor
    trace: Trace
    by: Tensor | None
    cost: Record
    tells: Record


def objective(forge: Forge, batch: Batch, task: OpenTask) -> Objective:
    """The attacker's wish against the forge's victims; an ensemble where there are several."""
    aims = tuple(
        _aim(task.aim(batch, victim.model, forge.objective), victim, forge, batch)
        for victim in forge.victims
    )
    if len(aims) == 1:
        return aims[0]
    split = getattr(forge.attack, "ensemble", "mean") == "sequential"
    bouts = tuple(aim for aim in aims if isinstance(aim, Bout))
    return Melee(members=bouts, split=split) if bouts else Ensemble(members=aims, split=split)


def _aim(goal: Goal, victim: Defence, forge: Forge, batch: Batch) -> Aim:
    if not isinstance(goal, Mislead):
        return Aim(goal=goal, victim=victim, draws=forge.draws, gradient=forge.gradient)
    return Bout(
        goal=goal, victim=victim, draws=forge.draws, gradient=forge.gradient,
        rejects=rejects(victim, batch), classes=len(victim.model.classes),
    )  # fmt: skip


def rejects(victim: Defence, batch: Batch) -> bool:
    """Whether a glimpse of the victim tells how far it is from rejecting."""
    with torch.no_grad(), evaluating(victim.modules):
        return victim.glimpse(batch.images[:1], batch.keys[:1]).acceptance is not None


def craft(forge: Forge, batch: Batch, task: OpenTask) -> Crafted:
    """Runs the attack on one chunk."""
    keys = batch.keys.fold("attack", forge.settings["name"])
    for victim in forge.victims:
        victim.prepare()
    wish = objective(forge, batch, task)
    with counting() as ledger:
        found = attacked(forge.attack, wish, batch.images, forge.threat, keys)
    return Crafted(found.x, found.trace, found.by, ledger.spent(), _tells(found))


def _tells(found: Attacked) -> Record:
    """What an attack says of itself, where it says anything."""
    said = {"members": list(found.members), "notices": list(found.notices)}
    return {key: value for key, value in said.items() if value}


def crafted(plan: Plan, run: Run, forge: Forge, batch: Batch, chunk: int) -> Crafted:
    """The stored adversarials of a chunk, or newly made ones, which are stored first.

    What is judged is always what a file holds: 8-bit pixels.
    """
    path = run.adversarial(forge.id, chunk)
    stored = load_tensors(path)
    if stored is None:
        made = craft(forge, batch, plan.task)
        tensors = {name: getattr(made.trace, name) for name in _TRACES}
        tensors["images"] = (made.images * LEVELS).round().byte()
        if made.by is not None:
            tensors["by"] = made.by
        save_tensors(path, tensors, _provenance(plan, forge, batch, made))
        stored = load_tensors(path)
        assert stored is not None, f"{path} cannot be read back"
    tensors, about = stored
    images = tensors["images"].to(batch.images.dtype) / LEVELS
    clean = batch.images.cpu()
    forge.threat.check(images, clean)
    trace = Trace(**{name: tensors[name] for name in _TRACES})
    tells: Record = {key: about[key] for key in ("members", "notices") if key in about}
    return Crafted(images.to(batch.images), trace, tensors.get("by"), about["cost"], tells)


def _provenance(plan: Plan, forge: Forge, batch: Batch, made: Crafted) -> Record:
    return {
        "forge": forge.id, "attack": forge.settings, "threat": str(forge.threat),
        "seed": plan.study.seed, "samples": batch.ids, "models": plan.hashes,
        "victims": [victim.model.name for victim in forge.victims],
        "data": plan.task.source.hash, "torch": torch.__version__, "cost": made.cost,
        **made.tells,
    }  # fmt: skip
