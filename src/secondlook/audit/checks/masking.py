"""Checks of what a defense does to an attacker: to the gradient, to other manners, and to who is beside a sample."""

from __future__ import annotations

from collections.abc import Iterator

from secondlook.attacks.synthesis import OWN
from secondlook.audit.checks.base import Row, graded
from secondlook.audit.diagnosis import SIGNIFICANT, TINY, better
from secondlook.defenses.coupling import COUPLED
from secondlook.schema import Check, Status


def unmasked(row: Row) -> Iterator[Check]:
    """An attack by a masked gradient says nothing of the defense, unless it replays the bare model's as well."""
    found = row.cell.diagnosis
    if found is None:
        return
    masked = found.verdict == "masked"
    yield Check(
        check="gradient is not masked",
        status=_unless_replayed(row, "fail") if masked else "pass",
        detail=found.reasons[0] if masked else f"nothing says so of {found.n} samples",
    )


def reaching(row: Row) -> Iterator[Check]:
    """A gradient through the defense that is rounding beside the bare model's does not reach the pixels."""
    found = row.cell.diagnosis
    if found is None or OWN not in found.manners:
        return
    own = found.manners[OWN]
    tiny = 1.0 if own.note else own.tiny
    if tiny is None:
        return
    yield Check(
        check="gradient through the defense",
        status=_unless_replayed(row, graded(tiny, 0.01, 0.1)),
        detail=own.note
        or f"{own.size:.2g} of the bare model's in the median; below {TINY:g} of it on {tiny:.0%} of {found.n} samples",
    )


def outdone(row: Row) -> Iterator[Check]:
    """No manner by itself, with a few steps, may do better than the row's attack on the same samples."""
    seen = row.evidence.diagnosed
    if row.cell.diagnosis is None or seen is None:
        return
    own = {record["sample"]: record["success"] for record in row.records}
    at = [place for place, name in enumerate(seen["samples"]) if name in own]
    ours = [own[seen["samples"][place]] >= 0.5 for place in at]
    for name, manner in seen["manners"].items():
        theirs = [manner["success"][place] for place in at]
        lead, p = sum(theirs) - sum(ours), better(theirs, ours)
        if lead > 0:
            yield Check(
                check=f"no manner by itself does better: {name}",
                status="fail" if p < SIGNIFICANT else "warn",
                detail=f"{sum(theirs)} of {len(at)} samples, the row's own attack {sum(ours)} (p = {p:.2g})",
            )


def standing_alone(row: Row) -> Iterator[Check]:
    """A defense whose answers depend on the batch is another one wherever batches are other ones."""
    found = row.cell.diagnosis
    if found is None or found.coupling is None:
        return
    yield Check(
        check="answers alone as among others",
        status="fail" if found.coupling > COUPLED else "pass",
        detail=f"an answer moves by {max(found.coupling, 0.0):.2g} of its length when its neighbors are exchanged",
    )


def _unless_replayed(row: Row, status: Status) -> Status:
    """Whoever also shows the defense what fools the bare model has not relied on the gradient: a warning then."""
    return "warn" if status == "fail" and row.evidence.replays else status
