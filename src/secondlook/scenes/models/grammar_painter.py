"""A text-to-image model without weights: it parses a sentence and renders a scene that fits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from secondlook.ledger import tally
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from secondlook.scenes.parsing import parse
from secondlook.scenes.renderer import render
from secondlook.scenes.sampling import JITTER, Attributes, Plan, free_places, nominal_center, realize
from secondlook.scenes.shapes import SHAPES
from secondlook.scenes.world import COLORS, GROUNDS, PATTERNS, PLACES, SIDE, TEXTURES, Place, Scene, Size

_LARGE: Final[tuple[Size, ...]] = ("medium", "large")
_OPPOSITE: Final = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


class GrammarPainter(Painter):
    """Parses a text by the grammar of the world's captions and renders it.

    It has no weights and nothing to differentiate, and is as exact as the text. What the text
    leaves open is drawn; what is no part of the grammar is ignored. Steps and guidance change
    nothing.
    """

    size = (SIDE, SIDE)
    steps = 1
    guidance = 1.0
    movable = True

    def __init__(self, name: str) -> None:
        self.name = name

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        words = keys.fold("scene").words
        pictures = [
            render(scene_from_text(text, np.random.default_rng(int(word))))
            for text, word in zip(texts, words, strict=True)
        ]
        made = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        return tally(self.name, made if self.device is None else made.to(self.device))


def scene_from_text(text: str, rng: np.random.Generator) -> Scene:
    """A scene that a sentence is true of, as far as it can be parsed.

    The first object that is named is the main one. An object of which only the relation to the main
    one is claimed is put into a place that has it. Without any object the background is empty.
    """
    parsed = parse(text)
    background = dict(parsed.scene)
    words: list[Attributes] = []
    for claims in parsed.objects:
        words.append(_beside(dict(claims), words, rng) if words else _main(dict(claims), rng))
    ground = background.get("ground") or _pick(rng, GROUNDS)
    pattern = background.get("pattern") or _pick(rng, PATTERNS)
    return realize(rng, Plan(tuple(words), ground, pattern))  # type: ignore[arg-type]


def _main(claims: Mapping[str, str], rng: np.random.Generator) -> Attributes:
    place = claims.get("place") or _pick(rng, PLACES)
    return _attributes(claims, claims.get("size") or _pick(rng, _LARGE), place, rng)


def _beside(claims: Mapping[str, str], words: Sequence[Attributes], rng: np.random.Generator) -> Attributes:
    """An object beside the main one, the first of ``words``; where it can be, apart from them."""
    main, *rest = words
    place = claims.get("place")
    if place is None:
        free = [each for each in free_places(main.size, main.place) if each not in {w.place for w in rest}]
        wanted = claims.get("relation") or _OPPOSITE.get(claims.get("inverse", ""), "")
        fitting = [each for each in free if not wanted or _relation(each, main) == wanted]
        clear = [each for each in fitting if wanted and not _ambiguous(each, main)]
        place = _pick(rng, clear or fitting or free or PLACES)
    return _attributes(claims, claims.get("size") or "small", place, rng)


def _relation(place: Place, main: Attributes) -> str:
    """The relation of the place of a small object to the main one."""
    across, down = _offset(place, main)
    if abs(across) >= abs(down):
        return "right of" if across > 0 else "left of"
    return "below" if down > 0 else "above"


def _ambiguous(place: Place, main: Attributes) -> bool:
    """Whether jitter may turn one relation into another: the place lies on a diagonal."""
    across, down = _offset(place, main)
    return abs(abs(across) - abs(down)) < 4 * JITTER


def _offset(place: Place, main: Attributes) -> tuple[float, float]:
    (x, y), (main_x, main_y) = nominal_center("small", place), nominal_center(main.size, main.place)
    return x - main_x, y - main_y


def _attributes(claims: Mapping[str, str], size: str, place: str, rng: np.random.Generator) -> Attributes:
    options = {"color": COLORS, "shape": SHAPES, "texture": TEXTURES}
    words: dict[str, Any] = {name: _pick(rng, every) for name, every in options.items()}
    words |= {claim: value for claim, value in claims.items() if claim in options}
    return Attributes(**words, size=size, place=place)  # type: ignore[arg-type]


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]
