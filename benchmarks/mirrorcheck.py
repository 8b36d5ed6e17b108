"""MirrorCheck and its rivals against attacks on a captioner: ``python -m benchmarks.mirrorcheck``.

Thresholds come from ``scenes:calibration``; false alarms are counted on as many other clean images.
An attack that did not change what is said cannot be told by what is said: every figure is given
for all attacked images, and for those whose caption no longer names the main thing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.mirror_attacks import WAYS, Attacker, hardest
from benchmarks.mirror_tables import Shown, false_alarms, joined, table, told
from secondlook.data import load as open_data
from secondlook.defenses.calibration import clean_scores, conformal_threshold
from secondlook.defenses.consistency import Consistency, Reconstruction, views
from secondlook.defenses.detector import Detector
from secondlook.defenses.mirrorcheck import EYES, PAINTER, mirror
from secondlook.defenses.watched import Watched
from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.scenes.captioner import SceneCaptioner
from secondlook.statistics import mean, wilson
from secondlook.tasks.captioning import CaptionBatch, CaptioningTask, OpenCaptioning
from secondlook.threat import Threat

SAID: dict[str, Any] = {"length": 40}


class Bench:
    """A captioner, its detectors with their thresholds, and the images of a task."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.captioner: SceneCaptioner = load(options.captioner)
        self.task: OpenCaptioning = CaptioningTask(samples=options.attacked).open()
        self.detectors = detectors(options)
        self.threshold: dict[str, float] = {}
        self.calibrated: dict[str, Tensor] = {}

    def guard(self, name: str) -> Watched:
        return Watched(
            captioner=self.captioner, detector=self.detectors[name], said=SAID,
            threshold=self.threshold.get(name, float("inf")),
        )  # fmt: skip

    def scored(self, images: Tensor, keys: Keys, captions: list[str]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {
                name: self.guard(name).suspicion(images, keys, captions) for name in self.detectors
            }

    def clean(self, split: str, samples: int) -> dict[str, Tensor]:
        """Suspicions of clean images, with one caption each for all detectors."""

        def score(x: Tensor, keys: Keys) -> Tensor:
            found = self.scored(x, keys, self.captioner.caption(x, keys.fold("caption"), **SAID))
            return torch.stack([found[name] for name in self.detectors], 1)

        whole = clean_scores(open_data(split), score, self.captioner.size, samples)
        return {name: whole[:, column] for column, name in enumerate(self.detectors)}

    def calibrate(self, samples: int) -> None:
        self.calibrated = self.clean("scenes:calibration", samples)
        self.threshold = {
            name: conformal_threshold(scores, 0.05) for name, scores in self.calibrated.items()
        }

    def batches(self) -> Iterator[CaptionBatch]:
        positions = range(len(self.task.rows))
        for start in positions[:: self.options.batch]:
            yield self.task.batch(positions[start : start + self.options.batch], (64, 64))

    def shown(self, batch: CaptionBatch, images: Tensor) -> Shown:
        keys = batch.keys.fold("judge")
        said = self.captioner.caption(images, keys.fold("caption"), **SAID)
        told = self.task.judged(batch, said)
        return Shown(
            images, said, torch.tensor([each.right for each in told]),
            torch.tensor([each.said for each in told]), self.scored(images, keys, said),
        )  # fmt: skip


def detectors(options: argparse.Namespace) -> dict[str, Detector]:
    eyes, first = options.encoders, (load(options.encoders.split(",")[0]),)
    compared = {
        "squeezing": "bits:5,median:2", "jpeg": "jpeg:75", "blur": "blur:1", "affine": "affine:5",
        "magnet, vectors": "scenes:ae", "puvae": "scenes:vae",
    }  # fmt: skip
    made: dict[str, Detector] = {
        f"mirrorcheck, {len(eyes.split(','))} encoders": mirror(
            encoders=eyes, painters=options.painter
        ),
        "mirrorcheck, 1 encoder": mirror(encoders=first, painters=options.painter),
        "mirrorcheck, stochastic": mirror(
            encoders=eyes, painters=options.painters, choose=options.choose, sigma=options.sigma
        ),
    }
    made |= {name: Consistency(eyes=first, views=views(given)) for name, given in compared.items()}
    made["magnet, error"] = Reconstruction(autoencoder=load("scenes:ae"))
    return made


def report(bench: Bench, fresh: Mapping[str, Tensor], name: str, found: Shown, took: float) -> None:
    reader, n = load(bench.options.surrogate), len(found.right)
    wanted = [text for _, text in bench.task.targets]
    near = (reader.embed_text(found.captions) * reader.embed_text(wanted)).sum(1)
    right, reached = (wilson(int(each.sum()), n) for each in (found.right, found.wanted))
    print(
        f"\n{name}: n = {n}, {took:.0f} s; the main thing is told right of {told(right)}, "
        f"the target's of {told(reached)}; text score {told(mean(near.tolist()))}\n"
    )
    table(bench.threshold, fresh, found, torch.ones(n, dtype=torch.bool))
    fooled = ~found.right
    if 0 < int(fooled.sum()) < n:
        print(f"\n{name}, the {int(fooled.sum())} whose main thing is told wrong\n")
        table(bench.threshold, fresh, found, fooled)


def adaptive(
    bench: Bench, attacker: Attacker, name: str, weights: list[float], draws: int, way: str
) -> None:
    """TPR of a detector against who knows it; the worst of all weights for each image."""
    guard = bench.guard(name)
    rows: dict[str, list[Shown]] = {f"λ = {weight:g}": [] for weight in weights}
    rows["worst per image"] = []
    for batch in bench.batches():
        made = [attacker.adaptive(batch, guard, weight, draws, way) for weight in weights]
        seen = [bench.shown(batch, images) for images in made]
        for label, each in zip(rows, seen, strict=False):
            rows[label].append(each)
        last = hardest(made, [~each.right for each in seen], [each.scores[name] for each in seen])
        rows["worst per image"].append(bench.shown(batch, last))
    print(f"\nadaptive ({way}) against {name}, {draws} draw(s): TPR at α = 5 %, of all, of those "
          "whose main thing is told wrong, and share told wrong and accepted\n")  # fmt: skip
    print(
        "| weight | all | told wrong | told wrong and accepted | the target's told and accepted |"
    )
    print("|---|---|---|---|---|")
    for label, parts in rows.items():
        found = joined(parts)
        caught, wrong = found.scores[name] > guard.threshold, ~found.right
        cells = [
            wilson(int(caught.sum()), len(caught)),
            wilson(int((caught & wrong).sum()), int(wrong.sum())),
            wilson(int((~caught & wrong).sum()), len(caught)),
            wilson(int((~caught & found.wanted).sum()), len(caught)),
        ]
        print(f"| {label} | {' | '.join(map(told, cells))} |", flush=True)


def cost(bench: Bench, batch: CaptionBatch) -> None:
    """Milliseconds an image of each detector, with captions at hand; paintings made anew."""
    print(f"\nmilliseconds an image, {len(batch.ids)} at once, without the captioner's own\n")
    said = bench.captioner.caption(batch.images, batch.keys, **SAID)
    for name, detector in detectors(bench.options).items():
        start = time.perf_counter()
        with torch.no_grad():
            detector.suspicion(batch.images, batch.keys, said)
        print(f"- {name}: {1000 * (time.perf_counter() - start) / len(said):.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captioner", default="scenes:captioner", help="victim (%(default)s)")
    parser.add_argument("--encoders", default=EYES, help="of the detector (%(default)s)")
    parser.add_argument("--painter", default=PAINTER, help="of the detector (%(default)s)")
    parser.add_argument("--painters", default=PAINTER,
                        help="of the stochastic detector (%(default)s)")  # fmt: skip
    parser.add_argument("--choose", type=int, default=2, help="of its encoders (%(default)s)")
    parser.add_argument("--sigma", type=float, default=0.0, help="of its noise (%(default)s)")
    parser.add_argument("--surrogate", default="scenes:clip-vit", help="attacker's (%(default)s)")
    parser.add_argument("--attacked", type=int, default=100, help="images (%(default)s)")
    parser.add_argument("--clean", type=int, default=1000, help="fresh, and to calibrate by")
    parser.add_argument("--batch", type=int, default=50, help="images at once (%(default)s)")
    parser.add_argument("--eps", default="8/255", help="L∞ radius in pixel units (%(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="of a transfer (%(default)s)")
    parser.add_argument("--queries", type=int, default=100, help="in a step of MF-tt (%(default)s)")
    parser.add_argument("--white", type=int, default=100, help="steps of the white box")
    parser.add_argument("--weights", default="0.3,1,3,10,30", help="λ of the adaptive attack")
    parser.add_argument("--ways", default="painted", help=f"of it: {'; '.join(WAYS)} (%(default)s)")
    parser.add_argument("--attacks", default="", help="some of them alone, with ; between")
    options = parser.parse_args()

    torch.set_num_threads(1)
    bench = Bench(options)
    attacker = Attacker(
        captioner=bench.captioner, surrogate=load(options.surrogate), painter=load(options.painter),
        threat=Threat.parse("linf", options.eps), steps=options.steps, queries=options.queries,
        white=options.white,
    )  # fmt: skip
    bench.calibrate(options.clean)
    fresh = bench.clean("scenes:test", options.clean)
    print(f"{options.captioner}, {options.encoders}, {options.painter}, {attacker.threat}")
    false_alarms(bench.calibrated, fresh)
    chosen = options.attacks.split(";") if options.attacks else list(attacker.makers())
    for name, make in attacker.makers().items():
        if name in chosen:
            start = time.perf_counter()
            made = [(batch, make(batch)) for batch in bench.batches()]
            took = time.perf_counter() - start
            report(bench, fresh, name, joined([bench.shown(*each) for each in made]), took)
    weights = [float(weight) for weight in options.weights.split(",") if weight]
    for name in [name for name in bench.detectors if weights and "mirror" in name]:
        draws = 2 if bench.detectors[name].stochastic else 1
        for way in options.ways.split(";"):
            adaptive(bench, attacker, name, weights, draws, way)
    cost(bench, next(bench.batches()))


if __name__ == "__main__":
    main()
