"""Health checks of the search itself: living gradients, a loss that rises, and rises no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondlook.audit.schema import Cell, Check, Status

Rows = Sequence[Mapping[str, Any]]


def searched(cell: Cell, rows: Rows) -> list[Check]:
    """The checks of the search itself, on the samples that were not fooled before it began."""
    left = [row for row in rows if not _fooled_at_once(cell, row)]
    checks = []
    if len(left) < len(rows):
        count = len(rows) - len(left)
        checks.append(Check(
            check="something to attack", status="pass" if left else "warn",
            detail=f"{count} of {len(rows)} samples were fooled at the attack's first look",
        ))  # fmt: skip
    if not left:
        return checks
    if "transfer_steps" in cell.settings.get("attack", {}):
        return [*checks, answers(left)]
    if cell.ledger.attack_backwards or not cell.ledger.attack_forwards:
        checks.append(gradients(left))
    return [*checks, rising(left), converged(left)]


def answers(rows: Rows) -> Check:
    """Of an attack that asks after it was carried over only the questions leave a trace.

    A victim that says the same of all that it is asked about gives no slope. That makes the
    attack weak, and is no sign that somebody's gradients are masked.
    """
    flat = rising(rows)
    return Check(
        check="questions help", status="pass" if flat.status == "pass" else "warn",
        detail=flat.detail.replace("the attacker's loss", "what the victim answers"),
    )  # fmt: skip


def _fooled_at_once(cell: Cell, row: Mapping[str, Any]) -> bool:
    """Whether the attack left the sample after its first look, because it was done.

    An adaptive attack is only believed where the decision that followed says the same.
    """
    steps = row.get("steps")
    if steps is None or steps > 1 or cell.settings.get("attack", {}).get("steps") == 1:
        return False
    return cell.knowledge != "adaptive" or row["reached"] > 0


def gradients(rows: Rows) -> Check:
    """Zero or NaN gradients are the mark of masking, not of robustness.

    A loss may well be flat where its goal is reached: zeros count on the other samples.
    """
    held = _column(rows, "reached") < 1
    zero = float(np.mean(held * _column(rows, "zero_gradient", unknown=1.0)))
    bad = float(np.mean(_column(rows, "bad_gradient", unknown=1.0)))
    return Check(
        check="gradients alive", status=graded(max(zero, bad), 0.01, 0.10),
        detail=f"{zero:.1%} of the gradients were zero short of the goal, "
        f"{bad:.1%} held NaN or infinity",
    )  # fmt: skip


def rising(rows: Rows) -> Check:
    """An attack whose loss did not rise, short of its goal, has not attacked."""
    held = _column(rows, "reached") < 1
    flat = np.mean(held & ~(_column(rows, "last_loss") > _column(rows, "first_loss")))
    return Check(
        check="loss rises", status=graded(float(flat), 0.05, 0.25),
        detail=f"the attacker's loss did not rise on {flat:.0%} of the samples",
    )  # fmt: skip


def converged(rows: Rows) -> Check:
    """Much gain in the second half of the steps says that more steps would gain more."""
    last = _column(rows, "last_loss")
    whole = float(np.nansum(last - _column(rows, "first_loss")))
    gain = float(np.nansum(last - _column(rows, "middle_loss")))
    late = gain / whole if whole > 0 else float(gain > 0)
    return Check(
        check="converged", status=graded(late, 0.25, 1.0),
        detail=f"{late:.0%} of the rise came in the second half of the steps",
    )  # fmt: skip


def graded(value: float, warn: float, fail: float) -> Status:
    """A status: ``pass`` up to ``warn``, ``fail`` above ``fail``."""
    return "fail" if value > fail else "warn" if value > warn else "pass"


def _column(rows: Rows, name: str, unknown: float = np.nan) -> NDArray[np.float64]:
    """One value of each record; ``unknown`` where JSON could not hold it."""
    return np.array([unknown if row[name] is None else row[name] for row in rows], dtype=float)
