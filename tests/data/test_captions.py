"""Captions as texts: the references' form, what says the same, and one for each image."""

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from secondlook.data.captions import groups, normalized, own, same
from secondlook.errors import InvalidInput


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man, in a RED hat.", "a man in a red hat"),
        ('(Two) dogs: run; jump! * # ~ "x"', "two dogs run jump x"),
        ("A well-kept and/or clean T-shirt", "a well kept and or clean t shirt"),
        ("<person> isn't  here \n", "person isnt here"),
        ("a & b", "a & b"),
        ("tab\tstays, two \t go", "tab\tstays two go"),
        (" . ", ""),
    ],
)
def test_normalized_like_the_references(caption: str, expected: str) -> None:
    assert normalized(caption) == expected


def test_normalized_keeps_thirty_words() -> None:
    assert normalized("word " * 40).split() == ["word"] * 30
    assert normalized("one two three", words=2) == "one two"
    with pytest.raises(InvalidInput, match="words=0; keep one"):
        normalized("a", words=0)


@given(st.text().map(lambda text: text.replace("<", "")))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)


def test_groups_of_texts_that_say_the_same() -> None:
    texts = ["A dog .", "a cat", "A DOG", "dog", "a cat."]
    assert groups(texts) == ((0, 2), (1, 4), (3,))
    assert same(" Grass . ") == same("grass")
    assert same("e.g. this") != same("eg this")


def test_each_image_has_a_text_of_its_own() -> None:
    assert own({"a": ["A dog.", "x"], "b": ["a dog", "Grass"]}) == ("A dog.", "Grass")
    with pytest.raises(InvalidInput, match="image b has no caption that an earlier"):
        own({"a": ["A dog."], "b": ["a dog", "..."]})


def test_normalized_on_the_lists_of_the_references(shared: Path) -> None:
    path = shared / "data/retrieval-annotations/flickr30k_test.json"
    captions = [text for image in json.loads(path.read_text()) for text in image["caption"]]
    found = [normalized(text) for text in captions]
    assert all(text and len(text.split(" ")) <= 30 for text in found)
    assert not set(",.'!?\"()*#:;~-/") & set("".join(found))
