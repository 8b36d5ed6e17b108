"""Crafting: a forge's adversarials for one chunk of the samples, made once and stored."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.base import Objective, Trace
from secondlook.audit.plan import Forge, Plan
from secondlook.audit.store import Record, Run, load_tensors, save_tensors
from secondlook.goals.base import Aim, Ensemble
from secondlook.ledger import counting
from secondlook.tasks.zeroshot import Batch, OpenTask
from secondlook.threat import LEVELS

_TRACES = (
    "first_loss", "middle_loss", "last_loss", "zero_gradient", "bad_gradient", "steps",
)  # fmt: skip


class Crafted(NamedTuple):
    """Adversarials ``[B, 3, H, W]`` as an 8-bit file holds them, how they were made, at what cost.

    ``cost`` has ``forwards``, ``backwards`` and ``seconds`` of the whole chunk.
    """

    images: Tensor
    trace: Trace
    cost: Record


def objective(forge: Forge, batch: Batch, task: OpenTask) -> Objective:
    """The attacker's wish against the forge's victims; an ensemble where there are several."""
    aims = tuple(
        Aim(
            goal=task.aim(batch, victim.model, forge.objective), victim=victim,
            draws=forge.draws, gradient=forge.gradient,
        )
        for victim in forge.victims
    )  # fmt: skip
    if len(aims) == 1:
        return aims[0]
    return Ensemble(members=aims, split=getattr(forge.attack, "ensemble", "mean") == "sequential")


def craft(forge: Forge, batch: Batch, task: OpenTask) -> Crafted:
    """Runs the attack on one chunk."""
    keys = batch.keys.fold("attack", forge.settings["name"])
    with counting() as ledger:
        found = forge.attack(objective(forge, batch, task), batch.images, forge.threat, keys)
    cost = {
        "forwards": ledger.forwards, "backwards": ledger.backwards,
        "seconds": round(ledger.seconds, 4), "peak_memory": ledger.peak_memory,
    }  # fmt: skip
    return Crafted(found.x, found.trace, cost)


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
        save_tensors(path, tensors, _provenance(plan, forge, batch, made))
        stored = load_tensors(path)
        assert stored is not None, f"{path} cannot be read back"
    tensors, about = stored
    images = tensors["images"].to(batch.images.dtype) / LEVELS
    clean = batch.images.cpu()
    forge.threat.check(images, clean)
    trace = Trace(**{name: tensors[name] for name in _TRACES})
    return Crafted(images.to(batch.images), trace, about["cost"])


def _provenance(plan: Plan, forge: Forge, batch: Batch, made: Crafted) -> Record:
    return {
        "forge": forge.id, "attack": forge.settings, "threat": str(forge.threat),
        "seed": plan.study.seed, "samples": batch.ids, "models": plan.hashes,
        "victims": [victim.model.name for victim in forge.victims],
        "data": plan.task.source.hash, "torch": torch.__version__, "cost": made.cost,
    }  # fmt: skip
