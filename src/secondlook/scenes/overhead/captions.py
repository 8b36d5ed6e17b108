"""Describes a site in five wordings like those of RSICD, each of them true."""

import re
from types import MappingProxyType
from typing import Final

import numpy as np

from secondlook.scenes.captions import Captions
from secondlook.scenes.overhead.world import KINDS, PHRASINGS, Kind, Site

PROMPT: Final = "an aerial photograph of {}"
"""Turns a class name into a sentence for zero-shot classification."""

ARTICLES: Final = MappingProxyType[Kind, str]({"airport": "an {}", "farmland": "{}", "storage tanks": "a group of {}"})
"""What stands before a kind; where it is not here, ``a``."""
WITHIN: Final = MappingProxyType[Kind, str](
    {"airport": "at", "beach": "at", "bridge": "at", "stadium": "at", "storage tanks": "among"}
)
"""How objects lie on a site; where it is not here, ``in``."""
COUNT_WORDS: Final = MappingProxyType({
    "one": ("one", "a single"),
    "two": ("two", "a pair of"),
    "three": ("three",),
    "many": ("many", "lots of"),
})  # fmt: skip
HEADING_WORDS: Final = MappingProxyType({
    "level": ("from left to right", "horizontally"),
    "upright": ("from top to bottom", "vertically"),
    "falling": ("from top left to bottom right",),
    "rising": ("from bottom left to top right",),
})  # fmt: skip
BESIDE_WORDS: Final = MappingProxyType({
    "trees": ("some trees", "a line of trees"),
    "road": ("a road", "a straight road"),
    "buildings": ("some buildings", "several buildings"),
    "nothing": ("nothing else", "open ground"),
})  # fmt: skip
GROUND_WORDS: Final = MappingProxyType({
    "green": ("green", "grassy"),
    "brown": ("brown", "earthy"),
    "yellow": ("yellow", "dry"),
    "grey": ("grey", "gray"),
})  # fmt: skip
AIR_WORDS: Final = MappingProxyType({"clear": ("clear", "bright"), "hazy": ("hazy", "misty")})
SEASON_WORDS: Final = MappingProxyType({
    "summer": ("in summer",),
    "winter": ("in winter", "under snow"),
})  # fmt: skip
TEMPLATES: Final = (
    "{counted} {are} {doing} {where} {within} {site}",
    "{site} on {ground} land lies next to {beside}",
    "it is {air} above {site} that runs {heading}",
    "{season} there {are} {counted} {within} {site} with {beside} beside it",
    "{counted} and {tinted} on {ground} ground, {season}, seen through {air} air",
)
"""One sentence for each caption."""


def captions(site: Site) -> Captions:
    """Describes a site five times; the same site always gets the same five sentences."""
    rng = np.random.default_rng([site.key, 1])
    first, second, third, fourth, fifth = (_write(site, text, rng) for text in TEMPLATES)
    return first, second, third, fourth, fifth


def class_names() -> tuple[str, ...]:
    """The twelve kinds in the order of ``Site.label``."""
    return KINDS


def prompts() -> tuple[str, ...]:
    """The sentence of each class."""
    return tuple(PROMPT.format(name) for name in KINDS)


def vocabulary() -> tuple[str, ...]:
    """All words that captions, prompts and class names are made of, sorted."""
    phrases = [*TEMPLATES, *prompts(), *KINDS, *ARTICLES.values(), "a is are in"]
    phrases += WITHIN.values()
    for phrasing in PHRASINGS.values():
        phrases += [*phrasing.noun, phrasing.doing, phrasing.where, phrasing.tinted, *phrasing.tints]
    for table in _TABLES:
        phrases += [phrase for wordings in table.values() for phrase in wordings]
    text = re.sub(r"{\w*}", " ", " ".join(phrases))
    return tuple(sorted(set(re.findall(r"[a-z]+", text))))


_TABLES: Final = (
    COUNT_WORDS, HEADING_WORDS, BESIDE_WORDS, GROUND_WORDS, AIR_WORDS, SEASON_WORDS,
)  # fmt: skip


def _write(site: Site, template: str, rng: np.random.Generator) -> str:
    plan, phrasing = site.plan, PHRASINGS[site.plan.kind]
    one = plan.number == "one"
    obj = phrasing.noun[0 if one else 1]
    return template.format(
        counted=f"{_pick(COUNT_WORDS[plan.number], rng)} {obj}",
        are="is" if one else "are",
        doing=phrasing.doing,
        where=phrasing.where.format(plan.tint),
        site=ARTICLES.get(plan.kind, "a {}").format(plan.kind),
        within=WITHIN.get(plan.kind, "in"),
        tinted=f"{plan.tint} {phrasing.tinted}",
        ground=_pick(GROUND_WORDS[plan.ground], rng),
        beside=_pick(BESIDE_WORDS[plan.beside], rng),
        heading=_pick(HEADING_WORDS[plan.heading], rng),
        season=_pick(SEASON_WORDS[plan.season], rng),
        air=_pick(AIR_WORDS[plan.air], rng),
    )


def _pick(wordings: tuple[str, ...], rng: np.random.Generator) -> str:
    return wordings[int(rng.integers(len(wordings)))]
