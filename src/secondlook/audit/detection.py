"""How well a defence's suspicion tells the inputs of attacked rows from those of its clean row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from secondlook.audit.ahead import leading
from secondlook.audit.columns import Rows
from secondlook.audit.figures import share
from secondlook.audit.schema import Cell, Metric
from secondlook.audit.schema_detection import (
    Calibrated,
    Detection,
    Flagged,
    Histogram,
    Roc,
    Sorting,
)
from secondlook.audit.scored import Scored, scored
from secondlook.audit.store import Record
from secondlook.audit.verdict import group_key
from secondlook.metrics import detection
from secondlook.statistics import Interval, Numbers

Attributes = Mapping[str, Mapping[str, str]]
"""By sample the value of each attribute."""
Thresholds = Mapping[str, float | None]
"""By the false positive rate that was asked for, as text."""
USUAL = "0.05"
"""The rate whose threshold sorts the inputs."""
_BINS, _DIGITS, _FEW = 20, 6, 5
_OPTIMISTIC = {"youden": detection.youden, "equal_tpr_tnr": detection.equal_tpr_tnr}


def detected(
    cells: Sequence[Cell], records: Mapping[str, Rows], ledger: Iterable[Record] = (),
    attributes: Attributes = MappingProxyType({}),
) -> list[Cell]:  # fmt: skip
    """The rows; where a defence rejects by a suspicion that tells inputs apart, with how well.

    Args:
        cells: all rows of an audit.
        records: of each row.
        ledger: lines of clean rows that were ``inspected`` say at which ``thresholds`` their
            defence would reject.
        attributes: what is known of the samples.
    """
    known = {line["inspected"]: line["thresholds"] for line in ledger if "thresholds" in line}
    clean = {group_key(cell): cell.id for cell in cells if cell.knowledge == "clean"}
    scores = {cell.id: seen for cell in cells if (seen := scored(records[cell.id])) is not None}
    groups: dict[str, dict[str, Scored]] = {}
    for cell in cells:
        calm = clean.get(group_key(cell))
        if calm in scores and cell.id in scores:
            groups.setdefault(calm, {})[cell.id] = scores[cell.id]
    found = {
        name: measured(row, None if name == calm else rows[calm], known.get(calm, {}), attributes)
        for calm, rows in groups.items() if _worth(rows.values(), known.get(calm, {}))
        for name, row in rows.items()
    }  # fmt: skip
    told = [cell.model_copy(update={"detection": found.get(cell.id)}) for cell in cells]
    return leading(told, clean, scores)


def _worth(rows: Collection[Scored], thresholds: Thresholds) -> bool:
    """Whether a suspicion tells inputs apart, and the defence rejects; most that vote do not."""
    rejects = bool(thresholds) or any(any(row.rejected) for row in rows)
    return rejects and any(row.tells for row in rows)


def measured(
    row: Scored, clean: Scored | None, thresholds: Thresholds, attributes: Attributes
) -> Detection:
    """The figures of an attacked row against its clean one; of a clean row, its false alarms."""
    calibrated = {
        rate: Calibrated(
            threshold=threshold, fpr=_above((clean or row).suspicion, threshold),
            tpr=_above(row.suspicion, threshold) if clean else None,
        )
        for rate, threshold in thresholds.items() if threshold is not None
    }  # fmt: skip
    found = Detection(
        rejected=share(row.rejected), calibrated=calibrated,
        by_attribute=by_attribute(row, attributes),
    )  # fmt: skip
    if clean is None:
        return found
    sides = (clean.suspicion, row.suspicion)
    usual = calibrated.get(USUAL)
    return found.model_copy(update={
        "sorting": _sorting(*sides, usual.threshold) if usual else None,
        "auroc": _metric(detection.auroc(*sides)),
        "average_precision": _metric(detection.average_precision(*sides)),
        "optimistic": {
            name: _sorting(*sides, rule(*sides)) for name, rule in _OPTIMISTIC.items()
        },
        "histogram": histogram(*sides), "roc": _roc(*sides),
    })  # fmt: skip


def _above(side: Numbers, threshold: float) -> Metric:
    return share((side > threshold).astype(float).tolist())


def _sorting(clean: Numbers, attacked: Numbers, threshold: float) -> Sorting:
    counts = detection.confusion(clean, attacked, threshold)
    return Sorting(threshold=threshold, accuracy=_metric(counts.accuracy), **counts._asdict())


def histogram(clean: Numbers, attacked: Numbers) -> Histogram | None:
    """Both by suspicion, in equal bins; None where no suspicion is finite."""
    every = np.concatenate([clean, attacked])
    finite = every[np.isfinite(every)]
    if not len(finite):
        return None
    edges = np.histogram_bin_edges(finite, _BINS)
    low, high = (
        np.histogram(side.clip(edges[0], edges[-1]), edges)[0].tolist()
        for side in (clean, attacked)
    )
    return Histogram(edges=edges.tolist(), clean=low, attacked=high)


def _roc(clean: Numbers, attacked: Numbers) -> Roc:
    fpr, tpr = (side.round(_DIGITS).tolist() for side in detection.roc(clean, attacked))
    return Roc(fpr=fpr, tpr=tpr)


def by_attribute(row: Scored, attributes: Attributes) -> list[Flagged]:
    """Share of the inputs rejected, for each value that five of them have or more."""
    kinds: dict[tuple[str, str], list[float]] = {}
    for sample, rejected in zip(row.samples, row.rejected, strict=True):
        for kind in attributes.get(sample, {}).items():
            kinds.setdefault(kind, []).append(rejected)
    return [
        Flagged(attribute=attribute, value=value, n=len(found), flagged=share(found))
        for (attribute, value), found in sorted(kinds.items())
        if len(found) >= _FEW
    ]


def _metric(interval: Interval) -> Metric:
    return Metric(**interval._asdict())
