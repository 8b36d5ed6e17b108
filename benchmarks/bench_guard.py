"""How many fresh clean scenes a guard rejects, beside what it promises.

Each guard is saved and loaded again, as it is deployed. The promise is kept in the mean over sets of calibration
images: with one set the share is a Beta variable, and the count among fresh images a Beta-binomial one, whose interval
of 95 % is beside it. Each world has scenes of its own, to calibrate on and fresh ones.
"""

from __future__ import annotations

import argparse
import tempfile
from math import ceil
from pathlib import Path
from typing import NamedTuple

from scipy.stats import betabinom

import secondlook as sl
from secondlook.data import load

ALPHAS = (0.01, 0.05, 0.10)
CASCADE = ("squeezing", "magnet", "multishield")
READ = 100
"""Images that are held at once."""


class Alarms(NamedTuple):
    """Rejected of ``n`` fresh clean images, and between what that was to lie."""

    scores: int
    rejected: int
    n: int
    low: int
    high: int


def alarms(alpha: float, world: int, calibrated: int, n: int) -> Alarms:
    """Of one guard."""
    clean = f"scenes:calibration?n={calibrated}&seed={world}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "guard.toml"
        sl.Guard("scenes:classifier", list(CASCADE), alpha=alpha, calibrate_on=clean, calibrate_samples=0).save(path)
        guard = sl.Guard.load(path)
    fresh, rejected = load(f"scenes:test?n={n}&seed={world}"), 0
    for start in range(0, n, READ):
        rows = range(start, min(start + READ, n))
        found = guard.check(fresh.read(rows, guard.guarded.size).images, [fresh.ids[row] for row in rows])
        rejected += sum(each.decision == "rejected" for each in found)
    scores = len(guard.policy.calibration.scores)
    rank = ceil(round((scores + 1) * (1 - alpha), 9))
    low, high = betabinom.interval(0.95, n, scores + 1 - rank, rank)
    return Alarms(scores, rejected, n, int(low), int(high))


def main() -> None:
    """Prints a line for each rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calibrated", type=int, default=1000, help="clean images for both halves of a calibration")
    parser.add_argument("--samples", type=int, default=1000, help="fresh clean images")
    parser.add_argument("--worlds", type=int, default=4, help="sets of calibration images and of fresh ones")
    given = parser.parse_args()
    for alpha in ALPHAS:
        shares = []
        for world in range(given.worlds):
            found = alarms(alpha, world, given.calibrated, given.samples)
            share, low, high = (100 * count / found.n for count in (found.rejected, found.low, found.high))
            inside = "inside" if found.low <= found.rejected <= found.high else "OUTSIDE"
            shares.append(share)
            print(
                f"alpha {100 * alpha:g} %, world {world}: {found.rejected} of {found.n} rejected, {share:.1f} %, "
                f"{inside} [{low:.1f}, {high:.1f}] ({found.scores} calibration scores)",
                flush=True,
            )
        print(
            f"alpha {100 * alpha:g} %: {sum(shares) / len(shares):.2f} % in the mean of {len(shares)} sets", flush=True
        )


if __name__ == "__main__":
    main()
