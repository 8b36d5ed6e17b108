"""Draws the site that belongs to a seed, a split and an index."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import numpy as np

from secondlook.errors import InvalidInput, UnknownName
from secondlook.scenes.overhead.world import (
    AIRS,
    BESIDES,
    COUNTS,
    GROUNDS,
    HEADINGS,
    KINDS,
    MANNERS,
    SEASONS,
    Plan,
    Site,
)
from secondlook.scenes.sampling import SHARES, SPLITS, Share, Split

_WORLD: Final = 0x0EAD
_TENTHS: Final = 10
_FIRST_HELD_OUT: Final = 8
_T = TypeVar("_T")


def share_of(plan: Plan) -> Share:
    """The one share to which a plan belongs: eight tenths train, one val, one test."""
    tenth = zlib.crc32(repr(tuple(plan)).encode()) % _TENTHS
    return SHARES[max(0, tenth - _FIRST_HELD_OUT + 1)]


def sample(seed: int, split: Split, index: int) -> Site:
    """Draws one site; the same three arguments always give the same site.

    The kind is drawn first, and then plans of that kind until one falls in the split's share: no
    plan is in two of train, val and test, and every kind is as frequent in each. Calibration
    draws from the share of test.

    Args:
        seed: names the world, at least 0.
        split: which part of the world.
        index: which site of the part, at least 0.

    Raises:
        UnknownName: there is no such split.
        InvalidInput: a number is negative.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    if min(seed, index) < 0:
        raise InvalidInput(f"seed={seed}, index={index} must both be 0 or more; count from 0")
    rng = np.random.default_rng([_WORLD, seed, SPLITS.index(split), index])
    share = "test" if split == "calibration" else split
    plan = next(plan for plan in _plans(rng) if share_of(plan) == share)
    return Site(plan=plan, key=int(rng.integers(2**62)))


def _plans(rng: np.random.Generator) -> Iterator[Plan]:
    kind = _pick(rng, KINDS)
    while True:
        yield Plan(
            kind, _pick(rng, GROUNDS), _pick(rng, tuple(MANNERS[kind].tints)), _pick(rng, COUNTS),
            _pick(rng, HEADINGS), _pick(rng, BESIDES), _pick(rng, AIRS), _pick(rng, SEASONS),
        )  # fmt: skip


def _pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(rng.integers(len(options)))]
