"""Health checks: whether a number can be believed, said next to the number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secondlook import statistics
from secondlook.audit.schema import Cell, Check, Status
from secondlook.audit.search import Rows, graded, searched

FEW, TOO_FEW = 100, 30


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a row beside its records.

    Attributes:
        probe: how the row's attack did with nothing to hold it back; None where it was not tried.
        inspection: what a look at the defence and its model before the run has found.
        hashes: of the models, by name.
        stochastic: whether the defence says that its decisions differ.
    """

    probe: Mapping[str, Any] | None = None
    inspection: Mapping[str, Any] | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    stochastic: bool = False


def check_cell(cell: Cell, rows: Rows, evidence: Evidence) -> list[Check]:
    """The checks that need one cell alone."""
    checks = [enough_samples(cell.n), *inspected(evidence)]
    if cell.ledger.backwards:
        checks.append(optimises(cell))
    if cell.knowledge == "clean":
        return checks
    if "steps" in rows[0]:
        checks += searched(cell, rows)
    if cell.knowledge == "transfer":
        checks.append(other_surrogate(cell, evidence.hashes))
    if cell.knowledge == "adaptive" and evidence.stochastic:
        checks.append(enough_draws(cell))
    if evidence.probe is not None:
        checks.append(unbounded(evidence.probe, rows))
    if cell.notices:
        checks.append(Check(check="the attack's own flags", status="warn",
                            detail="; ".join(cell.notices)))  # fmt: skip
    return checks


def inspected(evidence: Evidence) -> list[Check]:
    """A defence must be as random as it says, and its model must give logits."""
    look = evidence.inspection
    if look is None:
        return []
    unsteady = look["unsteady"] and not evidence.stochastic
    checks = [
        Check(
            check="deterministic as it says", status="fail" if unsteady else "pass",
            detail="two decisions on the same clean inputs differ, and the defence says they cannot"
            if unsteady else "its draws are declared" if evidence.stochastic
            else f"two decisions on {look['n']} clean inputs agree",
        )
    ]  # fmt: skip
    if look["softmax"]:
        checks.append(Check(
            check="logits", status="warn",
            detail="the model's scores are probabilities, whose gradients vanish where it is "
            "certain; return its logits",
        ))  # fmt: skip
    return checks


def optimises(cell: Cell) -> Check:
    """A defence that optimises its input moves while it is attacked."""
    return Check(
        check="decides without optimising", status="warn",
        detail=f"{cell.ledger.backwards:,} backward passes were counted while it decided; "
        "an attack through such a loop is seldom as strong as it could be",
    )  # fmt: skip


def enough_draws(cell: Cell) -> Check:
    """One fresh look a step is a noisy gradient: the attacker of a randomised victim takes more."""
    attack = cell.settings.get("attack", {})
    draws = attack.get("draws", 1)
    # This version of AutoAttack takes looks of its own, however many the study asks for.
    many = draws > 1 or attack.get("version") == "rand"
    return Check(
        check="draws of a randomised victim", status="pass" if many else "warn",
        detail="it takes the mean over several looks in each step" if many
        else "one look a step at a victim that never looks twice alike; write draws = 8",
    )  # fmt: skip


def enough_samples(n: int) -> Check:
    """A share over a handful of samples is no figure."""
    status: Status = "fail" if n < TOO_FEW else "warn" if n < FEW else "pass"
    widest = statistics.wilson(n / 2, n)
    return Check(
        check="enough samples", status=status,
        detail=f"n = {n}; an interval may be {100 * (widest.high - widest.low):.0f} points wide",
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


def unbounded(probe: Mapping[str, Any], rows: Rows) -> Check:
    """With nothing to hold it back an attack must succeed, else it is broken or blinded.

    What it has reached within its bound lies in the larger ball as well, and counts.
    """
    within = {row["sample"] for row in rows if row["reached"]}
    found = [bool(reached) or name in within for name, reached in probe["samples"].items()]
    share = sum(found) / len(found)
    return Check(
        check="succeeds without a bound", status=graded(1 - share, 0.15, 0.5),
        detail=f"at eps = 1 it succeeded on {share:.0%} (n = {len(found)})",
    )  # fmt: skip
