"""What the model costs on this machine, and the default audit's time from it."""

from __future__ import annotations

from secondlook.audit.study import read
from secondlook.doctor.outcome import Outcome, graded, passed, skipped
from secondlook.doctor.patient import Patient
from secondlook.doctor.timing import BATCHES, held_bytes, passes, room, timed
from secondlook.ledger import peak_memory

_LONG = 3600.0


def spending(patient: Patient) -> Outcome:
    """Time an image, forward and with its gradient, as batches grow as far as memory goes."""
    held = held_bytes(patient)
    taken, left_out = passes(patient, held)
    told = [
        f"batch {each.batch}: {_ms(each.forward)} forward, {_ms(each.gradient)} with gradient"
        for each in taken
    ]
    told.append(f"{held / 2**20:.1f} MiB an image held for the gradient")
    told.append(f"the process has taken {peak_memory() / 2**20:.0f} MiB at most")
    figures = {"held": float(held), "peak": float(peak_memory())}
    for each in taken:
        figures[f"forward_{each.batch}"] = each.forward
        if each.gradient == each.gradient:
            figures[f"gradient_{each.batch}"] = each.gradient
    return passed("; ".join([*told, *left_out]), **figures)


def default_audit(patient: Patient) -> Outcome:
    """What the default study would take: the passes of the model in it, at the measured speed."""
    if patient.kind == "purifier":
        return skipped("the default audit is one of a model; what it purifies with is its own")
    study, held = read("default"), held_bytes(patient)
    samples, steps = study.task["samples"], study.attack["steps"]
    looks = study.adaptive["steps"] * study.adaptive["draws"]
    defended = sum(table["name"] != "undefended" for table in study.defences)
    quick = patient.some(BATCHES[1], passes=3) == BATCHES[1]
    batch = BATCHES[1] if quick and held * BATCHES[1] < room() else 1
    each = timed(patient, patient.images[:batch]).gradient
    if each != each:
        return skipped("the model has no gradient to climb")
    bare, whole = samples * steps * each, samples * (steps + looks * defended) * each
    return graded(
        "warn" if whole > _LONG else "pass",
        f"about {_span(bare)} for the attack on the model alone ({samples} images x {steps} "
        f"steps), {_span(whole)} with its share of the adaptive rows; purifiers come on top",
        "begin with fewer: --samples 30 --steps 30 --set adaptive.steps=15",
        bare=bare, whole=whole,
    )  # fmt: skip


def _ms(seconds: float) -> str:
    return "none" if seconds != seconds else f"{1000 * seconds:.3g} ms"


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
