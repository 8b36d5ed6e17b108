"""What Square costs over a bare replay of its forwards, in one process."""

from __future__ import annotations

import argparse

import torch

from benchmarks.replay import race, report
from secondlook.attacks.square import Square
from secondlook.threat import Threat

TARGET = 1.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=5000, help="of a run (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images at once (%(default)s)")
    parser.add_argument("--norm", default="linf", help="linf or l2 (%(default)s)")
    parser.add_argument("--eps", default="1/255", help="radius (%(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    threat = Threat.parse(options.norm, options.eps)
    race(Square(queries=20), threat, options.batch)  # warm-up
    result = race(Square(queries=options.queries), threat, options.batch)
    report(f"square, {options.queries} queries, {threat}", result, TARGET)


if __name__ == "__main__":
    main()
