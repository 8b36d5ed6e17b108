"""Describes a scene in five different wordings, each of them true."""

import re
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from secondlook.scenes.shapes import SHAPES
from secondlook.scenes.world import COLORS, GROUNDS, Place, Relation, Scene, SceneObject, relation

Captions = tuple[str, str, str, str, str]


class Phrasing(NamedTuple):
    """How the other objects of a scene are described.

    Attributes:
        other: Template for one of them.
        opening: What stands before the first.
        joint: What stands between two.
        lone: What stands where there are none.
    """

    other: str
    opening: str
    joint: str
    lone: str


PROMPT: Final = "a picture of a {}"
"""Turns a class name into a sentence for zero-shot classification."""
PROMPTS: Final = (PROMPT, "a {}", "there is a {}", "a large {}", "a medium {}")
"""Several such sentences, for a mean over prompts."""

SYNONYMS: Final = MappingProxyType({
    "circle": ("circle", "disc"),
    "square": ("square", "block"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "heart": ("heart",),
    "crescent": ("crescent", "moon"),
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "midsize"),
    "large": ("large", "big", "huge"),
    "solid": ("solid", "flat"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered", "chequered"),
    "plain": ("plain", "smooth"),
    "gradient": ("gradient", "fading"),
    "speckled": ("speckled", "grainy"),
    "cloudy": ("cloudy", "blotchy"),
    "background": ("background", "backdrop", "ground"),
})  # fmt: skip
"""The words for an attribute; the first is its name, and all the others mean the same."""

PLACE_PHRASES: Final = MappingProxyType[Place, tuple[str, ...]]({
    "top left": ("in the top left", "in the upper left corner"),
    "top": ("at the top", "in the upper middle"),
    "top right": ("in the top right", "in the upper right corner"),
    "left": ("on the left", "on the left side"),
    "centre": ("in the centre", "in the middle"),
    "right": ("on the right", "on the right side"),
    "bottom left": ("in the bottom left", "in the lower left corner"),
    "bottom": ("at the bottom", "in the lower middle"),
    "bottom right": ("in the bottom right", "in the lower right corner"),
})  # fmt: skip
RELATION_PHRASES: Final = MappingProxyType[Relation, tuple[str, ...]]({
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
})  # fmt: skip
TEMPLATES: Final = (
    "a {size} {texture} {color} {shape} {place} {related}, on a {ground}",
    "a {ground} with a {texture} {color} {shape} {place} {placed}",
    "there is a {size} {color} {shape} {inverted}; it is {texture} and {place}, on a {ground}",
    "a picture of a {size} {color} {shape} {place} {placed}, before a {ground}",
    "{color} {shape}, {size}, {texture}, {place}; {listed}; {ground}",
)
"""One sentence for each caption; the main object, the others in four phrasings, the background."""
PHRASINGS: Final = MappingProxyType({
    "related": Phrasing("a {size} {color} {shape} {relation} it", "with ", " and ", "by itself"),
    "inverted": Phrasing("{inverse} a {size} {color} {shape}", "", " and ", "alone"),
    "placed": Phrasing("a {color} {shape} {place}", "and ", " and ", "and nothing else"),
    "listed": Phrasing("{size} {color} {shape} {place}", "", ", ", "nothing else"),
})  # fmt: skip
"""How the objects beside the main one are described."""


def captions(scene: Scene) -> Captions:
    """Describe a scene five times; the same scene always gets the same five sentences.

    Args:
        scene: What to describe.

    Returns:
        Five sentences of at most 40 words, each in a wording of its own.
    """
    rng = np.random.default_rng([scene.key, 1])
    first, second, third, fourth, fifth = (_write(scene, text, rng) for text in TEMPLATES)
    return first, second, third, fourth, fifth


def short_caption(scene: Scene) -> str:
    """The shortest true description of the main object: its article, color and shape."""
    return f"a {scene.main.color} {scene.main.shape}"


def class_names() -> tuple[str, ...]:
    """The 64 names of the classes in the order of ``Scene.label``."""
    return tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)


def vocabulary() -> tuple[str, ...]:
    """All words that captions, prompts and class names are made of, sorted."""
    phrases = [*TEMPLATES, *PROMPTS, *class_names(), *GROUNDS]
    phrases += [part for phrasing in PHRASINGS.values() for part in phrasing]
    for table in (SYNONYMS, PLACE_PHRASES, RELATION_PHRASES):
        phrases += [phrase for wordings in table.values() for phrase in wordings]
    text = re.sub(r"{\w*}", " ", " ".join(phrases))
    return tuple(sorted(set(re.findall(r"[a-z]+", text))))


def _synonym(word: str, rng: np.random.Generator) -> str:
    return _pick(SYNONYMS.get(word, (word,)), rng)


def _pick(wordings: tuple[str, ...], rng: np.random.Generator) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def _write(scene: Scene, template: str, rng: np.random.Generator) -> str:
    ground = scene.background
    words = (ground.pattern, ground.color, "background")
    clauses = {name: _beside(scene, name, rng) for name in PHRASINGS if f"{{{name}}}" in template}
    backdrop = " ".join(_synonym(word, rng) for word in words)
    return template.format(ground=backdrop, **clauses, **_words(scene.main, rng))


def _words(obj: SceneObject, rng: np.random.Generator) -> dict[str, str]:
    return {
        "color": obj.color,
        "shape": _synonym(obj.shape, rng),
        "size": _synonym(obj.size, rng),
        "texture": _synonym(obj.texture, rng),
        "place": _pick(PLACE_PHRASES[obj.place], rng),
    }


def _beside(scene: Scene, name: str, rng: np.random.Generator) -> str:
    phrasing, main = PHRASINGS[name], scene.main
    others = scene.others[:: int(rng.choice((-1, 1)))]
    clauses = [
        phrasing.other.format(
            relation=_pick(RELATION_PHRASES[relation(other, main)], rng),
            inverse=_pick(RELATION_PHRASES[relation(main, other)], rng),
            **_words(other, rng),
        )
        for other in others
    ]
    return phrasing.opening + phrasing.joint.join(clauses) if clauses else phrasing.lone
