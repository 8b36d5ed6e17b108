"""What word substitution costs over a bare replay of its encoder and language model passes."""

from __future__ import annotations

import argparse
import statistics

import torch

from benchmarks.beside import Race, race, scenes
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.models import load
from secondlook.threat import Threat

TARGET = 1.25


def run(images: int, visit: str) -> Race:
    """One attack on images with five captions each, with the replay beside it."""
    model = load("scenes:mlm")
    attack = BERTAttack(mlm=model, visit=visit)  # type: ignore[arg-type]
    return race(attack, load("scenes:clip"), model, scenes(images), Threat())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--captions", type=int, default=1000, help="in all (%(default)s)")
    parser.add_argument("--visit", default="importance", help="importance or every (%(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="races (%(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    run(2, options.visit)  # warm-up
    results = [run(options.captions // 5, options.visit) for _ in range(options.repeats)]
    ratio = statistics.median(result.seconds / result.bare.seconds for result in results)
    rate = options.captions / statistics.median(result.seconds for result in results)
    passes = results[0].bare.forwards / options.captions
    print(f"words, {options.captions} captions: {rate:.1f} captions/s, {passes:.1f} passes each")
    print(f"over the bare passes: {ratio:.3f} of the wall")
    print(f"target at most {TARGET}: {'met' if ratio <= TARGET else 'missed'}")


if __name__ == "__main__":
    main()
