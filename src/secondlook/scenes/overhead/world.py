"""The words of the world from above, and what they build: a site of one of twelve kinds."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

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
DEGREES: Final = MappingProxyType[Heading, float](
    {"level": 0.0, "falling": 45.0, "upright": 90.0, "rising": 135.0}
)
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


class Manner(NamedTuple):
    """What is told of a kind of site.

    Attributes:
        thing: one of what is counted there, with its plural.
        doing: what those do; the sentence goes on with ``where``.
        where: where they do it, with a gap for the tint.
        tinted: what has the tint.
        tints: the tints that it may have.
    """

    thing: tuple[str, str]
    doing: str
    where: str
    tinted: str
    tints: MappingProxyType[str, RGB]


def _manner(
    one: str, more: str, doing: str, where: str, tinted: str, tints: dict[str, RGB]
) -> Manner:
    return Manner((one, more), doing, where, tinted, MappingProxyType(tints))


MANNERS: Final = MappingProxyType[Kind, Manner]({
    "airport": _manner("plane", "planes", "parked", "near a long {} runway", "runway", _ROADWAY),
    "beach": _manner("boat", "boats", "sailing", "off the sand on the {} sea", "sea", _WATER),
    "bridge": _manner("boat", "boats", "passing", "below a deck over {} water", "water", _WATER),
    "farmland": _manner("field", "fields", "lying", "side by side with {} crops", "crops", _CROP),
    "forest": _manner("clearing", "clearings", "lying", "between {} trees", "trees", _LEAF),
    "harbour": _manner("ship", "ships", "moored", "at the piers in {} water", "water", _WATER),
    "parking lot": _manner("row of cars", "rows of cars", "standing", "on {} asphalt",
                           "asphalt", _ROADWAY),
    "railway station": _manner("train", "trains", "waiting", "beside {} platforms",
                               "platforms", _ROADWAY),
    "residential area": _manner("row of houses", "rows of houses", "built", "with {} roofs",
                                "roofs", _PAINT),
    "river": _manner("island", "islands", "lying", "in a winding {} stream", "stream", _WATER),
    "stadium": _manner("court", "courts", "lying", "beside an oval with {} seats",
                       "seats", _PAINT),
    "storage tanks": _manner("tank", "tanks", "standing", "with {} lids", "lids", _PAINT),
})  # fmt: skip
"""How each kind of site is told."""


class Plan(NamedTuple):
    """What can be said of a site; the splits are split on it."""

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
