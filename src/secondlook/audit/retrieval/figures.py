"""Records of searches as figures: recalls in both directions, and what an attack took of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from secondlook import statistics
from secondlook.audit.figures import share
from secondlook.audit.schema import Metric
from secondlook.audit.store import Record
from secondlook.statistics import Interval
from secondlook.tasks.retrieval_metrics import CUTS, Groups, Rate, asr, drop, mean_recall, recall

DIRECTIONS: Final = ("image_to_text", "text_to_image")
ALIKE: Final = "alike_"
"""How the figures begin for which captions that say the same belong to each other's images."""


class Figures(NamedTuple):
    """The figures of a row, and for shares of searches the number of them."""

    metrics: dict[str, Metric]
    denominators: dict[str, int]


def figures(rows: Sequence[Record], clean: Sequence[Record]) -> Figures:
    """All figures of a row; attacked ones are compared with the clean row, image by image."""
    rates: dict[str, Rate] = {}
    metrics = {"mean_recall": _metric(mean_recall(*(groups(rows, way) for way in DIRECTIONS)))}
    if any(_differs(row) for row in rows):
        alike = (groups(rows, ALIKE + way) for way in DIRECTIONS)
        metrics[f"{ALIKE}mean_recall"] = _metric(mean_recall(*alike))
        rates |= {f"{ALIKE}{way}_r{k}": recall(groups(rows, ALIKE + way), k)
                  for way in DIRECTIONS for k in CUTS}  # fmt: skip
    rates |= {f"{way}_r{k}": recall(groups(rows, way), k) for way in DIRECTIONS for k in CUTS}
    if "words" in rows[0]:
        before = {row["sample"]: row for row in clean}
        paired = [before[row["sample"]] for row in rows]
        for way in DIRECTIONS:
            was, now = groups(paired, way), groups(rows, way)
            rates |= {f"{way}_asr{k}": asr(was, now, k) for k in CUTS}
            metrics |= {f"{way}_drop{k}": _metric(drop(was, now, k)) for k in CUTS}
        metrics |= _changes(rows)
    metrics |= {name: _metric(rate.interval) for name, rate in rates.items()}
    metrics |= {name: share([row[name] for row in rows]) for name in ("original_top1", "reached")}
    return Figures(metrics, {name: rate.of for name, rate in rates.items()})


def groups(rows: Sequence[Record], way: str) -> Groups:
    """The ranks of each image's searches in one direction."""
    ranks = [row[way] for row in rows]
    return [[each] if isinstance(each, int) else each for each in ranks]


def _differs(row: Record) -> bool:
    return any(row[way] != row[ALIKE + way] for way in DIRECTIONS)


def _changes(rows: Sequence[Record]) -> dict[str, Metric]:
    """Words changed in a caption, and the cosine between it and what it was, by the victim."""
    found = {}
    for name, key in (("words_changed", "words"), ("caption_cosine", "caption_cosine")):
        values = list(chain.from_iterable(row[key] for row in rows))
        found[name] = _metric(statistics.mean([float(np.mean(row[key])) for row in rows]))
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        found[name] = found[name].model_copy(update={"sd": spread})
    return found


def _metric(interval: Interval) -> Metric:
    return Metric(**interval._asdict())
