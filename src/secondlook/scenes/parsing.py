"""Parses a sentence about a scene into claims, and checks the claims against the scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from secondlook.metrics.ngrams import words
from secondlook.scenes.captions import PHRASINGS, PLACE_PHRASES, RELATION_PHRASES, SYNONYMS
from secondlook.scenes.shapes import SHAPES
from secondlook.scenes.world import COLORS, GROUNDS, PATTERNS, SIZES, TEXTURES, Scene, SceneObject, relation


class Claim(NamedTuple):
    """One claim of a sentence: ``("size", "small")``.

    Of an object beside the main one, ``relation`` says where it lies from the main one, and
    ``inverse`` where the main one lies from it.
    """

    attribute: str
    value: str


@dataclass(frozen=True, kw_only=True)
class ParsedCaption:
    """What a sentence claims.

    Attributes:
        objects: the claims about each object that is named, the first of them the main one.
        scene: the claims about the scene: ``ground``, ``pattern``, and ``alone`` where the main
            object is said to be the only one.
    """

    objects: tuple[tuple[Claim, ...], ...]
    scene: tuple[Claim, ...]


def parse(text: str) -> ParsedCaption:
    """What a sentence claims; words that are no part of the grammar are ignored.

    Example:
        >>> parsed = parse("a huge red hoop on the left and a blue star above it, on a plain navy")
        >>> [dict(claims) for claims in parsed.objects]  # doctest: +NORMALIZE_WHITESPACE
        [{'size': 'large', 'color': 'red', 'shape': 'ring', 'place': 'left'},
         {'color': 'blue', 'shape': 'star', 'relation': 'above'}]
        >>> dict(parsed.scene)
        {'pattern': 'plain', 'ground': 'navy'}
    """
    marks, scene = _without_ground(list(_marks(words(text))))
    parser = _Parser()
    for mark, following in pairwise([*marks, Claim("end", "")]):
        parser.take(mark, following.attribute == "it")
    parser.flush()
    alone = [Claim("alone", "yes")] if Claim("alone", "yes") in marks else []
    return ParsedCaption(objects=tuple(map(tuple, parser.objects)), scene=(*scene, *alone))


@dataclass
class _Parser:
    """The state of parsing; ``loose`` are adjectives not yet attached to an object."""

    objects: list[list[Claim]] = field(default_factory=list)
    loose: list[Claim] = field(default_factory=list)
    about: int = -1

    def take(self, mark: Claim, before_it: bool) -> None:
        """Takes the next mark; ``before_it``: whether the word "it" comes next."""
        match mark.attribute:
            case "shape":
                self.objects.append([*self.loose, mark])
                self.loose, self.about = [], -1
            case "cover":
                self.loose.append(Claim("texture", mark.value))
            case "color" | "size" | "texture":
                self.loose.append(mark)
            case "relation" if not before_it and self.objects:
                self.flush()
                self.loose.append(Claim("inverse", mark.value))
            case "place" | "relation":
                self.flush()
                self._attach(mark)
            case "it is":
                self.flush()
                self.about = 0

    def flush(self) -> None:
        """Attaches the loose adjectives to the last object."""
        for claim in self.loose:
            self._attach(claim)
        self.loose = []

    def _attach(self, claim: Claim) -> None:
        if self.objects:
            self.objects[self.about].append(claim)


def _phrases() -> dict[tuple[str, ...], Claim]:
    """Every phrase of the grammar, and its claim."""
    found = {("it",): Claim("it", ""), ("it", "is"): Claim("it is", "")}
    kinds = {
        "color": COLORS,
        "ground": GROUNDS,
        "shape": SHAPES,
        "size": SIZES,
        "texture": TEXTURES,
        "pattern": PATTERNS,
    }
    for kind, names in kinds.items():
        for name in names:
            tokens = "cover" if name in TEXTURES and name in PATTERNS else kind
            found |= {(word,): Claim(tokens, name) for word in SYNONYMS.get(name, (name,))}
    for place, phrases in PLACE_PHRASES.items():
        found |= {words(phrase): Claim("place", place) for phrase in phrases}
    for where, ways in RELATION_PHRASES.items():
        found |= {words(phrase): Claim("relation", where) for phrase in ways}
    return found | {words(manner.lone): Claim("alone", "yes") for manner in PHRASINGS.values()}


_PHRASES: Final = _phrases()
_LONGEST: Final = max(map(len, _PHRASES))


def _marks(tokens: Sequence[str]) -> Iterator[Claim]:
    """The phrases of a sentence, the longest first where one begins like another."""
    at = 0
    while at < len(tokens):
        sizes = range(_LONGEST, 0, -1)
        size = next((s for s in sizes if tuple(tokens[at : at + s]) in _PHRASES), 0)
        if size:
            yield _PHRASES[tuple(tokens[at : at + size])]
        at += size or 1


def _without_ground(marks: list[Claim]) -> tuple[list[Claim], list[Claim]]:
    """The marks without those of the background, and its claims."""
    left: list[Claim] = []
    scene: list[Claim] = []
    for mark in marks:
        if mark.attribute != "ground":
            left.append(mark)
            continue
        if left and left[-1].attribute in ("cover", "pattern"):
            scene.append(Claim("pattern", left.pop().value))
        scene.append(mark)
    return left, scene


class Truth(NamedTuple):
    """How many claims of a sentence are true of a scene.

    Attributes:
        main: whether it names color and shape of the main object, as the object it is about.
        claims: how many claims it makes.
        true: how many of them are true.
    """

    main: bool
    claims: int
    true: int

    @property
    def whole(self) -> bool:
        """Whether it makes claims and all of them are true; it need not describe everything."""
        return self.claims == self.true > 0


def verify(text: str, scene: Scene) -> Truth:
    """Checks the claims of a sentence against a scene.

    The object it names first is taken for the main one; the others it names for those others of
    the scene that make most of its claims true, each for one of its own.
    """
    parsed = parse(text)
    made = sum(map(len, parsed.objects)) + len(parsed.scene)
    true = sum(_of_scene(claim, scene) for claim in parsed.scene)
    if not parsed.objects:
        return Truth(False, made, true)
    first, *rest = parsed.objects
    claimed, main = dict(first), scene.main
    named = (claimed.get("color"), claimed.get("shape")) == (main.color, main.shape)
    return Truth(named, made, true + _true(first, main, main) + _matched(rest, scene))


def preserves(before: str, after: str, scene: Scene) -> bool:
    """Whether the second sentence is true of a scene and claims no less than the first."""
    truth = verify(after, scene)
    return truth.whole and truth.claims >= verify(before, scene).claims


def _of_scene(claim: Claim, scene: Scene) -> bool:
    if claim.attribute == "alone":
        return not scene.others
    ground = scene.background
    return claim.value == (ground.color if claim.attribute == "ground" else ground.pattern)


def _true(claims: Sequence[Claim], obj: SceneObject, main: SceneObject) -> int:
    """How many claims about an object are true."""
    facts = {
        "color": obj.color,
        "shape": obj.shape,
        "size": obj.size,
        "texture": obj.texture,
        "place": obj.place,
        "relation": relation(obj, main),
        "inverse": relation(main, obj),
    }
    return sum(facts[claim.attribute] == claim.value for claim in claims)


def _matched(named: Sequence[Sequence[Claim]], scene: Scene) -> int:
    """True claims under the best one-to-one match of named objects with those beside the main."""
    if not named or not scene.others:
        return 0
    table = np.array([[_true(claims, obj, scene.main) for obj in scene.others] for claims in named])
    return int(table[linear_sum_assignment(table, maximize=True)].sum())
