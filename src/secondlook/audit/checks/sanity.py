"""Checks of a row's set-up: its size, its defense, its surrogates, and its attack set free."""

from __future__ import annotations

from collections.abc import Iterator

from secondlook import statistics
from secondlook.audit.checks.base import Evidence, Row, Rows, graded, more
from secondlook.schema import Check, Status

FEW, TOO_FEW = 100, 30


def enough_samples(row: Row) -> Iterator[Check]:
    """A share over a handful of samples is no figure."""
    n = row.cell.n
    status: Status = "fail" if n < TOO_FEW else "warn" if n < FEW else "pass"
    widest = statistics.wilson(n / 2, n)
    take = f"; take n = {FEW} or more"
    wanted = {"pass": "", "warn": take, "fail": f"{take}, {TOO_FEW} at the least"}
    yield Check(
        check="enough samples",
        status=status,
        detail=f"n = {n}; an interval may be {100 * (widest.high - widest.low):.0f} points wide{wanted[status]}",
    )


def above_chance(row: Row) -> Iterator[Check]:
    """A model that is no better than a guess has nothing to lose, and attacks on it show nothing.

    Told once where all is well, at the model's own clean row, and else at each of its rows.
    """
    chance, right = row.evidence.chance, row.evidence.bare
    if chance is None or right is None:
        return
    guesses = right.low <= chance
    if not guesses and not (row.cell.undefended and row.cell.knowledge == "clean"):
        return
    said = f"{right.value:.0%} right of clean images, where guessing gets {chance:.0%}"
    yield Check(
        check="better than chance",
        status="fail" if guesses else "pass",
        detail=f"{said}: figures of attacks on it say nothing; ask `secondlook doctor`, and look at the prompt"
        if guesses
        else said,
    )


def declared_randomness(row: Row) -> Iterator[Check]:
    """A defense must be as random as it says."""
    found, stochastic = row.evidence.inspection, row.evidence.stochastic
    if found is None:
        return
    unsteady = found["unsteady"] and not stochastic
    yield Check(
        check="deterministic as it says",
        status="fail" if unsteady else "pass",
        detail="two decisions on the same clean inputs differ, and the defense says they cannot"
        if unsteady
        else "its draws are declared"
        if stochastic
        else f"two decisions on {found['n']} clean inputs agree",
    )


def logits(row: Row) -> Iterator[Check]:
    """A model must give logits."""
    if row.evidence.inspection is not None and row.evidence.inspection["softmax"]:
        yield Check(
            check="logits",
            status="warn",
            detail="the model's scores are probabilities, whose gradients vanish where it is "
            "certain; return its logits",
        )


def optimizes(row: Row) -> Iterator[Check]:
    """A defense that optimizes its input moves while it is attacked."""
    if row.cell.ledger.backwards:
        yield Check(
            check="decides without optimizing",
            status="warn",
            detail=f"{row.cell.ledger.backwards:,} backward passes were counted while it decided; "
            "an attack through such a loop is seldom as strong as it could be",
        )


def read_as_written(row: Row) -> Iterator[Check]:
    """What a model says of clean inputs, such as that it has cut captions short."""
    if row.cell.knowledge == "clean" and row.cell.notices:
        detail = "; ".join(row.cell.notices)
        yield Check(check="inputs are read as written", status="warn", detail=detail)


def other_surrogate(row: Row) -> Iterator[Check]:
    """A transfer attack that was made on the victim itself is a white-box attack."""
    if row.cell.knowledge != "transfer":
        return
    hashes, names = row.evidence.hashes, row.cell.surrogates
    victim = hashes.get(row.cell.model)
    same = [name for name in names if hashes.get(name) == victim]
    yield Check(
        check="surrogate is another model",
        status="fail" if same else "pass",
        detail=f"{', '.join(same)} is the victim itself" if same else f"made on {', '.join(names)}",
    )


def enough_draws(row: Row) -> Iterator[Check]:
    """One fresh draw a step is a noisy gradient: the attacker of a randomized victim takes more."""
    if row.cell.knowledge != "adaptive" or not row.evidence.stochastic:
        return
    attack = row.cell.settings.get("attack", {})
    draws = attack.get("draws", 1)
    # This version of AutoAttack takes draws of its own, however many the study asks for.
    many = draws > 1 or attack.get("version") == "rand"
    yield Check(
        check="draws of a randomized victim",
        status="pass" if many else "warn",
        detail="it takes the mean over several draws in each step"
        if many
        else "one draw a step of a victim that never answers twice alike; write draws = 8",
    )


def unbounded(row: Row) -> Iterator[Check]:
    """With nothing to hold it back an attack must succeed, else it is broken or blinded.

    What it has reached within its bound lies in the larger ball as well, and counts.
    """
    share = freed(row.records, row.evidence)
    if share is None or row.cell.knowledge == "clean":
        return
    assert row.evidence.probe is not None
    yield Check(
        check="succeeds without a bound",
        status=graded(1 - share, 0.15, 0.5),
        detail=f"at eps = 1 it succeeded on {share:.0%} (n = {len(row.evidence.probe['samples'])})",
    )


def freed(records: Rows, evidence: Evidence) -> float | None:
    """The share of a few samples that an attack takes with nothing to hold it back; None where it was not tried."""
    probe, within = evidence.probe, evidence.reached
    if probe is None:
        return None
    if within is None:
        within = frozenset(record["sample"] for record in records if record["success"])
    found = [bool(success) or name in within for name, success in probe["samples"].items()]
    return sum(found) / len(found)


def other_aims(row: Row) -> Iterator[Check]:
    """The same attack at another aim must not do better; else the row's own makes success hard."""
    aims = row.evidence.aims
    own = {record["sample"]: record["success"] for record in row.records} if aims else {}
    for name, probe in aims.items():
        both = [sample for sample in probe["samples"] if sample in own]
        if not both:
            continue
        theirs = [float(probe["samples"][sample]) for sample in both]
        lead = statistics.paired_difference(theirs, [own[sample] for sample in both])
        yield Check(
            check=f"another aim does no better: {name}",
            status="fail" if lead.low > 0 else "warn" if lead.value > 0.25 else "pass",
            detail=f"it succeeds on {more(lead.value)} of {len(both)} samples",
        )


def flagged(row: Row) -> Iterator[Check]:
    """What an attack says of itself."""
    if row.cell.knowledge != "clean" and row.cell.notices:
        detail = "; ".join(row.cell.notices)
        yield Check(check="the attack's own flags", status="warn", detail=detail)
