"""Imagines a scene of which a sentence is true, and draws what the sentence leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from secondlook.scenes.reading import read
from secondlook.scenes.sampling import JITTER, Plan, Words, middle, realise, room
from secondlook.scenes.shapes import SHAPES
from secondlook.scenes.world import COLOURS, GROUNDS, PATTERNS, PLACES, TEXTURES, Place, Scene, Size

_LARGE: Final[tuple[Size, ...]] = ("medium", "large")
_OPPOSITE: Final = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above",
}  # fmt: skip


def imagined(text: str, rng: np.random.Generator) -> Scene:
    """A scene that a sentence is true of, as far as it can be read.

    The first thing that is named is the main one. A thing of which only the relation to the main
    one is told is put into a place that has it. A sentence that names no thing is a background.
    """
    reading = read(text)
    told = dict(reading.scene)
    words: list[Words] = []
    for claims in reading.things:
        words.append(_beside(dict(claims), words, rng) if words else _main(dict(claims), rng))
    ground = told.get("ground") or _pick(rng, GROUNDS)
    pattern = told.get("pattern") or _pick(rng, PATTERNS)
    return realise(rng, Plan(tuple(words), ground, pattern))  # type: ignore[arg-type]


def _main(told: Mapping[str, str], rng: np.random.Generator) -> Words:
    place = told.get("place") or _pick(rng, PLACES)
    return _worded(told, told.get("size") or _pick(rng, _LARGE), place, rng)


def _beside(told: Mapping[str, str], words: Sequence[Words], rng: np.random.Generator) -> Words:
    """A thing beside the main one, the first of ``words``; where it can be, apart from them."""
    main, *rest = words
    place = told.get("place")
    if place is None:
        free = [each for each in room(main.size, main.place) if each not in {w.place for w in rest}]
        wanted = told.get("relation") or _OPPOSITE.get(told.get("inverse", ""), "")
        fitting = [each for each in free if not wanted or _lies(each, main) == wanted]
        clear = [each for each in fitting if wanted and not _askew(each, main)]
        place = _pick(rng, clear or fitting or free or PLACES)
    return _worded(told, told.get("size") or "small", place, rng)


def _lies(place: Place, main: Words) -> str:
    """Where the place of a small thing lies as seen from the main one."""
    across, down = _away(place, main)
    if abs(across) >= abs(down):
        return "right of" if across > 0 else "left of"
    return "below" if down > 0 else "above"


def _askew(place: Place, main: Words) -> bool:
    """Whether jitter may turn one relation into another: the place lies on a diagonal."""
    across, down = _away(place, main)
    return abs(abs(across) - abs(down)) < 4 * JITTER


def _away(place: Place, main: Words) -> tuple[float, float]:
    (x, y), (main_x, main_y) = middle("small", place), middle(main.size, main.place)
    return x - main_x, y - main_y


def _worded(told: Mapping[str, str], size: str, place: str, rng: np.random.Generator) -> Words:
    options = {"colour": COLOURS, "shape": SHAPES, "texture": TEXTURES}
    words: dict[str, Any] = {name: _pick(rng, every) for name, every in options.items()}
    words |= {claim: value for claim, value in told.items() if claim in options}
    return Words(**words, size=size, place=place)  # type: ignore[arg-type]


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]
