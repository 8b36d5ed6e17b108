"""Overhead sites: their attributes, and how they are drawn from a seed."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from secondlook.errors import InvalidInput, UnknownName
from secondlook.scenes.sampling import SHARES, SPLITS, Share, Split
from secondlook.scenes.world import RGB

Kind = Literal[
    "airport", "beach", "bridge", "farmland", "forest", "harbour",
    "parking lot", "railway station", "residential area", "river", "stadium", "storage tanks",
]  # fmt: skip
Ground = Literal["green", "brown", "yellow", "grey"]
Count = Literal["one", "two", "three", "many"]
Heading = Literal["level", "upright", "rising", "falling"]
Beside = Literal["trees", "road", "buildings", "nothing"]
Air = Literal["clear", "hazy"]
Season = Literal["summer", "winter"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
GROUNDS: Final[tuple[Ground, ...]] = get_args(Ground)
COUNTS: Final[tuple[Count, ...]] = get_args(Count)
HEADINGS: Final[tuple[Heading, ...]] = get_args(Heading)
BESIDES: Final[tuple[Beside, ...]] = get_args(Beside)
AIRS: Final[tuple[Air, ...]] = get_args(Air)
SEASONS: Final[tuple[Season, ...]] = get_args(Season)

GROUND_RGB: Final = MappingProxyType[Ground, RGB]({
    "green": RGB(0.32, 0.47, 0.24),
    "brown": RGB(0.47, 0.36, 0.26),
    "yellow": RGB(0.66, 0.59, 0.35),
    "grey": RGB(0.52, 0.52, 0.50),
})  # fmt: skip
DEGREES: Final = MappingProxyType[Heading, float]({"level": 0.0, "falling": 45.0, "upright": 90.0, "rising": 135.0})
"""Which way a site runs, clockwise on the screen."""

_WATER: Final = {
    "blue": RGB(0.16, 0.36, 0.62), "green": RGB(0.15, 0.42, 0.38), "dark": RGB(0.09, 0.15, 0.22),
}  # fmt: skip
_ROADWAY: Final = {
    "dark": RGB(0.20, 0.20, 0.22), "pale": RGB(0.68, 0.67, 0.63), "red": RGB(0.52, 0.30, 0.26),
}  # fmt: skip
_PAINT: Final = {
    "red": RGB(0.70, 0.22, 0.18), "white": RGB(0.90, 0.90, 0.88), "blue": RGB(0.22, 0.36, 0.70),
}  # fmt: skip
_CROP: Final = {
    "golden": RGB(0.80, 0.66, 0.26), "dark": RGB(0.18, 0.30, 0.15), "purple": RGB(0.45, 0.32, 0.52),
}  # fmt: skip
_LEAF: Final = {
    "dark": RGB(0.12, 0.25, 0.13), "bright": RGB(0.30, 0.58, 0.22), "red": RGB(0.56, 0.28, 0.14),
}  # fmt: skip


class Phrasing(NamedTuple):
    """The words for a kind of site.

    Attributes:
        noun: one of what is counted there, with its plural.
        doing: what those do; the sentence goes on with ``where``.
        where: where they do it, with a gap for the tint.
        tinted: what has the tint.
        tints: the tints that it may have.
    """

    noun: tuple[str, str]
    doing: str
    where: str
    tinted: str
    tints: MappingProxyType[str, RGB]


def _phrasing(one: str, more: str, doing: str, where: str, tinted: str, tints: dict[str, RGB]) -> Phrasing:
    return Phrasing((one, more), doing, where, tinted, MappingProxyType(tints))


PHRASINGS: Final = MappingProxyType[Kind, Phrasing]({
    "airport": _phrasing("plane", "planes", "parked", "near a long {} runway", "runway", _ROADWAY),
    "beach": _phrasing("boat", "boats", "sailing", "off the sand on the {} sea", "sea", _WATER),
    "bridge": _phrasing("boat", "boats", "passing", "below a deck over {} water", "water", _WATER),
    "farmland": _phrasing("field", "fields", "lying", "side by side with {} crops", "crops", _CROP),
    "forest": _phrasing("clearing", "clearings", "lying", "between {} trees", "trees", _LEAF),
    "harbour": _phrasing("ship", "ships", "moored", "at the piers in {} water", "water", _WATER),
    "parking lot": _phrasing("row of cars", "rows of cars", "standing", "on {} asphalt",
                           "asphalt", _ROADWAY),
    "railway station": _phrasing("train", "trains", "waiting", "beside {} platforms",
                               "platforms", _ROADWAY),
    "residential area": _phrasing("row of houses", "rows of houses", "built", "with {} roofs",
                                "roofs", _PAINT),
    "river": _phrasing("island", "islands", "lying", "in a winding {} stream", "stream", _WATER),
    "stadium": _phrasing("court", "courts", "lying", "beside an oval with {} seats",
                       "seats", _PAINT),
    "storage tanks": _phrasing("tank", "tanks", "standing", "with {} lids", "lids", _PAINT),
})  # fmt: skip
"""How each kind of site is described."""


class Plan(NamedTuple):
    """The attributes of a site; they decide its split."""

    kind: Kind
    ground: Ground
    tint: str
    number: Count
    heading: Heading
    beside: Beside
    air: Air
    season: Season


@dataclass(frozen=True, kw_only=True)
class Site:
    """A piece of land from above.

    Attributes:
        plan: its words.
        key: the number from which all that has no word is drawn: places, jitter, noise.
    """

    plan: Plan
    key: int

    @property
    def label(self) -> int:
        """Its class, in [0, 12): the kind."""
        return KINDS.index(self.plan.kind)


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
            kind, _pick(rng, GROUNDS), _pick(rng, tuple(PHRASINGS[kind].tints)), _pick(rng, COUNTS),
            _pick(rng, HEADINGS), _pick(rng, BESIDES), _pick(rng, AIRS), _pick(rng, SEASONS),
        )  # fmt: skip


def _pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(rng.integers(len(options)))]
