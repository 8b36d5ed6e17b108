"""What the arms of the RSICD question have measured, as Markdown, and the sentence that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final, get_args

from benchmarks.rsicd_arms import Data, Kind, Taught
from secondlook.statistics import Interval, paired_difference, wilson

ALL: Final = (0, 1, 2, 4, 8)
JUDGED_AT: Final[Mapping[Taught, tuple[int, ...]]] = {"standard": (1, 2), "hardened": (2, 4)}
"""The radii of the answer, in 255ths: those between where all stand and where all fall."""
Name = tuple[Kind, Data, Taught]
Results = Mapping[Name, Sequence[dict[str, Any]]]


def table(held: Sequence[dict[str, Any]]) -> Iterator[str]:
    """All tables, as far as their arms are there."""
    if not held:
        return
    results: dict[Name, list[dict[str, Any]]] = {}
    for each in held:
        arm = each["arm"]
        results.setdefault((arm["kind"], arm["data"], arm["taught"]), []).append(each)
    yield f"Accuracy in percent; n = {held[0]['n']} test images; {_seeds(results)}."
    yield ""
    yield f"| model | learnt from | training | {' | '.join(map(_radius, ALL))} |"
    yield "|---|---|---|" + "---|" * len(ALL)
    for (data, taught), kind in product(_pairs(), get_args(Kind)):
        if (kind, data, taught) in results:
            cells = [_share(_accuracy(results[kind, data, taught], r)) for r in ALL]
            yield f"| {kind} | {data} | {taught} | {' | '.join(cells)} |"
    yield from _differences(results)
    yield from _recalls(results)
    yield ""
    yield sentence(results)


def sentence(results: Results) -> str:
    """The answer, as far as the arms on synthetic data are there."""
    told = []
    for taught, radii in JUDGED_AT.items():
        own, other = (results.get((k, "synthetic", taught)) for k in ("contrastive", "classifier"))
        if own and other:
            gaps = [_gap(own, other, radius) for radius in radii]
            cells = [_told(own, other, radius) for radius in radii]
            told.append(f"{_verdict(gaps)} with {taught} training ({'; '.join(cells)})")
    if not told:
        return "No answer yet: the arms on synthetic data are missing."
    answer = "Yes, in part" if any("more robust" in each for each in told) else "No"
    return (
        f"{answer}: trained on synthetic data and attacked on real scenes, the contrastive model, "
        f"held against the classifier of the same trunk, is {', and '.join(told)}."
    )


def _told(own: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], radius: int) -> str:
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
    for data, taught in _pairs():
        first, second = (results.get((k, data, taught)) for k in ("contrastive", "classifier"))
        if first and second:
            cells = [_signed(_gap(first, second, radius)) for radius in ALL]
            rows.append(f"| {data} | {taught} | {' | '.join(cells)} |")
    if rows:
        yield ""
        yield "Contrastive less classifier in points, with the interval of a paired bootstrap:"
        yield ""
        yield f"| learnt from | training | {' | '.join(map(_radius, ALL))} |"
        yield "|---|---|" + "---|" * len(ALL)
        yield from rows


def _recalls(results: Results) -> Iterator[str]:
    rows = [(name, runs) for name, runs in results.items() if name[0] == "contrastive"]
    if not rows:
        return
    radii = list(rows[0][1][0]["recall"])
    yield ""
    yield "R@1 / 5 / 10 of the contrastive models, image → text and text → image, under SGA:"
    yield ""
    yield f"| learnt from | training | {' | '.join(_radius(int(r)) for r in radii)} |"
    yield "|---|---|" + "---|" * len(radii)
    for (_, data, taught), runs in rows:
        cells = ["; ".join(_ways([run["recall"][r] for run in runs])) for r in radii]
        yield f"| {data} | {taught} | {' | '.join(cells)} |"


def _ways(runs: Sequence[Any]) -> Iterator[str]:
    """Both directions, each the mean over the seeds."""
    for way in range(2):
        cuts = range(len(runs[0][way]))
        means = [100 * sum(run[way][cut][0] for run in runs) / len(runs) for cut in cuts]
        yield " / ".join(f"{value:.1f}" for value in means)


def _right(runs: Sequence[dict[str, Any]], radius: int) -> list[float]:
    """Of each image the share of the seeds whose model stands at a radius."""
    stands = [[each > radius for each in run["radii"]] for run in runs]
    return [sum(column) / len(runs) for column in zip(*stands, strict=True)]


def _accuracy(runs: Sequence[dict[str, Any]], radius: int) -> Interval:
    right = _right(runs, radius)
    return wilson(sum(right), len(right))


def _gap(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], radius: int
) -> Interval:
    return paired_difference(_right(first, radius), _right(second, radius))


def _pairs() -> Iterator[tuple[Data, Taught]]:
    yield from product(get_args(Data), get_args(Taught))


def _seeds(results: Results) -> str:
    counts = sorted({len(runs) for runs in results.values()})
    told = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    return f"{told} training{'s' if counts[-1] > 1 else ''} of each arm"


def _radius(radius: int) -> str:
    return f"{radius}/255" if radius else "clean"


def _share(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _signed(interval: Interval) -> str:
    value, low, high = (100 * part for part in interval)
    return f"{value:+.1f} [{low:+.0f}, {high:+.0f}]"
