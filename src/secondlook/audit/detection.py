"""How well a defense's suspicion tells the inputs of attacked rows from those of its clean row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from secondlook.audit.columns import Rows
from secondlook.audit.headline import group_key
from secondlook.audit.store import Record
from secondlook.metrics import detection
from secondlook.metrics.figures import share
from secondlook.schema import Calibrated, Cell, Detection, Flagged, Histogram, Metric, Roc, SampleRecord, Sorting
from secondlook.statistics import Interval, Numbers

Attributes = Mapping[str, Mapping[str, str]]
"""By sample the value of each attribute."""
Thresholds = Mapping[str, float | None]
"""By the false positive rate that was asked for, as text."""
USUAL = "0.05"
"""The rate whose threshold sorts the inputs."""
_BINS, _DIGITS, _FEW = 20, 6, 5
_OPTIMISTIC = {"youden": detection.youden, "equal_tpr_tnr": detection.equal_tpr_tnr}
_ALIKE = ("oblivious", "transfer")
"""Attackers who do not see the defense: all detectors meet the same adversarials."""


class Scored(NamedTuple):
    """What a defense thought of the inputs of one row.

    Attributes:
        samples: their names, in the order of the row.
        suspicion: ``[n]``; infinite where JSON could not hold it.
        rejected: for each input the share of its fresh draws that rejected it.
    """

    samples: tuple[str, ...]
    suspicion: Numbers
    rejected: tuple[float, ...]

    @property
    def varies(self) -> bool:
        """Whether suspicions differ at all."""
        return bool((self.suspicion != self.suspicion[0]).any())


def scored(rows: Sequence[SampleRecord]) -> Scored | None:
    """The suspicions of records; None where their task knows none."""
    if not rows or not {"suspicion", "rejected"} <= rows[0].keys():
        return None
    found = [(row["sample"], row["suspicion"], row["rejected"]) for row in rows]
    samples, suspicions, rejected = zip(*found, strict=True)
    known = [np.inf if each is None else each for each in suspicions]
    return Scored(samples, np.array(known, dtype=float), rejected)


def detected(
    cells: Sequence[Cell],
    records: Mapping[str, Rows],
    ledger: Iterable[Record] = (),
    attributes: Attributes = MappingProxyType({}),
) -> list[Cell]:
    """The rows; where a defense rejects by a suspicion that tells inputs apart, with how well.

    Args:
        cells: all rows of an audit.
        records: of each row.
        ledger: lines of clean rows that were ``inspected`` say at which ``thresholds`` their
            defense would reject.
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
        for calm, rows in groups.items()
        if _worth(rows.values(), known.get(calm, {}))
        for name, row in rows.items()
    }
    rows = [cell.model_copy(update={"detection": found.get(cell.id)}) for cell in cells]
    return with_differences(rows, clean, scores)


def _worth(rows: Collection[Scored], thresholds: Thresholds) -> bool:
    """Whether a suspicion tells inputs apart, and the defense rejects; most that vote do not."""
    rejects = bool(thresholds) or any(any(row.rejected) for row in rows)
    return rejects and any(row.varies for row in rows)


def measured(row: Scored, clean: Scored | None, thresholds: Thresholds, attributes: Attributes) -> Detection:
    """The figures of an attacked row against its clean one; of a clean row, its false alarms."""
    calibrated = {
        rate: Calibrated(
            threshold=threshold,
            fpr=_above((clean or row).suspicion, threshold),
            tpr=_above(row.suspicion, threshold) if clean else None,
        )
        for rate, threshold in thresholds.items()
        if threshold is not None
    }
    found = Detection(rejected=share(row.rejected), calibrated=calibrated, by_attribute=by_attribute(row, attributes))
    if clean is None:
        return found
    sides = (clean.suspicion, row.suspicion)
    usual = calibrated.get(USUAL)
    return found.model_copy(
        update={
            "sorting": _sorting(*sides, usual.threshold) if usual else None,
            "auroc": _metric(detection.auroc(*sides)),
            "average_precision": _metric(detection.average_precision(*sides)),
            "optimistic": {name: _sorting(*sides, rule(*sides)) for name, rule in _OPTIMISTIC.items()},
            "histogram": histogram(*sides),
            "roc": _roc(*sides),
        }
    )


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
    low, high = (np.histogram(side.clip(edges[0], edges[-1]), edges)[0].tolist() for side in (clean, attacked))
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


def with_differences(cells: Sequence[Cell], clean: Mapping[str, str], scores: Mapping[str, Scored]) -> list[Cell]:
    """The rows, with the AUROC of each model's first detector less that of the others.

    Args:
        cells: all rows, in the order of the audit.
        clean: the id of the clean row of each detector, by :func:`group_key`.
        scores: by the ids of rows.
    """
    first: dict[tuple[str, str], str] = {}
    for cell in cells:
        if cell.detection is not None:
            first.setdefault((cell.task, cell.model), group_key(cell))
    leaders = {
        _attack(cell): cell
        for cell in cells
        if cell.knowledge in _ALIKE and first.get((cell.task, cell.model)) == group_key(cell)
    }
    found = []
    for cell in cells:
        leader = leaders.get(_attack(cell))
        if leader is not None and leader.id != cell.id and cell.detection is not None:
            pair = [_both(each, clean, scores) for each in (leader, cell)]
            made = cell.detection.model_copy(update={"auroc_difference": _difference(*pair)})
            cell = cell.model_copy(update={"detection": made})
        found.append(cell)
    return found


def _attack(cell: Cell) -> str:
    """Rows in which it is the same were given the same adversarials, whoever defends."""
    settings = sorted(cell.settings.get("attack", {}).items())
    return repr((cell.task, cell.model, cell.knowledge, cell.threat, settings, cell.surrogates, cell.resolution))


def _both(cell: Cell, clean: Mapping[str, str], scores: Mapping[str, Scored]) -> tuple[Scored, Scored]:
    """The clean and the attacked inputs of a row."""
    return scores[clean[group_key(cell)]], scores[cell.id]


def _difference(first: tuple[Scored, Scored], other: tuple[Scored, Scored]) -> Metric | None:
    """None while one of two rows lacks samples that the other has."""
    sides = list(zip(first, other, strict=True))
    if any(one.samples != two.samples for one, two in sides):
        return None
    low, high = ((one.suspicion, two.suspicion) for one, two in sides)
    twins = first[0].samples == first[1].samples
    return Metric(**detection.auroc_difference(low, high, twins=twins)._asdict())
