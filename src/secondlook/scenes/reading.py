"""Reads a sentence about a scene back into what it claims, whoever has written it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from secondlook.metrics.ngrams import words
from secondlook.scenes.captions import MANNERS, PLACE_PHRASES, RELATION_PHRASES, SYNONYMS
from secondlook.scenes.shapes import SHAPES
from secondlook.scenes.world import COLOURS, GROUNDS, PATTERNS, SIZES, TEXTURES


class Claim(NamedTuple):
    """One thing that a sentence says: ``("size", "small")``.

    Of a thing beside the main one, ``relation`` says where it lies from the main one, and
    ``inverse`` where the main one lies from it.
    """

    attribute: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a sentence says.

    Attributes:
        things: the claims about each thing that is named, the first of them the main one.
        scene: the claims about the scene: ``ground``, ``pattern``, and ``alone`` where the main
            thing is said to be the only one.
    """

    things: tuple[tuple[Claim, ...], ...]
    scene: tuple[Claim, ...]


def read(text: str) -> Reading:
    """What a sentence says; words that say nothing of a scene are passed over.

    Example:
        >>> reading = read("a huge red hoop on the left and a blue star above it, on a plain navy")
        >>> [dict(claims) for claims in reading.things]  # doctest: +NORMALIZE_WHITESPACE
        [{'size': 'large', 'colour': 'red', 'shape': 'ring', 'place': 'left'},
         {'colour': 'blue', 'shape': 'star', 'relation': 'above'}]
        >>> dict(reading.scene)
        {'pattern': 'plain', 'ground': 'navy'}
    """
    marks, scene = _without_ground(list(_marks(words(text))))
    reader = _Reader()
    for mark, following in pairwise([*marks, Claim("end", "")]):
        reader.take(mark, following.attribute == "it")
    reader.flush()
    alone = [Claim("alone", "yes")] if Claim("alone", "yes") in marks else []
    return Reading(things=tuple(map(tuple, reader.things)), scene=(*scene, *alone))


@dataclass
class _Reader:
    """The sentence so far; ``loose`` are adjectives whose thing is still to come, or is past."""

    things: list[list[Claim]] = field(default_factory=list)
    loose: list[Claim] = field(default_factory=list)
    about: int = -1

    def take(self, mark: Claim, before_it: bool) -> None:
        """Takes the next mark; ``before_it`` says that the word "it" comes next."""
        match mark.attribute:
            case "shape":
                self.things.append([*self.loose, mark])
                self.loose, self.about = [], -1
            case "cover":
                self.loose.append(Claim("texture", mark.value))
            case "colour" | "size" | "texture":
                self.loose.append(mark)
            case "relation" if not before_it and self.things:
                self.flush()
                self.loose.append(Claim("inverse", mark.value))
            case "place" | "relation":
                self.flush()
                self._say(mark)
            case "it is":
                self.flush()
                self.about = 0

    def flush(self) -> None:
        """Gives the loose adjectives to the thing that was spoken of last."""
        for claim in self.loose:
            self._say(claim)
        self.loose = []

    def _say(self, claim: Claim) -> None:
        if self.things:
            self.things[self.about].append(claim)


def _phrases() -> dict[tuple[str, ...], Claim]:
    """Every phrase that says something, and what it says."""
    found = {("it",): Claim("it", ""), ("it", "is"): Claim("it is", "")}
    kinds = {
        "colour": COLOURS, "ground": GROUNDS, "shape": SHAPES, "size": SIZES,
        "texture": TEXTURES, "pattern": PATTERNS,
    }  # fmt: skip
    for kind, names in kinds.items():
        for name in names:
            spoken = "cover" if name in TEXTURES and name in PATTERNS else kind
            found |= {(word,): Claim(spoken, name) for word in SYNONYMS.get(name, (name,))}
    for place, phrases in PLACE_PHRASES.items():
        found |= {words(phrase): Claim("place", place) for phrase in phrases}
    for relation, ways in RELATION_PHRASES.items():
        found |= {words(phrase): Claim("relation", relation) for phrase in ways}
    return found | {words(manner.lone): Claim("alone", "yes") for manner in MANNERS.values()}


_PHRASES: Final = _phrases()
_LONGEST: Final = max(map(len, _PHRASES))


def _marks(spoken: Sequence[str]) -> Iterator[Claim]:
    """The phrases of a sentence, the longest first where one begins like another."""
    at = 0
    while at < len(spoken):
        sizes = range(_LONGEST, 0, -1)
        size = next((s for s in sizes if tuple(spoken[at : at + s]) in _PHRASES), 0)
        if size:
            yield _PHRASES[tuple(spoken[at : at + size])]
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
