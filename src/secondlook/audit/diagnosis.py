"""Whether a defense hides its gradient: measured on a few samples, kept in the ledger, and read as a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any, Final

import torch
from scipy import stats
from torch import Tensor

from secondlook.attacks.diagnosis import Measurements, diagnosed
from secondlook.attacks.synthesis import BARE, OWN, QUERIES
from secondlook.audit.plan import Diagnosed, Plan
from secondlook.audit.store import Record
from secondlook.audit.written import DiagnosedLine, DifferencesLine, MannerLine, Numbers
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.ledger import counting
from secondlook.metrics.figures import share
from secondlook.models.base import Classifier, Embedder
from secondlook.schema import Cosine, Diagnosis, DiagnosisVerdict, MannerResult, SampleRecord, Slopes
from secondlook.tasks.base import Batch, finite

SIGNIFICANT: Final = 0.05
TINY: Final = 1e-6
"""Of the bare model's gradient: what is below it is rounding."""
HIDDEN: Final = 0.1
"""Of a measured slope: a gradient that says less of it hides it."""
NOTABLE: Final = 0.01
"""Of the bare model's slope along the same way: what is measured below it is rounding, or flat."""
RECOVERED: Final = 0.2
"""Of the samples: whoever takes fewer than the bare model's attack there, but for so many, recovers it."""
_BESIDE: Final = 4
"""Samples that are answered together when it is asked whether they feel each other."""
_SENTENCES: Final[Mapping[DiagnosisVerdict, str]] = {
    "masked": "The gradient through this defense does not show where it fails: accuracy against attacks by it is no "
    "robustness.",
    "batch-coupled": "An answer depends on the other inputs of its batch: the figures hold for this batch alone.",
    "gate-only": "All that this defense does is to reject: whoever minds the gate does as well as on the bare model.",
    "no masking found": "No manner of attacking this defense shows that its gradient leads astray.",
}


def measured(plan: Plan, what: Diagnosed) -> Record:
    """The line of a diagnosis; of nothing where the task's objective cannot be climbed in several manners."""
    what.guarded.prepare()
    batch = plan.task.batch(range(min(plan.study.diagnosed, len(plan.task.rows))), what.guarded)
    what.guarded.forget()
    with counting() as ledger:
        goal = plan.task.objective(batch, what.guarded, what.options)
        found = diagnosed(goal, batch.pairs.images, what.threat, batch.keys.fold("diagnosis"), what.attack)
        beside = _coupling(what, batch, found) if found else []
    cost = {"forwards": ledger.forwards, "backwards": ledger.backwards}
    if found is None:
        return {"n": 0, **cost}
    return {"n": len(batch.ids), **cost, "samples": list(batch.ids), "coupling": beside, **_plain(found)}


def _plain(found: Measurements) -> Record:
    """All that was measured, for JSON."""
    return {
        "manners": {
            name: {
                "success": each.success.tolist(),
                "rise": finite(each.rise),
                "size": None if each.size is None else finite(each.size),
            }
            for name, each in found.manners.items()
        },
        "refused": dict(found.refused),
        "bare_success": found.bare_success.tolist(),
        "cosines": [
            {"between": list(pair), "start": finite(each[:, 0]), "end": finite(each[:, 1])}
            for pair, each in found.cosines.items()
        ],
        "differences": {
            name: {part: finite(values) for part, values in each._asdict().items()}
            for name, each in found.differences.items()
        },
    }


def _coupling(what: Diagnosed, batch: Batch, found: Measurements) -> Numbers:
    """How far answers to a clean and to an attacked sample move with those beside them; what writes texts has none."""
    if not isinstance(what.guarded.model, Classifier | Embedder) or len(batch.ids) < 2:
        return []
    keys = batch.keys[:_BESIDE].fold("beside")
    both: list[Tensor] = [batch.pairs.images[:_BESIDE], found.end[:_BESIDE]]
    return finite(torch.cat([coupling(what.guarded, x, keys, kept=1) for x in both]))


def read(
    line: Mapping[str, Any],
    gates: bool,
    records: Sequence[SampleRecord],
    members: Sequence[str],
    survivors: float | None,
) -> Diagnosis | None:
    """The diagnosis of a row; None where there was nothing to diagnose.

    Args:
        line: of the ledger.
        gates: whether the defense may reject.
        records: of the row.
        members: of the row's attack, if it has any.
        survivors: the share that its attack leaves with nothing to hold it back; None where that is not known.
    """
    seen = DiagnosedLine.model_validate(line)
    if not seen.n:
        return None
    reasons = {verdict: why for verdict, why in _reasons(seen, gates, survivors) if why}
    verdict: DiagnosisVerdict = next(iter(reasons), "no masking found")
    return Diagnosis(
        verdict=verdict,
        sentence=_SENTENCES[verdict],
        reasons=[why for each in reasons.values() for why in each],
        n=seen.n,
        manners=_manners(seen, records, members),
        cosines=[
            Cosine(between=(each.between[0], each.between[1]), start=_median(each.start), end=_median(each.end))
            for each in seen.cosines
        ],
        slopes=[
            Slopes(
                along=name,
                measured=_median(each.measured),
                by_gradient=_median(each.by_gradient),
                hidden=_share(_hidden(each)),
            )
            for name, each in seen.differences.items()
        ],
        coupling=max(_known(seen.coupling), default=None),
        forwards=seen.forwards,
        backwards=seen.backwards,
    )


def _reasons(seen: DiagnosedLine, gates: bool, survivors: float | None) -> Iterator[tuple[DiagnosisVerdict, list[str]]]:
    """What speaks for each verdict, the gravest first."""
    yield "masked", [*_outdone(seen), *_sloping(seen), *_surviving(survivors)]
    far = max(_known(seen.coupling), default=0.0)
    yield "batch-coupled", [f"an answer moved by {far:.2g} of its length with its neighbors"] if far > COUPLED else []
    yield "gate-only", _gated(seen) if gates else []


def _outdone(seen: DiagnosedLine) -> Iterator[str]:
    """What does better than the gradient as it is."""
    own = seen.manners[OWN].success if OWN in seen.manners else [False] * seen.n
    for name, called in ((BARE, "the bare model's attack"), (QUERIES, "queries alone")):
        if name in seen.manners and (p := better(seen.manners[name].success, own)) < SIGNIFICANT:
            theirs = sum(seen.manners[name].success)
            yield f"{called}: {theirs} of {seen.n} samples; the gradient as it is: {sum(own)} (p = {p:.2g})"


def better(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """How likely as much more success as ours has over theirs is by chance: McNemar's test, exact and one-sided.

    Example:
        >>> better([True] * 5, [False] * 5)
        0.03125
    """
    pairs = list(zip(ours, theirs, strict=True))
    gained, lost = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    return float(stats.binomtest(gained, gained + lost, alternative="greater").pvalue) if gained + lost else 1.0


def _sloping(seen: DiagnosedLine) -> Iterator[str]:
    along = seen.differences.get(BARE)
    if along is not None and (found := _share(_hidden(along)) or 0.0) > 0.5:
        yield (
            f"on {found:.0%} of the samples finite differences find a slope of which the gradient says less than "
            f"{HIDDEN:.0%}"
        )


def _hidden(along: DifferencesLine) -> list[bool]:
    """Of each sample whether the gradient hides a slope that is there."""
    columns = zip(along.measured, along.by_gradient, along.bare, strict=True)
    return [
        measured is not None
        and abs(measured) > NOTABLE * abs(bare or 0.0) > 0
        and abs(said or 0.0) < HIDDEN * abs(measured)
        for measured, said, bare in columns
    ]


def _surviving(survivors: float | None) -> Iterator[str]:
    if survivors is not None and survivors > 0.5:
        yield f"with eps = 1 the attack leaves {survivors:.0%} of the samples"


def _gated(seen: DiagnosedLine) -> list[str]:
    """The bare attack is held back, and whoever has the gate in the loss recovers all of it."""
    bare, own = seen.manners.get(BARE), seen.manners.get(OWN)
    if bare is None or own is None or not any(seen.bare_success):
        return []
    held = better(seen.bare_success, bare.success) < SIGNIFICANT
    short = sum(seen.bare_success) - sum(own.success)
    if not held or short > RECOVERED * seen.n:
        return []
    return [
        f"of {seen.n} the bare model's attack takes {sum(seen.bare_success)} there and {sum(bare.success)} here; "
        f"with the gate in the loss it takes {sum(own.success)}"
    ]


def _manners(seen: DiagnosedLine, records: Sequence[SampleRecord], members: Sequence[str]) -> dict[str, MannerResult]:
    """Of each manner what it does alone, and of how many of the row's samples it was the first."""
    firsts = dict(_firsts(records, members))
    found = {name: _manner(each, firsts.get(name)) for name, each in seen.manners.items()}
    found |= {name: MannerResult(first=each) for name, each in firsts.items() if name not in found}
    return found | {name: MannerResult(note=why) for name, why in seen.refused.items()}


def _firsts(records: Sequence[SampleRecord], members: Sequence[str]) -> Iterator[tuple[str, Any]]:
    by = [row.get("by") for row in records]
    for index, name in enumerate(members):
        yield name, share([float(each == index) for each in by])


def _manner(each: MannerLine, first: Any) -> MannerResult:
    sizes = [size for size in each.size or () if size is not None]
    return MannerResult(
        robust=share([float(not success) for success in each.success]),
        rise=fmean(_known(each.rise)) if _known(each.rise) else None,
        size=_median(sizes),
        zero=_share([size == 0 for size in sizes]),
        tiny=_share([size < TINY for size in sizes]),
        first=first,
    )


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Sequence[float | None]) -> float | None:
    return median(_known(values)) if _known(values) else None


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
