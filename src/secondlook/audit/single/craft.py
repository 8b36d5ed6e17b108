"""Crafting: a forge's adversarials for one chunk of the samples, made once and stored."""

from __future__ import annotations

from typing import Any

import torch

from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import AlteredPairs, PairAttack
from secondlook.attacks.roomy import attacked
from secondlook.audit.retrieval.craft import check as check_pairs
from secondlook.audit.retrieval.craft import craft as craft_pairs
from secondlook.audit.retrieval.matrix import PairForge
from secondlook.audit.retrieval.sets import Part, load_part, save_part
from secondlook.audit.single.lens import Behind, Lens
from secondlook.audit.single.matrix import Forge, Plan
from secondlook.audit.single.subject import Wary
from secondlook.audit.store import Record, Run
from secondlook.errors import BrokenRun
from secondlook.goals.base import Ensemble
from secondlook.ledger import counting
from secondlook.tasks.retrieval import PairBatch


def crafted(plan: Plan, run: Run, forge: Forge, batch: Any, chunk: int) -> Part:
    """The stored adversarials of a chunk, or newly made ones, which are stored first.

    Raises:
        BrokenRun: what is stored is of other samples.
        BrokenThreat: what is stored is outside its threat.
    """
    path = run.adversarial(forge.id, chunk)
    part = load_part(path)
    if part is None:
        found, cost = craft(plan, forge, batch)
        save_part(path, batch.ids, found, {
            "forge": forge.id, "attack": forge.settings, "threat": str(forge.threat),
            "seed": plan.study.seed, "victims": [lens.model.name for lens in forge.victims],
            "models": plan.hashes, "data": plan.subject.task.source.hash,
            "torch": torch.__version__, "cost": cost,
        })  # fmt: skip
        part = load_part(path)
    if part is None or part.ids != batch.ids:
        raise BrokenRun(f"{path} is damaged; delete it and run the same command again")
    images = part.pairs.images.to(batch.pairs.images)
    if isinstance(forge.attack, PairAttack):
        check_pairs(part, _pairs(batch), _on_pairs(plan, forge, forge.attack))
    else:
        forge.threat.check(images, batch.pairs.images)
    return part._replace(pairs=part.pairs._replace(images=images))


def craft(plan: Plan, forge: Forge, batch: Any) -> tuple[AlteredPairs, Record]:
    """Runs the attack on one chunk, and says at what cost."""
    if isinstance(forge.attack, PairAttack):
        return craft_pairs(_on_pairs(plan, forge, forge.attack), _pairs(batch))
    keys = batch.keys.fold("attack", forge.settings["name"])
    wish = objective(plan, forge, batch)
    with counting() as ledger:
        found = attacked(forge.attack, wish, batch.pairs.images, forge.threat, keys)
    altered = AlteredPairs(found.x, batch.pairs.captions, found.trace, found.notices)
    return altered, ledger.spent()


def objective(plan: Plan, forge: Forge, batch: Any) -> Objective:
    """The attacker's wish against the forge's victims; an ensemble where there are several."""
    if forge.asked is not None:
        return plan.subject.relayed(batch, forge.victims[0].model, forge.asked, forge.aim)
    aims = tuple(_towards(plan, forge, batch, lens) for lens in forge.victims)
    return aims[0] if len(aims) == 1 else Ensemble(members=aims, split=False)


def _towards(plan: Plan, forge: Forge, batch: Any, lens: Lens) -> Objective:
    """The wish against one victim, as who crafts it sees what stands before the model."""
    wish = plan.subject.objective(batch, lens.model, forge.aim)
    if lens.detector is not None:
        manner = Wary(forge.aim, forge.draws, forge.weight, forge.through)
        return plan.subject.knowing(wish, batch, lens, manner)
    return Behind(objective=wish, lens=lens, draws=forge.draws, gradient=forge.gradient)


def _on_pairs(plan: Plan, forge: Forge, attack: PairAttack) -> PairForge:
    victims = tuple(
        plan.subject.embedder(lens, forge.draws, forge.gradient) for lens in forge.victims
    )
    return PairForge(
        id=forge.id, attack=attack, threat=forge.threat, victims=victims, size=forge.size,
        settings=forge.settings,
    )  # fmt: skip


def _pairs(batch: Any) -> PairBatch:
    return PairBatch(batch.ids, (), batch.pairs, batch.keys)
