"""Looks before and after a run: whether models answer steadily, and attacks work unbounded."""

from __future__ import annotations

from secondlook.attacks.pairs import Pairs
from secondlook.audit.single.craft import craft
from secondlook.audit.single.matrix import Forge, Plan, Row
from secondlook.audit.store import Record

PROBED = 8
"""Samples on which an attack has to show that it succeeds when nothing holds it back."""


def inspect(plan: Plan, cell: Row) -> Record:
    """Asks the model of a clean row twice about a few clean samples.

    Raises:
        InvalidInput: it cannot be asked.
    """
    subject = plan.subject
    batch = subject.batch(_few(plan), cell.lens.size)
    first, second = (
        subject.ask(batch, batch.pairs, cell.lens, batch.keys.fold("inspect", look), "")
        for look in (0, 1)
    )
    same = subject.stochastic or all(
        one["original_top1"] == other["original_top1"]
        for one, other in zip(first, second, strict=True)
    )
    return {
        "inspected": cell.id, "n": len(first), "unsteady": not same, "softmax": False,
        **subject.looked_at(cell.lens),
    }  # fmt: skip


def unbounded(plan: Plan, probe: Forge) -> Record:
    """How an attack does on a few samples with nothing to hold it back, in its victim's eyes."""
    lens = probe.victims[0]
    batch = plan.subject.batch(_few(plan), probe.size)
    made, _ = craft(plan, probe, batch)
    given, keys = Pairs(made.images, made.captions), batch.keys.fold("p")
    rows = plan.subject.ask(batch, given, lens, keys, probe.aim)
    reached = [bool(row["reached"]) for row in rows]
    return {
        "probe": probe.id, "n": len(rows), "reached": sum(reached) / len(reached),
        "samples": dict(zip(batch.ids, reached, strict=True)),
    }  # fmt: skip


def _few(plan: Plan) -> range:
    return range(min(PROBED, len(plan.subject.task.rows)))
