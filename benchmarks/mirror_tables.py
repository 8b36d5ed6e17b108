"""What detectors are worth, as tables of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.defenses.calibration import conformal_threshold
from secondlook.metrics.detection import auroc, auroc_difference, confusion
from secondlook.statistics import Interval, wilson

RATES = (0.01, 0.05, 0.10)
Scores = Mapping[str, Tensor]


class Shown(NamedTuple):
    """Images, what was said of them, and whether that is right, and what was wanted."""

    images: Tensor
    captions: list[str]
    right: Tensor
    wanted: Tensor
    scores: dict[str, Tensor]


def told(value: Interval) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def false_alarms(calibrated: Scores, fresh: Scores) -> None:
    """Shares of fresh clean images above each detector's own thresholds."""
    count = len(next(iter(fresh.values())))
    print(f"\nfalse alarms on {count} fresh clean images\n")
    print(f"| detector | {' | '.join(f'α = {rate:.0%}' for rate in RATES)} |\n|---|---|---|---|")
    for name, scores in fresh.items():
        cuts = [conformal_threshold(calibrated[name], rate) for rate in RATES]
        shares = [wilson(int((scores > cut).sum()), len(scores)) for cut in cuts]
        print(f"| {name} | {' | '.join(map(told, shares))} |", flush=True)


def table(threshold: Mapping[str, float], fresh: Scores, found: Shown, only: Tensor) -> None:
    """Accuracy at the threshold over as many clean images as attacked ones, and AUROC."""
    best = next(iter(fresh))
    count = int(only.sum())
    print("| detector | TPR at α = 5 % | accuracy | AUROC | MirrorCheck's AUROC less its |")
    print("|---|---|---|---|---|")
    for name, clean in fresh.items():
        scores, cut = found.scores[name][only], threshold[name]
        counts = confusion(clean[:count], scores, cut)
        area = auroc(clean, scores)
        ahead = auroc_difference((fresh[best], clean), (found.scores[best][only], scores))
        rate = wilson(counts.caught, count)
        print(f"| {name} | {told(rate)} | {told(counts.accuracy)} | {told(area)} | {told(ahead)} |",
              flush=True)  # fmt: skip


def joined(parts: list[Shown]) -> Shown:
    return Shown(
        torch.cat([part.images for part in parts]),
        [text for part in parts for text in part.captions],
        torch.cat([part.right for part in parts]), torch.cat([part.wanted for part in parts]),
        {name: torch.cat([part.scores[name] for part in parts]) for name in parts[0].scores},
    )  # fmt: skip
