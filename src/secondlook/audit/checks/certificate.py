"""A check of certificates: no attack of ours may break one."""

from __future__ import annotations

from collections.abc import Iterator

from secondlook.audit.checks.base import Row
from secondlook.defenses.certificate import ABSTAINED
from secondlook.schema import Check


def kept(row: Row) -> Iterator[Check]:
    """No attack within its radius may lead the smoothed answer to another class than the certified one."""
    clean = row.evidence.certified
    if not clean or row.cell.knowledge == "clean" or not all("certified" in record for record in row.records):
        return
    eps = row.cell.threat.eps
    inside = [record for record in row.records if clean.get(record["sample"], (ABSTAINED, 0.0))[1] >= eps]
    broken = [
        record["sample"] for record in inside if record["certified"] not in (ABSTAINED, clean[record["sample"]][0])
    ]
    yield Check(
        check="certificates hold",
        status="fail" if broken else "pass",
        detail=f"{len(broken)} of {len(inside)} inputs that are certified at {eps:g} were led to another class"
        + (f", {broken[0]} is one" if broken else ""),
    )
