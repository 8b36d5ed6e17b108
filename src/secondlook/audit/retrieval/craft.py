"""Crafting: a forge's images and captions for one chunk, made once and stored."""

from __future__ import annotations

from dataclasses import fields

import torch

from secondlook.attacks.base import Trace
from secondlook.attacks.edits import words_changed
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.audit.retrieval.matrix import PairForge, SearchPlan
from secondlook.audit.retrieval.seen import Through
from secondlook.audit.retrieval.sets import Part, save_part
from secondlook.audit.store import Record, Run
from secondlook.errors import BrokenThreat
from secondlook.ledger import counting
from secondlook.models.memory import halving
from secondlook.tasks.retrieval import PairBatch


def craft(forge: PairForge, batch: PairBatch) -> tuple[AlteredPairs, Record]:
    """Runs the attack on one chunk, or on parts of it that fit into memory; and at what cost."""
    keys = batch.keys.fold("attack", forge.settings["name"])

    def some(rows: slice) -> AlteredPairs:
        for victim in forge.victims:
            if isinstance(victim, Through):
                victim.begin()
        part = Pairs(batch.pairs.images[rows], batch.pairs.captions[rows])
        return forge.attack(forge.victims, part, forge.threat, keys[rows])

    with counting() as ledger:
        parts, size = halving(some, len(batch.ids))
    found = parts[0] if len(parts) == 1 else _joined(parts, size)
    return found, ledger.spent()


def _joined(parts: list[AlteredPairs], size: int) -> AlteredPairs:
    """The parts side by side; that there are such is among the notices."""
    told = [notice for part in parts for notice in part.notices]
    told.append(f"a chunk did not fit into memory and was attacked {size} at a time")
    traces = [part.trace for part in parts if part.trace is not None]
    columns = {f.name: [getattr(each, f.name) for each in traces] for f in fields(Trace)}
    return AlteredPairs(
        torch.cat([part.images for part in parts]),
        tuple(texts for part in parts for texts in part.captions),
        Trace(**{name: torch.cat(values) for name, values in columns.items()}) if traces else None,
        tuple(dict.fromkeys(told)),
    )


def store(plan: SearchPlan, run: Run, forge: PairForge, batch: PairBatch, chunk: int) -> None:
    """Makes and stores the adversarials of a chunk."""
    found, cost = craft(forge, batch)
    about = {
        "forge": forge.id, "attack": forge.settings, "threat": str(forge.threat),
        "seed": plan.study.seed, "victims": [victim.name for victim in forge.victims],
        "models": plan.hashes, "data": plan.task.source.hash, "torch": torch.__version__,
        "cost": cost,
    }  # fmt: skip
    save_part(run.adversarial(forge.id, chunk), batch.ids, found, about)


def check(part: Part, batch: PairBatch, forge: PairForge) -> None:
    """Verifies what was stored against the clean chunk, and believes no attack.

    Raises:
        BrokenThreat: an image is outside the threat, or more words were changed than may be.
    """
    forge.threat.check(part.pairs.images.to(batch.pairs.images), batch.pairs.images)
    for before, after in zip(batch.pairs.captions, part.pairs.captions, strict=True):
        for old, new in zip(before, after, strict=True):
            changed = words_changed(old, new, forge.attack.phrase)
            if changed > forge.attack.words:
                raise BrokenThreat(f"{changed} words changed: {old!r} became {new!r}")
