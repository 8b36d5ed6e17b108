"""What MirrorCheck costs over a bare replay of its model calls: caption, paint, and embed both.

The replay writes the captions once, paints the distinct ones once, and embeds images and paintings
once with each encoder. Once with paintings made anew each time, and once with those at hand.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from secondlook.data import load as open_data
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.mirrorcheck import ENCODERS, MirrorCheck
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.captioner import Captioner
from secondlook.models.painter import Painter, strokes
from secondlook.models.text.decoding import Decoding
from secondlook.randomness import Keys

TARGET = 1.10
LENGTH = 40


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Images, who captions them, and the detector that checks the captions.

    Attributes:
        captioner: who speaks.
        encoders: of the detector.
        painter: of the detector.
        images: ``[B, 3, H, W]``.
    """

    captioner: Captioner
    encoders: tuple[Embedder, ...]
    painter: Painter
    images: Tensor

    @property
    def keys(self) -> Keys:
        return Keys.of(0, range(len(self.images)))

    def guard(self) -> Guarded:
        """A detector that has painted nothing yet."""
        defense = MirrorCheck(encoders=self.encoders, painters=self.painter, false_rejection=0)
        return Guarded(self.captioner, defense, caption={"length": LENGTH})

    def anew(self) -> Pair:
        """A check with a detector of its own, and its replay."""
        guard = self.guard()
        return Pair(lambda: guard.decide(self.images, self.keys), lambda: self.replay(True))

    def at_hand(self) -> Pair:
        """A check whose paintings were made before, and its replay."""
        guard = self.guard()
        guard.decide(self.images, self.keys)
        return Pair(lambda: guard.decide(self.images, self.keys), lambda: self.replay(False))

    @torch.no_grad()
    def replay(self, paint: bool) -> None:
        """The same calls of the same models, and nothing else."""
        decoding = Decoding(length=LENGTH)
        said = self.captioner.write(self.images, self.keys, decoding, self.captioner.prompt)
        sides = [self.images]
        if paint:
            sides.append(painted(self.painter, list(dict.fromkeys(said))))
        for encoder in self.encoders:
            for side in sides:
                encoder.encode_image(side)


class Pair(NamedTuple):
    """A check and its replay."""

    check: Callable[[], object]
    replay: Callable[[], object]


class Took(NamedTuple):
    """Seconds on the wall, and on the processor alone."""

    wall: float
    processor: float


def painted(painter: Painter, texts: list[str]) -> Tensor:
    """A picture of each text."""
    keys = strokes(painter, texts, [0] * len(texts), 0)
    return painter.draw(texts, keys, painter.steps, painter.guidance)


def timed(act: Callable[[], object]) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    act()
    return Took(time.perf_counter() - wall, time.process_time() - processor)


def race(pair: Callable[[], Pair], repeats: int) -> tuple[list[Took], list[Took]]:
    """Checks and their replays side by side, now the one first and now the other."""
    checks: list[Took] = []
    replays: list[Took] = []
    for number in range(repeats + 1):
        check, replay = pair()
        ways = [(checks, check), (replays, replay)]
        for kept, act in ways[:: 1 if number % 2 else -1]:
            kept.append(timed(act))
    return checks[1:], replays[1:]


def ratio(checks: Sequence[float], replays: Sequence[float]) -> float:
    return statistics.median(check / bare for check, bare in zip(checks, replays, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--painters", default="scenes:painter,scenes:painter-grammar")
    parser.add_argument("--encoders", default=ENCODERS, help="of the detector (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="images at once (%(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="timed, after one (%(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    images = open_data("scenes:test").read(range(options.batch), (64, 64)).images
    captioner: Any = load("scenes:captioner")
    encoders: Any = tuple(load(name) for name in options.encoders.split(","))
    print(f"batch {options.batch}, {options.encoders}, median of {options.repeats}")
    for name in options.painters.split(","):
        painter: Any = load(name)
        course = Setup(captioner=captioner, encoders=encoders, painter=painter, images=images)
        for label, pair in {"made anew": course.anew, "at hand": course.at_hand}.items():
            checks, replays = race(pair, options.repeats)
            (wall, processor), bare = zip(*checks, strict=True), zip(*replays, strict=True)
            told = [ratio(*each) for each in zip((wall, processor), bare, strict=True)]
            print(f"{name}, paintings {label}: {1000 * statistics.median(wall) / options.batch:.1f} ms an image")
            print(f"over the bare calls: {told[0]:.3f} of the wall, {told[1]:.3f} of the processor")
            print(f"target at most {TARGET}: {'met' if told[0] <= TARGET else 'missed'}", flush=True)


if __name__ == "__main__":
    main()
