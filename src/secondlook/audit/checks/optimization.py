"""Checks of the optimization: finite gradients, a loss that rises, and then rises no more."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from secondlook.audit.checks.base import Row, Rows, graded
from secondlook.schema import Cell, Check, SampleRecord


def searched(row: Row) -> Iterator[Check]:
    """The checks of the search itself, on the samples that were not fooled before it began."""
    cell, records, _ = row
    if cell.knowledge == "clean" or "steps" not in records[0]:
        return
    left = [record for record in records if not _fooled_at_once(cell, record)]
    if len(left) < len(records):
        count = len(records) - len(left)
        yield Check(
            check="something to attack",
            status="pass" if left else "warn",
            detail=f"{count} of {len(records)} samples were fooled before the attack's first step",
        )
    if not left:
        return
    if "transfer_steps" in cell.settings.get("attack", {}):
        yield answers(left)
        return
    if cell.ledger.attack_backwards or not cell.ledger.attack_forwards:
        yield gradients(left)
    # Who takes one step has looked once, and has nothing to compare.
    if cell.settings.get("attack", {}).get("steps") != 1:
        yield from (rising(left), converged(left))


def answers(rows: Rows) -> Check:
    """Of an attack that asks after it was carried over only the questions leave a trace.

    A victim that says the same of all that it is asked about gives no slope. That makes the
    attack weak, and is no sign that somebody's gradients are masked.
    """
    flat = rising(rows)
    return Check(
        check="questions help",
        status="pass" if flat.status == "pass" else "warn",
        detail=flat.detail.replace("the attacker's loss", "what the victim answers"),
    )


def _fooled_at_once(cell: Cell, row: SampleRecord) -> bool:
    """Whether the attack left the sample before its first step, because it was done.

    An attack on the defended model is only believed where the decision that followed says the same.
    """
    steps = row.get("steps")
    if steps is None or steps > 1 or cell.settings.get("attack", {}).get("steps") == 1:
        return False
    return cell.knowledge not in ("black-box", "adaptive") or row["success"] > 0


def gradients(rows: Rows) -> Check:
    """Zero or NaN gradients are the mark of masking, not of robustness.

    A loss may well be flat where its goal is reached: zeros count on the other samples.
    """
    held = _column(rows, "success") < 1
    zero = float(np.mean(held * _column(rows, "zero_gradient", unknown=1.0)))
    bad = float(np.mean(_column(rows, "bad_gradient", unknown=1.0)))
    return Check(
        check="gradients alive",
        status=graded(max(zero, bad), 0.01, 0.10),
        detail=f"{zero:.1%} of the gradients were zero short of the goal, {bad:.1%} held NaN or infinity",
    )


def rising(rows: Rows) -> Check:
    """An attack whose loss did not rise, short of its goal, has not attacked."""
    held = _column(rows, "success") < 1
    flat = np.mean(held & ~(_column(rows, "last_loss") > _column(rows, "first_loss")))
    return Check(
        check="loss rises",
        status=graded(float(flat), 0.05, 0.25),
        detail=f"the attacker's loss did not rise on {flat:.0%} of the samples",
    )


def converged(rows: Rows) -> Check:
    """Much gain in the second half of the steps says that more steps would gain more."""
    last = _column(rows, "last_loss")
    whole = float(np.nansum(last - _column(rows, "first_loss")))
    gain = float(np.nansum(last - _column(rows, "middle_loss")))
    late = gain / whole if whole > 0 else float(gain > 0)
    return Check(
        check="converged",
        status=graded(late, 0.25, 1.0),
        detail=f"{late:.0%} of the rise came in the second half of the steps",
    )


def _column(rows: Rows, name: str, unknown: float = np.nan) -> NDArray[np.float64]:
    """One value of each record; ``unknown`` where JSON could not hold it."""
    values = [row[name] for row in rows]  # type: ignore[literal-required]
    return np.array([unknown if value is None else value for value in values], dtype=float)
