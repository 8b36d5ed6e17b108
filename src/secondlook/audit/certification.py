"""Certified accuracy over the radius, beside what attacks have left: what smoothing promises and what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from secondlook.attacks.pairs import Pairs
from secondlook.audit.plan import Plan, Row
from secondlook.audit.store import Record
from secondlook.defenses.certificate import ABSTAINED, certifies, certify
from secondlook.metrics.figures import share
from secondlook.schema import Certification, SampleRecord
from secondlook.tasks.base import Batch

CONFIDENCE = 0.999


def draws(plan: Plan, row: Row) -> int:
    """With how many draws each input of a row is certified; 0 where no defense promises anything."""
    threatened = row.threat is None or row.threat.norm == "l2"
    classes = not plan.task.collective and certifies(row.guarded)
    return plan.study.certified if classes and threatened else 0


def certificates(plan: Plan, row: Row, batch: Batch, given: Pairs) -> list[Record]:
    """Of each input the class that is certified, and the radius of it."""
    keys = batch.keys.fold("certificate")
    found = certify(row.guarded, given.images, keys, draws(plan, row), CONFIDENCE)
    both = zip(found.answer.tolist(), found.radius.tolist(), strict=True)
    return [{"certified": answer, "radius": round(radius, 6)} for answer, radius in both]


def certification(plan: Plan, row: Row, records: Sequence[SampleRecord]) -> Certification | None:
    """What is certified of the clean inputs; None of other rows."""
    count = draws(plan, row)
    if not count or row.spec or not len(records):
        return None
    right = [record["certified"] == record["truth"] for record in records]
    radii = sorted((record["radius"] if ok else 0.0 for record, ok in zip(records, right, strict=True)), reverse=True)
    return Certification(
        draws=count,
        confidence=CONFIDENCE,
        sigma=row.guarded.defense.smoothing,
        abstained=share([record["certified"] == ABSTAINED for record in records]),
        right=share(right),
        median=median(radii),
        radii=radii,
    )
