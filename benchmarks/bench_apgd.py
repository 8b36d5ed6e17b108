"""What APGD costs over a bare replay of its forwards and input gradients, in one process."""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch

from benchmarks.replay import race, report
from secondlook.attacks.apgd import APGD
from secondlook.threat import Threat, fraction

ATTACKS = {"apgd-ce": (APGD(), 1.08), "apgd-t": (APGD(targets=9), 1.10)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of a run (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images at once (%(default)s)")
    parser.add_argument("--eps", type=fraction, default=2 / 255, help="L∞ radius (2/255)")
    parser.add_argument("--only", choices=ATTACKS, help="one of the attacks (both)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    threat = Threat(eps=options.eps)
    race(APGD(steps=3), threat, options.batch)  # warm-up
    for name in [options.only] if options.only else ATTACKS:
        attack, target = ATTACKS[name]
        report(name, race(replace(attack, steps=options.steps), threat, options.batch), target)


if __name__ == "__main__":
    main()
