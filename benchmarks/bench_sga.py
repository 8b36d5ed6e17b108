"""What SGA costs over a bare replay of its passes: both encoders and the language model."""

from __future__ import annotations

import argparse
import statistics

import torch

from benchmarks.beside import Race, race, scenes
from secondlook.attacks.joint.sga import SGA
from secondlook.models import load
from secondlook.threat import Threat

TARGET = 1.10


def run(images: int, steps: int) -> Race:
    """One attack on images with five captions each, with the replay beside it."""
    model = load("scenes:mlm")
    attack = SGA(mlm=model, steps=steps)
    return race(attack, load("scenes:clip"), model, scenes(images), Threat(eps=2 / 255))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="at once (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="steps of a search (%(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="races (%(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    run(2, 1)  # warm-up
    results = [run(options.images, options.steps) for _ in range(options.repeats)]
    ratio = statistics.median(result.seconds / result.bare.seconds for result in results)
    rate = options.images / statistics.median(result.seconds for result in results)
    bare = results[0].bare
    passes = (bare.forwards / options.images, bare.backwards / options.images)
    print(f"sga, {options.images} images with five captions each: {rate:.2f} images/s")
    print(f"{passes[0]:.0f} forwards and {passes[1]:.0f} backwards an image")
    print(f"over the bare passes: {ratio:.3f} of the wall")
    print(f"target at most {TARGET}: {'met' if ratio <= TARGET else 'missed'}")


if __name__ == "__main__":
    main()
