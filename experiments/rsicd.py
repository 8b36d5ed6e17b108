"""Does multimodal contrastive learning make models that are trained on synthetic data more robust?

The question is asked of RSICD; the overhead scenes of the embedded world stand in for it
(docs/rsicd.md): ``python -m experiments.rsicd``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, get_args

import torch
from torch import Tensor

from experiments.pairs import pairs_of, percent, radius as radius_of, searched
from experiments.rsicd_training import Arm, Budget, Data, Kind, Regime, arms, shared_model, trained
from experiments.runner import Measure, Result, main
from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Attack
from secondlook.attacks.joint.sga import SGA
from secondlook.attacks.square import Square
from secondlook.data import load
from secondlook.defenses.guarded import Guarded
from secondlook.metrics.retrieval import CUTS, recall
from secondlook.models.base import Classifier, Embedder
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.statistics import Interval, paired_difference, wilson
from secondlook.threat import LEVELS, Threat

RADII: Final = (1, 2, 4, 8)
"""Of the L∞ attacks on naming, in 255ths; 0 is the clean image."""
SEARCHED_AT: Final = (2,)
"""Of SGA, in 255ths."""
COMPARED_AT: Final[Mapping[Regime, tuple[int, ...]]] = {"standard": (1, 2), "hardened": (2, 4)}
"""The radii of the answer, in 255ths: those between where all stand and where all fall."""
BATCH: Final = 100
Name = tuple[Kind, Data, Regime]
Results = Mapping[Name, Sequence[Result]]


class RSICDExperiment:
    """One arm for each kind of model, kind of data, training and seed."""

    name = "rsicd"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seeds", type=int, default=1, help="trainings of each (%(default)s)")
        parser.add_argument("--images", type=int, default=200, help="test images (%(default)s)")
        parser.add_argument("--attack-steps", type=int, default=20, help="of APGD (%(default)s)")
        parser.add_argument("--targets", type=int, default=3, help="of APGD-T (%(default)s)")
        parser.add_argument("--queries", type=int, default=150, help="of Square (%(default)s)")
        parser.add_argument("--painter", default="", help="another painter, scenes:painter, say")

    def arms(self, options: argparse.Namespace) -> Mapping[str, Measure]:
        return {str(arm): partial(_measure, arm, options) for arm in arms(options.seeds)}

    def report(self, results: Mapping[str, Result]) -> Iterator[str]:
        return _report(list(results.values()))


def _measure(arm: Arm, options: argparse.Namespace, out: Path) -> Result:
    """Trains one arm, and attacks it."""
    model = trained(arm, Budget(), out, options.painter)
    source = load("overhead:test", n=1)
    result: Result = {
        "arm": arm._asdict(),
        "n": options.images,
        "attack_steps": options.attack_steps,
        "targets": options.targets,
        "queries": options.queries,
        "weights": model.hash,
        "painter": options.painter or "overhead-painter",
    }
    if isinstance(model, Embedder):
        result |= _named(ZeroShot(model, source.classes, source.prompt), options)
        result["recall"] = _found(model, out, options)
    else:
        result |= _named(model, options)
    return result


def _attacks(options: argparse.Namespace) -> dict[str, Attack]:
    """One after the other, each on those that stand; a sample counts by the worst of them."""
    return {
        "apgd-ce": APGD(steps=options.attack_steps),
        "apgd-t": APGD(steps=options.attack_steps, targets=options.targets),
        "square": Square(queries=options.queries),
    }


def _named(model: Classifier, options: argparse.Namespace) -> dict[str, Any]:
    """Of each test image the radius that breaks it, and the attack that did.

    A radius is 0 where the clean image is wrong, and one beyond the last where all fail. What a
    smaller ball holds the larger one holds too, so whoever is broken is attacked no further.
    """
    source = load("overhead:test", n=options.images)
    radii, broken_by = [RADII[-1] + 1] * len(source), [""] * len(source)
    for rows in torch.arange(len(source)).split(BATCH):
        x, truth = source.read(rows.tolist(), None)
        keys = Keys.of(0, [source.ids[row] for row in rows.tolist()])
        standing = _right(model, x, truth)
        for row in rows[~standing].tolist():
            radii[row] = 0
        for radius in RADII:
            for name, attack in _attacks(options).items():
                at = standing.nonzero()[:, 0]
                if not len(at):
                    continue
                objective = UntargetedObjective(goal=Untargeted(truth=truth[at]), victim=Guarded(model))
                own = keys[at].fold(name, radius)
                made = attack(objective, x[at], Threat(eps=radius / LEVELS, grid=LEVELS), own).x
                fallen = at[~_right(model, made, truth[at])]
                standing[fallen] = False
                for row in rows[fallen].tolist():
                    radii[row], broken_by[row] = radius, name
    return {"radii": radii, "by": broken_by}


@torch.no_grad()
def _right(model: Classifier, x: Tensor, truth: Tensor) -> Tensor:
    return model(x).argmax(1) == truth


def _found(model: Embedder, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """R@k both ways, clean and with both sides altered by SGA."""
    source = load("overhead:test", n=options.images)
    pairs = pairs_of(source)
    sga, keys = SGA(mlm=shared_model(out, "overhead-mlm")), Keys.of(0, source.ids).fold("sga")
    held = {"0": _recalls(searched(model, pairs.images, pairs.captions))}
    for radius in SEARCHED_AT:
        made = sga(model, pairs, Threat(eps=radius / LEVELS, grid=LEVELS), keys)
        held[str(radius)] = _recalls(searched(model, made.images, made.captions))
    return held


def _recalls(ways: Sequence[Any]) -> list[list[list[float]]]:
    return [[list(recall(way, k).interval) for k in CUTS] for way in ways]


def _report(held: Sequence[Result]) -> Iterator[str]:
    """All tables and the answer, as far as their arms are there."""
    if not held:
        return
    results: dict[Name, list[Result]] = {}
    for each in held:
        arm = each["arm"]
        results.setdefault((arm["kind"], arm["data"], arm["training"]), []).append(each)
    yield f"Accuracy in percent; n = {held[0]['n']} test images; {_seeds(results)}."
    yield ""
    yield f"| model | learnt from | training | {' | '.join(map(_radius, (0, *RADII)))} |"
    yield "|---|---|---|" + "---|" * (1 + len(RADII))
    for (data, training), kind in product(_pairs(), get_args(Kind)):
        if (kind, data, training) in results:
            cells = [percent(_accuracy(results[kind, data, training], r)) for r in (0, *RADII)]
            yield f"| {kind} | {data} | {training} | {' | '.join(cells)} |"
    yield from _differences(results)
    yield from _recall_table(results)
    yield ""
    yield _sentence(results)


def _sentence(results: Results) -> str:
    """The answer, as far as the arms on synthetic data are there."""
    parts = []
    for training, radii in COMPARED_AT.items():
        own, other = (results.get((k, "synthetic", training)) for k in ("contrastive", "classifier"))
        if own and other:
            gaps = [_gap(own, other, radius) for radius in radii]
            cells = [_shares(own, other, radius) for radius in radii]
            parts.append(f"{_verdict(gaps)} with {training} training ({'; '.join(cells)})")
    if not parts:
        return "No answer yet: the arms on synthetic data are missing."
    answer = "Yes, in part" if any("more robust" in each for each in parts) else "No"
    return (
        f"{answer}: trained on synthetic data and attacked on real scenes, the contrastive model, "
        f"held against the classifier of the same trunk, is {', and '.join(parts)}."
    )


def _shares(own: Sequence[Result], other: Sequence[Result], radius: int) -> str:
    shares = [100 * _accuracy(runs, radius).value for runs in (own, other)]
    kept = "{:.1f} % against {:.1f} %".format(*shares)
    return f"{kept} at {_radius(radius)}, {_signed(_gap(own, other, radius))} points"


def _verdict(gaps: Sequence[Interval]) -> str:
    if all(gap.low > 0 for gap in gaps):
        return "more robust"
    if all(gap.high < 0 for gap in gaps):
        return "less robust"
    if all(gap.low <= 0 <= gap.high for gap in gaps):
        return "as robust, within the intervals,"
    more = any(gap.low > 0 for gap in gaps)
    return f"{'more' if more else 'less'} robust at one radius alone"


def _differences(results: Results) -> Iterator[str]:
    rows = []
    for data, training in _pairs():
        first, second = (results.get((k, data, training)) for k in ("contrastive", "classifier"))
        if first and second:
            cells = [_signed(_gap(first, second, radius)) for radius in (0, *RADII)]
            rows.append(f"| {data} | {training} | {' | '.join(cells)} |")
    if rows:
        yield ""
        yield "Contrastive less classifier in points, with the interval of a paired bootstrap:"
        yield ""
        yield f"| learnt from | training | {' | '.join(map(_radius, (0, *RADII)))} |"
        yield "|---|---|" + "---|" * (1 + len(RADII))
        yield from rows


def _recall_table(results: Results) -> Iterator[str]:
    rows = [(name, runs) for name, runs in results.items() if name[0] == "contrastive"]
    if not rows:
        return
    radii = list(rows[0][1][0]["recall"])
    yield ""
    yield "R@1 / 5 / 10 of the contrastive models, image → text and text → image, under SGA:"
    yield ""
    yield f"| learnt from | training | {' | '.join(_radius(int(r)) for r in radii)} |"
    yield "|---|---|" + "---|" * len(radii)
    for (_, data, training), runs in rows:
        cells = ["; ".join(_ways([run["recall"][r] for run in runs])) for r in radii]
        yield f"| {data} | {training} | {' | '.join(cells)} |"


def _ways(runs: Sequence[Any]) -> Iterator[str]:
    """Both directions, each the mean over the seeds."""
    for way in range(2):
        cuts = range(len(runs[0][way]))
        means = [100 * sum(run[way][cut][0] for run in runs) / len(runs) for cut in cuts]
        yield " / ".join(f"{value:.1f}" for value in means)


def _standing(runs: Sequence[Result], radius: int) -> list[float]:
    """Of each image the share of the seeds whose model stands at a radius."""
    stands = [[each > radius for each in run["radii"]] for run in runs]
    return [sum(column) / len(runs) for column in zip(*stands, strict=True)]


def _accuracy(runs: Sequence[Result], radius: int) -> Interval:
    right = _standing(runs, radius)
    return wilson(sum(right), len(right))


def _gap(first: Sequence[Result], second: Sequence[Result], radius: int) -> Interval:
    return paired_difference(_standing(first, radius), _standing(second, radius))


def _pairs() -> Iterator[tuple[Data, Regime]]:
    yield from product(get_args(Data), get_args(Regime))


def _seeds(results: Results) -> str:
    counts = sorted({len(runs) for runs in results.values()})
    seeds = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    return f"{seeds} training{'s' if counts[-1] > 1 else ''} of each arm"


def _signed(interval: Interval) -> str:
    value, low, high = (100 * part for part in interval)
    return f"{value:+.1f} [{low:+.0f}, {high:+.0f}]"


def _radius(level: int) -> str:
    return radius_of(level / LEVELS)


if __name__ == "__main__":
    main(RSICDExperiment(), __doc__)
