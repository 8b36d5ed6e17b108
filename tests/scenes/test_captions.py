"""The captions: true, five different ones, and rarely true of another scene."""

import re
from collections import Counter

import pytest

from secondlook.scenes.captions import (
    PLACE_PHRASES,
    PROMPTS,
    RELATION_PHRASES,
    SYNONYMS,
    captions,
    class_names,
    short_caption,
    vocabulary,
)
from secondlook.scenes.sampling import sample
from secondlook.scenes.shapes import SHAPES
from secondlook.scenes.world import COLORS, GROUNDS, Scene, SceneObject

GOLDEN = (
    ("a huge stripy pink plus on the right side with a small blue cross above it, on a checkered charcoal backdrop"),
    ("a chequered charcoal ground with a striped pink plus on the right and a blue plus in the upper middle"),
    (
        "there is a large pink cross under a small blue plus; it is striped and on the right "
        "side, on a checkered charcoal ground"
    ),
    (
        "a picture of a big pink cross on the right and a blue cross in the upper middle, "
        "before a chequered charcoal backdrop"
    ),
    ("pink cross, big, stripy, on the right side; tiny blue plus at the top; chequered charcoal ground"),
)
COLOR_WORDS = "|".join(COLORS)
NAMES = {word: name for name in SHAPES for word in SYNONYMS[name]}
SHAPE_WORDS = "|".join(NAMES)
THING = rf"(?:[a-z]+ )*?({COLOR_WORDS}) ({SHAPE_WORDS})"
RELATIONS = {phrase: name for name, phrases in RELATION_PHRASES.items() for phrase in phrases}
RELATION_WORDS = "|".join(sorted(RELATIONS, key=len, reverse=True))
PLACES = "|".join(phrase for phrases in PLACE_PHRASES.values() for phrase in phrases)
SIZE, TEXTURE, SHAPE = r"(?P<size>\w+)", r"(?P<texture>\w+)", rf"(?P<shape>{SHAPE_WORDS})"
PLACE, COLOR = rf"(?P<place>{PLACES})[ ,;]", f"(?:{COLOR_WORDS})"
MAIN = (
    rf"^a {SIZE} {TEXTURE} {COLOR} {SHAPE} {PLACE}",
    rf"^a \w+ \w+ \w+ with a {TEXTURE} {COLOR} {SHAPE} {PLACE}",
    rf"^there is a {SIZE} {COLOR} {SHAPE} .*; it is {TEXTURE} and {PLACE}",
    rf"^a picture of a {SIZE} {COLOR} {SHAPE} {PLACE}",
    rf"^{COLOR} {SHAPE}, {SIZE}, {TEXTURE}, {PLACE}",
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample(0, "test", index) for index in range(1000)]


def test_captions_are_golden() -> None:
    assert captions(sample(0, "test", 0)) == GOLDEN


def test_captions_are_the_same_each_time(scenes: list[Scene]) -> None:
    assert captions(scenes[0]) == captions(sample(0, "test", 0))


def test_five_different_wordings(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert len({frozenset(text.split()) for text in captions(scene)}) == 5


def test_every_caption_names_every_thing_and_no_other(scenes: list[Scene]) -> None:
    for scene in scenes:
        shown = {(obj.color, obj.shape) for obj in scene.objects}
        for text in captions(scene):
            told = re.findall(rf"({COLOR_WORDS}) ({SHAPE_WORDS})\b", text)
            assert {(color, NAMES[shape]) for color, shape in told} == shown
            assert len(told) == len(re.findall(rf"\b(?:{COLOR_WORDS})\b", text)) == len(scene.objects)


def test_every_caption_tells_the_background(scenes: list[Scene]) -> None:
    nouns = "|".join(SYNONYMS["background"])
    for scene in scenes:
        patterns = SYNONYMS[scene.background.pattern]
        for text in captions(scene):
            told = re.findall(rf"(\w+) ({'|'.join(GROUNDS)}) (?:{nouns})\b", text)
            assert len(told) == 1
            assert told[0][0] in patterns
            assert told[0][1] == scene.background.color


def test_what_is_told_of_the_main_thing_is_true(scenes: list[Scene]) -> None:
    for scene in scenes:
        told = [re.search(pattern, text) for pattern, text in zip(MAIN, captions(scene), strict=True)]
        for match in told:
            assert match is not None
            for attribute, wording in match.groupdict().items():
                name = getattr(scene.main, attribute)
                assert wording in (PLACE_PHRASES if attribute == "place" else SYNONYMS)[name]


def test_sizes_and_textures_told_are_shown(scenes: list[Scene]) -> None:
    for scene in scenes:
        sizes = {word for obj in scene.objects for word in SYNONYMS[obj.size]}
        absent = {w for name in ("small", "medium", "large") for w in SYNONYMS[name]} - sizes
        assert not any(absent & set(re.findall(r"\w+", text)) for text in captions(scene))


def test_relations_are_true_of_the_positions(scenes: list[Scene]) -> None:
    for scene in scenes:
        first, _, third, *_ = captions(scene)
        seen_from_main = re.findall(rf"({COLOR_WORDS}) ({SHAPE_WORDS}) ({RELATION_WORDS}) it", first)
        seen_from_other = re.findall(rf"({RELATION_WORDS}) a {THING}", third)
        assert len(seen_from_main) == len(seen_from_other) == len(scene.others)
        for color, _, phrase in seen_from_main:
            assert _holds(RELATIONS[phrase], _named(scene, color), scene.main)
        for phrase, color, _ in seen_from_other:
            assert _holds(RELATIONS[phrase], scene.main, _named(scene, color))


def test_places_of_the_others_are_true(scenes: list[Scene]) -> None:
    for scene in scenes:
        _, second, _, fourth, fifth = captions(scene)
        for text in (second, fourth, fifth):
            for other in scene.others:
                tail = re.split(rf"{other.color} (?:{SHAPE_WORDS}) ", text)[1]
                assert tail.startswith(PLACE_PHRASES[other.place])


def test_only_a_lone_thing_is_told_to_be_alone(scenes: list[Scene]) -> None:
    for scene in scenes:
        told = [bool(re.search(r"itself|alone|nothing", text)) for text in captions(scene)]
        assert told == [not scene.others] * 5


def test_captions_rarely_fit_another_scene(scenes: list[Scene]) -> None:
    texts = Counter(text for scene in scenes for text in captions(scene))
    meanings = [{_meaning(text) for text in captions(scene)} for scene in scenes]
    shared = Counter(meaning for told in meanings for meaning in told)
    assert sum(count for count in texts.values() if count > 1) <= 0.01 * texts.total()
    assert sum(count for count in shared.values() if count > 1) <= 0.01 * shared.total()


def test_captions_fit_forty_words(scenes: list[Scene]) -> None:
    assert max(len(text.split()) for scene in scenes for text in captions(scene)) <= 40


def test_the_vocabulary_is_closed_and_modest(scenes: list[Scene]) -> None:
    spoken = " ".join(text for scene in scenes for text in captions(scene))
    spoken = " ".join([spoken, *class_names(), *PROMPTS]).replace("{}", "")
    assert set(re.findall(r"\w+", spoken)) == set(vocabulary())
    assert len(vocabulary()) < 150
    assert list(vocabulary()) == sorted(set(vocabulary()))


def test_class_names_are_in_label_order(scenes: list[Scene]) -> None:
    names = class_names()
    assert len(set(names)) == 64
    for scene in scenes:
        assert short_caption(scene) == f"a {names[scene.label]}"


def test_articles_are_right() -> None:
    followers = [*COLORS, *GROUNDS, *(word for words in SYNONYMS.values() for word in words)]
    starts = {word for word in followers if word[0] in "aeiou"} - {"olive"}
    assert not starts


def _meaning(text: str) -> str:
    meant = {word: name for name, words in SYNONYMS.items() for word in words}
    return " ".join(meant.get(word, word) for word in text.split())


def _named(scene: Scene, color: str) -> SceneObject:
    return next(obj for obj in scene.objects if obj.color == color)


def _holds(relation: str, obj: SceneObject, anchor: SceneObject) -> bool:
    return {
        "left of": obj.cx < anchor.cx,
        "right of": obj.cx > anchor.cx,
        "above": obj.cy < anchor.cy,
        "below": obj.cy > anchor.cy,
    }[relation]
