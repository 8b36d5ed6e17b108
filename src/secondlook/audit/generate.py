"""Adversarial samples of a chunk: generated once, stored, checked, and read as files hold them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from secondlook.attacks.base import Objective, Trace, attack_in_parts
from secondlook.attacks.edits import words_changed
from secondlook.attacks.pairs import AlteredPairs, PairAttack, Pairs
from secondlook.audit.adversarial import REMADE, Adversarial, Part, load_part, save_part
from secondlook.audit.plan import AttackSpec, Plan, Row
from secondlook.audit.store import Record, Run
from secondlook.defenses.guarded import GuardedEmbedder
from secondlook.errors import BrokenRun, BrokenThreat
from secondlook.ledger import counting
from secondlook.models.runtime.memory import halving
from secondlook.objectives.base import Ensemble, TransferThenQuery
from secondlook.objectives.untargeted import UntargetedEnsemble, UntargetedObjective
from secondlook.tasks.base import Batch, finite

_log = logging.getLogger(__name__)
FOREIGN = "damaged, or of another attack or other samples"
"""What a stored file is that does not belong where it lies."""


class Generated(NamedTuple):
    """What an attack has made of one chunk.

    Attributes:
        adversarial: the samples, as a file holds them.
        cost: ``forwards``, ``backwards``, ``seconds`` and ``peak_memory`` of the whole chunk.
    """

    adversarial: Adversarial
    cost: Record


def generated(plan: Plan, run: Run, spec: AttackSpec, batch: Batch, chunk: int) -> Generated:
    """The stored adversarials of a chunk, or newly made ones, which are stored first.

    What is scored is always what a file holds: 8-bit pixels. A file that is damaged, or of another
    attack or other samples, is made again.

    Raises:
        BrokenThreat: what is stored is outside its threat.
    """
    path = run.adversarial(spec.id, chunk)
    part = load_part(path)
    if part is None or not _is_of(part, spec, batch.ids):
        if path.exists():
            _log.warning("%s is %s, and is made again", path, FOREIGN)
        made = generate(plan, spec, batch)
        save_part(path, batch.ids, made.adversarial, _provenance(plan, spec, made.cost), spec.threat.signal)
        part = load_part(path)
    return _checked(part, path, spec, batch)


def stored(run: Run, spec: AttackSpec, batch: Batch, chunk: int) -> Generated:
    """The stored adversarials of a chunk.

    Raises:
        BrokenRun: there are none, or they are of other samples.
        BrokenThreat: what is stored is outside its threat.
    """
    path = run.adversarial(spec.id, chunk)
    return _checked(load_part(path), path, spec, batch)


def is_made(run: Run, spec: AttackSpec, ids: Sequence[str], chunk: int) -> bool:
    """Whether the adversarials of a chunk are stored, whole, and of these samples."""
    part = load_part(run.adversarial(spec.id, chunk))
    return part is not None and _is_of(part, spec, ids)


def _is_of(part: Part, spec: AttackSpec, ids: Sequence[str]) -> bool:
    return bool(part.about["spec"] == spec.id) and part.ids == tuple(ids)


def _checked(part: Part | None, path: Path, spec: AttackSpec, batch: Batch) -> Generated:
    if part is None or not _is_of(part, spec, batch.ids):
        raise BrokenRun(f"{path} is {FOREIGN}; {REMADE}")
    made = part.adversarial._replace(images=part.adversarial.images.to(batch.pairs.images))
    try:
        check(made, batch, spec)
    except BrokenThreat as error:
        raise BrokenThreat(
            f"{path}: {error}; the attack breaks its threat, or something else wrote there: "
            "the same study with another --out shows which"
        ) from None
    return Generated(made, part.about["cost"])


def generate(plan: Plan, spec: AttackSpec, batch: Batch) -> Generated:
    """Runs the attack on one chunk, or on parts of it that fit into memory; and at what cost.

    The cost is that of caches that are empty, whatever was attacked before.
    """
    for victim in (*spec.victims, *([spec.queried] if spec.queried else [])):
        victim.prepare()
        victim.forget()
    if isinstance(spec.attack, PairAttack):
        return _on_pairs(spec, spec.attack, batch)
    keys = batch.keys.fold("attack", spec.attack.key or spec.settings["name"])
    goal = objective(plan, spec, batch)
    with counting() as ledger:
        found = attack_in_parts(spec.attack, goal, batch.pairs.images, spec.threat, keys)
    made = Adversarial(
        images=found.x,
        captions=batch.pairs.captions,
        trace=found.trace,
        notices=(*found.notices, *getattr(goal, "notices", ())),
        by=found.by,
        members=found.members,
    )
    return Generated(made, ledger.spent())


def objective(plan: Plan, spec: AttackSpec, batch: Batch) -> Objective:
    """What the attack optimizes; an ensemble where there are several victims."""
    task, options = plan.task, spec.options
    if spec.queried is not None and options.objective in task.queried:
        return task.query_objective(batch, spec.victims[0].model, spec.queried, options.objective)
    split = getattr(spec.attack, "ensemble", "mean") == "sequential"
    whole = _together([task.objective(batch, victim, options) for victim in spec.victims], split)
    if spec.queried is None:
        return whole
    return TransferThenQuery(surrogate=whole, victim=task.objective(batch, spec.queried, options))


def _together(members: Sequence[Objective], split: bool) -> Objective:
    """The only objective, or an ensemble; of objectives over classes one that is over classes."""
    if len(members) == 1:
        return members[0]
    classes = tuple(each for each in members if isinstance(each, UntargetedObjective))
    if classes:
        return UntargetedEnsemble(members=classes, split=split)
    return Ensemble(members=tuple(members), split=split)


def _on_pairs(spec: AttackSpec, attack: PairAttack, batch: Batch) -> Generated:
    keys = batch.keys.fold("attack", attack.key or spec.settings["name"])
    victims = [each.embedder(spec.options.draws, spec.options.gradient) for each in spec.victims]

    def some(rows: slice) -> AlteredPairs:
        for victim in victims:
            if isinstance(victim, GuardedEmbedder):
                victim.begin()
        return attack(victims, batch.pairs.part(rows), spec.threat, keys[rows])

    with counting() as ledger:
        parts, size = halving(some, len(batch.ids))
    found = parts[0] if len(parts) == 1 else _joined(parts, size)
    made = Adversarial(found.images, found.captions, found.trace, found.notices)
    return Generated(made, ledger.spent())


def _joined(parts: list[AlteredPairs], size: int) -> AlteredPairs:
    """The parts side by side; that there are such is among the notices."""
    notices = [notice for part in parts for notice in part.notices]
    notices.append(f"a chunk did not fit into memory and was attacked {size} at a time")
    traces = [part.trace for part in parts if part.trace is not None]
    columns = {f.name: [getattr(each, f.name) for each in traces] for f in fields(Trace)}
    return AlteredPairs(
        torch.cat([part.images for part in parts]),
        tuple(texts for part in parts for texts in part.captions),
        Trace(**{name: torch.cat(values) for name, values in columns.items()}) if traces else None,
        tuple(dict.fromkeys(notices)),
    )


def check(found: Adversarial, batch: Batch, spec: AttackSpec) -> None:
    """Verifies what was stored against the clean chunk, and believes no attack.

    Raises:
        BrokenThreat: an image is outside the threat, or more words were changed than may be.
    """
    spec.threat.check(found.images, batch.pairs.images)
    if not isinstance(spec.attack, PairAttack):
        return
    for before, after in zip(batch.pairs.captions, found.captions, strict=True):
        for old, new in zip(before, after, strict=True):
            changed = words_changed(old, new, spec.attack.phrase)
            if changed > spec.attack.words:
                raise BrokenThreat(f"{changed} words changed: {old!r} became {new!r}")


def with_attack(rows: list[Record], row: Row, before: Pairs, after: Adversarial) -> list[Record]:
    """The records with what the attack saw on its way, and the words that it changed."""
    columns: dict[str, list[Any]] = {}
    if after.trace is not None:
        columns = {f.name: finite(getattr(after.trace, f.name)) for f in fields(Trace)}
    if after.by is not None:
        columns["by"] = finite(after.by)
    if row.spec and isinstance(row.spec.attack, PairAttack):
        columns["words"] = [
            [words_changed(*pair) for pair in zip(old, new, strict=True)]
            for old, new in zip(before.captions, after.captions, strict=True)
        ]
    return [{**found, **{name: values[at] for name, values in columns.items()}} for at, found in enumerate(rows)]


def _provenance(plan: Plan, spec: AttackSpec, cost: Record) -> dict[str, Any]:
    return {
        "spec": spec.id,
        "attack": spec.settings,
        "threat": str(spec.threat),
        "seed": plan.study.seed,
        "victims": [victim.model.name for victim in spec.victims],
        "models": plan.hashes,
        "data": plan.task.source.hash,
        "torch": torch.__version__,
        "cost": cost,
    }
