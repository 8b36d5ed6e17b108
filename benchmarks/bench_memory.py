"""The peak memory of a whole audit of many images against one of a few, each in its own process.

What grows with the number of samples shows here: records, keys, what is done, and the report. The
images are scenes; the model is a line, so that time goes into the audit and not into a network.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.audit.api import run_study
from secondlook.audit.study import parse
from secondlook.data.base import Family
from secondlook.ledger import peak_memory
from secondlook.models.logits import LogitClassifier
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.scenes.captions import class_names
from secondlook.scenes.source import SceneSource
from secondlook.scenes.world import SIDE

TARGET = 1.10


@register("data", "many-scenes")
@dataclass(frozen=True, kw_only=True)
class ManyScenes(Family):
    """``many-scenes:N``: the first N test scenes."""

    def load(self) -> SceneSource:
        return SceneSource("test", int(self.name), seed=0)

    @staticmethod
    def listed() -> dict[str, str]:
        return {}


def line() -> LogitClassifier:
    """A fixed linear function of the picture, seen small."""
    names = class_names()
    weights = Keys.of(0, names).normal((3 * 8 * 8,))

    def logits(x: Tensor) -> Tensor:
        return F.avg_pool2d(x - 0.5, SIDE // 8).flatten(1) @ weights.T

    return LogitClassifier("bench:line", logits, names, size=(SIDE, SIDE))


def audit(images: int, steps: int, batch: int, out: Path) -> None:
    """A small audit from its plan to its page; a second call goes on with a finished run."""
    table = {
        "name": "memory",
        "batch": batch,
        "models": ["python:benchmarks.bench_memory:line"],
        "task": {"name": "classification", "data": f"many-scenes:{images}", "samples": 0},
        "attack": {"name": "pgd", "steps": steps},
        "threat": {"eps": ["4/255", "8/255"]},
        "knowledge": ["clean", "adaptive"],
    }
    torch.set_num_threads(1)
    run_study(parse(table, "the benchmark"), out, device="cpu")


def taken() -> float:
    """The peak memory of this process, in MiB."""
    return peak_memory() / 2**20


def measured(images: int, options: argparse.Namespace, out: Path) -> tuple[float, float]:
    """Peak memory in MiB and seconds of one audit in a process of its own."""
    start = time.perf_counter()
    task = f"audit({images}, {options.steps}, {options.batch}, Path({str(out)!r}))"
    told = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.bench_memory import *; {task}; print(taken())"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(told.split()[-1]), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", type=int, default=100, help="images (%(default)s)")
    parser.add_argument("--many", type=int, default=10_000, help="images (%(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="steps of the attack (%(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="images at once (%(default)s)")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for images in (options.few, options.many):
            out = Path(folder) / str(images)
            for what in ("from the start", "taken up again"):
                peak, seconds = measured(images, options, out)
                peaks[images, what] = peak
                print(f"{images:6d} images, {what}: {peak:.0f} MiB, {seconds:.0f} s", flush=True)
    for what in ("from the start", "taken up again"):
        ratio = peaks[options.many, what] / peaks[options.few, what]
        print(f"{what}: {ratio:.3f} of the memory for {options.many / options.few:g} times as many")
        print(f"target at most {TARGET}: {'met' if ratio <= TARGET else 'missed'}")


if __name__ == "__main__":
    main()
