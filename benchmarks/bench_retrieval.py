"""What the ranks of large galleries cost: processor seconds and peak memory, in both directions.

The vectors are random, 512 wide; the whole matrix of cosines is never held, and what it would take
stands beside what was taken.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.ledger import peak_memory
from secondlook.metrics.ranks import ranks

WIDTH, CAPTIONS = 512, 5
SIZES = (1_000, 25_000)
LIMIT = 2.0
"""GiB for the whole process."""


def vectors(count: int, draw: torch.Generator) -> Tensor:
    """Random unit vectors, made in place."""
    made = torch.randn(count, WIDTH, generator=draw)
    return F.normalize(made, dim=1, out=made)


def searched(images: int) -> tuple[float, float, float]:
    """Seconds on the processor in both directions, and the share of what was found first."""
    draw = torch.Generator().manual_seed(0)
    seen, said = vectors(images, draw), vectors(images * CAPTIONS, draw)
    start = time.process_time()
    texts = ranks(seen, said, [range(CAPTIONS * n, CAPTIONS * (n + 1)) for n in range(images)])
    middle = time.process_time()
    ranks(said, seen, [(row // CAPTIONS,) for row in range(len(said))])
    return middle - start, time.process_time() - middle, float((texts == 1).float().mean())


def main() -> None:
    """Prints a line for each size, from small to large: the peak only rises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=SIZES)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{WIDTH} wide, {CAPTIONS} captions an image, {options.threads} thread(s)")
    print(
        f"{'images x captions':>18} {'image to text':>14} {'text to image':>14} "
        f"{'peak memory':>12} {'whole matrix':>13} {'R@1':>7}"
    )
    for images in sorted(options.images):
        there, back, first = searched(images)
        peak, whole = peak_memory() / 2**30, images**2 * CAPTIONS * 4 / 2**30
        verdict = "" if peak <= LIMIT else f"  above {LIMIT:g} GiB"
        print(
            f"{images:>8,} x {images * CAPTIONS:>7,} {there:>12.1f} s {back:>12.1f} s "
            f"{peak:>8.2f} GiB {whole:>9.2f} GiB {first:>7.2%}{verdict}"
        )


if __name__ == "__main__":
    main()
