"""Records of captions as figures: how much of the truth they tell, and whether the attacker's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from secondlook import statistics
from secondlook.audit.figures import share
from secondlook.audit.schema import Metric
from secondlook.audit.single.summary import average
from secondlook.metrics import bleu
from secondlook.statistics import Interval, Numbers


def figures(
    rows: Sequence[Mapping[str, Any]], captions: Mapping[str, Sequence[str]]
) -> dict[str, Metric]:
    """The figures of a row: means with Student's interval, shares with Wilson's, sums bootstrapped.

    Args:
        rows: its records.
        captions: the true ones of each image, by its name.
    """
    counts = bleu.counted(
        ["" if row["outcome"] == "rejected" else row["text"] for row in rows],
        [captions[row["sample"]] for row in rows],
    )  # fmt: skip
    found = {
        "right": share([row["original_top1"] for row in rows]),
        "cider": average([row["cider"] for row in rows]),
        "said": share([row["said"] for row in rows]),
        "wrong": share([row["wrong"] for row in rows]),
        "bleu4": _metric(statistics.of_totals(counts, bleu.score)),
        "verbatim": share([row["verbatim"] for row in rows]),
        "target_cider": average([row["target_cider"] for row in rows]),
    }
    if "rejected" in rows[0]:
        found["rejected"] = share([row["rejected"] for row in rows])
        found["suspicion"] = average([row["suspicion"] for row in rows])
    for name in (name for name in rows[0] if name.startswith("text_score")):
        found[name] = average([row[name] for row in rows])
    if "claims" in rows[0]:
        found["whole"] = share([row["whole"] for row in rows])
        made = np.array([[row["true"], row["claims"]] for row in rows], dtype=float)
        found["claims"] = _metric(statistics.of_totals(made, _ratio))
    return found


def _ratio(sums: Numbers) -> Numbers:
    with np.errstate(invalid="ignore"):
        found: Numbers = sums[..., 0] / sums[..., 1]
    return found


def _metric(interval: Interval) -> Metric:
    return Metric(**interval._asdict())
