"""What FAB-T costs over a bare replay of its forwards and input gradients, in one process."""

from __future__ import annotations

import argparse

import torch

from benchmarks.replay import race, report
from secondlook.attacks.fab import FAB
from secondlook.threat import Threat

TARGET = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="steps of a run (%(default)s)")
    parser.add_argument("--targets", type=int, default=9, help="classes (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images at once (%(default)s)")
    parser.add_argument("--norm", default="linf", help="linf or l2 (%(default)s)")
    parser.add_argument("--eps", default="1/255", help="radius (%(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    threat = Threat.parse(options.norm, options.eps)
    race(FAB(steps=2, targets=1), threat, options.batch)  # warm-up
    result = race(FAB(steps=options.steps, targets=options.targets), threat, options.batch)
    report(f"fab, {options.steps} steps, {options.targets} targets, {threat}", result, TARGET)


if __name__ == "__main__":
    main()
