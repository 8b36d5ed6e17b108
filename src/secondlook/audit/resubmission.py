"""Whether an input gets through a randomized defense when it is sent again and again, as a curve."""

from __future__ import annotations

from collections.abc import Sequence

from secondlook.attacks.pairs import Pairs
from secondlook.audit.plan import Plan, Row
from secondlook.metrics.figures import share
from secondlook.schema import Resubmission, SampleRecord
from secondlook.statistics import at_least_one
from secondlook.tasks.base import Batch


def tries(plan: Plan, row: Row) -> int:
    """How often each attacked input of a row is sent again; 0 where answers do not differ, or are scored as a whole."""
    differ = row.guarded.stochastic or plan.task.stochastic
    return plan.study.resubmitted if row.spec and differ and not plan.task.collective else 0


def successes(plan: Plan, row: Row, batch: Batch, given: Pairs) -> list[int]:
    """Of each sample how many of the tries give the attacker what the goal says, each with draws of its own."""
    found = [0] * len(batch.ids)
    for number in range(tries(plan, row)):
        answer = plan.task.answer(batch, given, row.guarded, batch.keys.fold("resubmit", number))
        records = plan.task.records(batch, row.guarded, [answer], row.objective)
        found = [before + (each["success"] >= 0.5) for before, each in zip(found, records, strict=True)]
    return found


def curve(records: Sequence[SampleRecord], count: int) -> Resubmission | None:
    """What ``count`` tries at each input have come to; None where none were made."""
    if not count or not len(records):
        return None
    hits = [record["through"] for record in records]
    chances = at_least_one(hits, count)
    found = [share(column.tolist()) for column in chances.T]
    single = found[0].value
    return Resubmission(
        tries=count,
        chance=[each.value for each in found],
        low=[each.low for each in found],
        high=[each.high for each in found],
        independent=[1 - (1 - single) ** k for k in range(1, count + 1)],
    )
