"""Health checks: whether a number can be believed, said next to the number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondlook import statistics
from secondlook.audit.schema import Cell, Check, Status

Rows = Sequence[Mapping[str, Any]]
FEW, TOO_FEW = 100, 30


def _graded(value: float, warn: float, fail: float) -> Status:
    """``pass`` up to ``warn``, ``fail`` above ``fail``."""
    return "fail" if value > fail else "warn" if value > warn else "pass"


def _column(rows: Rows, name: str, unknown: float = np.nan) -> NDArray[np.float64]:
    """One value of each record; ``unknown`` where JSON could not hold it."""
    return np.array([unknown if row[name] is None else row[name] for row in rows], dtype=float)


def check_cell(
    cell: Cell, rows: Rows, probe: Mapping[str, Any] | None, hashes: Mapping[str, str]
) -> list[Check]:
    """The checks that need one cell alone."""
    checks = [enough_samples(cell.n)]
    if cell.knowledge == "clean":
        return checks
    checks += [gradients(rows), rising(rows), converged(rows)]
    if cell.knowledge == "transfer":
        checks.append(other_surrogate(cell, hashes))
    if probe is not None:
        checks.append(unbounded(probe))
    return checks


def enough_samples(n: int) -> Check:
    """A share over a handful of samples is no figure."""
    status: Status = "fail" if n < TOO_FEW else "warn" if n < FEW else "pass"
    widest = statistics.wilson(n / 2, n)
    return Check(
        check="enough samples", status=status,
        detail=f"n = {n}; an interval may be {100 * (widest.high - widest.low):.0f} points wide",
    )  # fmt: skip


def gradients(rows: Rows) -> Check:
    """Zero or NaN gradients are the mark of masking, not of robustness."""
    zero = float(np.mean(_column(rows, "zero_gradient", unknown=1.0)))
    bad = float(np.mean(_column(rows, "bad_gradient", unknown=1.0)))
    return Check(
        check="gradients alive", status=_graded(max(zero, bad), 0.01, 0.10),
        detail=f"{zero:.1%} of the gradients were zero, {bad:.1%} held NaN or infinity",
    )  # fmt: skip


def rising(rows: Rows) -> Check:
    """An attack whose loss did not rise has not attacked."""
    flat = np.mean(~(_column(rows, "last_loss") > _column(rows, "first_loss")))
    return Check(
        check="loss rises", status=_graded(float(flat), 0.05, 0.25),
        detail=f"the attacker's loss did not rise on {flat:.0%} of the samples",
    )  # fmt: skip


def converged(rows: Rows) -> Check:
    """Much gain in the second half of the steps says that more steps would gain more."""
    last = _column(rows, "last_loss")
    whole = float(np.nansum(last - _column(rows, "first_loss")))
    gain = float(np.nansum(last - _column(rows, "middle_loss")))
    late = gain / whole if whole > 0 else float(gain > 0)
    return Check(
        check="converged", status=_graded(late, 0.25, 1.0),
        detail=f"{late:.0%} of the rise came in the second half of the steps",
    )  # fmt: skip


def other_surrogate(cell: Cell, hashes: Mapping[str, str]) -> Check:
    """A transfer attack crafted on the victim itself is a white-box attack."""
    victim = hashes.get(cell.model)
    same = [name for name in cell.surrogates if hashes.get(name) == victim]
    return Check(
        check="surrogate is another model", status="fail" if same else "pass",
        detail=f"{', '.join(same)} is the victim itself" if same
        else f"crafted on {', '.join(cell.surrogates)}",
    )  # fmt: skip


def unbounded(probe: Mapping[str, Any]) -> Check:
    """With nothing to hold it back an attack must succeed, else it is broken or blinded."""
    missed = 1 - probe["reached"]
    return Check(
        check="succeeds without a bound", status=_graded(missed, 0.15, 0.5),
        detail=f"at eps = 1 it reached {probe['reached']:.0%} of its targets (n = {probe['n']})",
    )  # fmt: skip


def check_group(cells: Sequence[Cell], records: Mapping[str, Rows]) -> list[Cell]:
    """Adds the checks that compare a cell with others."""
    found: dict[str, list[Check]] = {cell.id: [] for cell in cells}
    for cell in cells:
        if cell.knowledge == "adaptive":
            found[cell.id] += strongest(cell, cells, records)
    for parameter in ("eps", "steps"):
        for cell_id, check in monotone(cells, parameter):
            found[cell_id].append(check)
    return [c.model_copy(update={"health": [*c.health, *found[c.id]]}) for c in cells]


def strongest(cell: Cell, cells: Sequence[Cell], records: Mapping[str, Rows]) -> list[Check]:
    """Whoever knows more must not do worse; else the knowing attack was a weak one.

    Of several adaptive attacks on one defence only the best has to win: it is the others' excuse.
    """
    beside = [
        other for other in cells
        if other.threat == cell.threat
        and (other.task, other.model, other.settings["defence"])
        == (cell.task, cell.model, cell.settings["defence"])
    ]  # fmt: skip
    knowing = [other for other in beside if other.knowledge == "adaptive"]
    best = max(knowing, key=lambda other: other.metrics["target_top1"].value)
    rivals = [other for other in beside if other.knowledge in ("oblivious", "transfer")]
    checks = [_beaten(cell, other, records) for other in rivals]
    return checks if cell.id == best.id else [_softened(check) for check in checks]


def _softened(check: Check) -> Check:
    return check.model_copy(update={"status": "warn"}) if check.status == "fail" else check


def _beaten(cell: Cell, other: Cell, records: Mapping[str, Rows]) -> Check:
    theirs = {row["sample"]: row["target_top1"] for row in records[other.id]}
    ours = {row["sample"]: row["target_top1"] for row in records[cell.id]}
    both = sorted(theirs.keys() & ours.keys())
    lead = statistics.paired_difference([theirs[s] for s in both], [ours[s] for s in both])
    status: Status = "fail" if lead.low > 0 else "warn" if lead.value > 0 else "pass"
    return Check(
        check=f"stronger than {other.knowledge}", status=status,
        detail=f"the {other.knowledge} attack reaches {100 * lead.value:+.1f} points more targets",
    )  # fmt: skip


def monotone(cells: Sequence[Cell], parameter: str) -> list[tuple[str, Check]]:
    """A larger budget must not help the defender."""

    def value(cell: Cell) -> float:
        found = cell.threat.eps if parameter == "eps" else cell.settings["attack"].get(parameter)
        return float(found or 0)

    def rest(cell: Cell) -> str:
        attack = {k: v for k, v in cell.settings["attack"].items() if k != parameter}
        eps = 0 if parameter == "eps" else cell.threat.eps
        defence = sorted(cell.settings["defence"].items())
        return repr((cell.task, cell.model, defence, cell.knowledge, attack, eps))

    attacked = sorted(
        (c for c in cells if c.knowledge != "clean"), key=lambda c: (rest(c), value(c))
    )
    found = []
    for _, group in groupby(attacked, key=rest):
        ladder = list(group)
        for below, above in zip(ladder, ladder[1:], strict=False):
            found.append((above.id, _step_up(below, above, parameter)))
    return found


def _step_up(below: Cell, above: Cell, parameter: str) -> Check:
    less, more = below.metrics["target_top1"], above.metrics["target_top1"]
    status: Status = "pass"
    if more.value < less.value:
        status = "fail" if more.high < less.low else "warn"
    return Check(
        check=f"more {parameter} does not help the defender", status=status,
        detail=f"target top-1 from {less.value:.1%} to {more.value:.1%}",
    )  # fmt: skip
