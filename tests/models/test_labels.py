"""Class names of two models: matched by name, renamed, and refused where one has no partner."""

import random

import pytest
from hypothesis import given, strategies as st

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.labels import places, plain, renamed

OURS = ("tabby_cat", "Dog", "tench, Tinca tinca")


@pytest.mark.parametrize(
    ("theirs", "labels", "expected"),
    [
        (OURS, {}, (0, 1, 2)),
        (("dog", "Tench", "tabby cat"), {}, (2, 0, 1)),
        (("hound", "fish", "TABBY_CAT"), {"dog": "Hound", "Tench": "fish"}, (2, 0, 1)),
    ],
)
def test_classes_are_matched_by_name_without_case_and_underscores(
    theirs: tuple[str, ...], labels: dict[str, str], expected: tuple[int, ...]
) -> None:
    assert places(OURS, theirs, labels, "the other") == expected


@given(st.lists(st.text("abc_", min_size=1), unique_by=plain, min_size=2, max_size=9), st.randoms())
def test_any_shuffle_is_found_again(names: list[str], shuffler: random.Random) -> None:
    theirs = [name.upper() for name in names]
    shuffler.shuffle(theirs)
    found = places(names, theirs, {}, "the other")
    assert [theirs[place] for place in found] == [name.upper() for name in names]


def test_captions_that_are_the_same_on_both_sides_need_no_names_of_their_own() -> None:
    captions = ("a dog, a cat", "a dog, a bird", "a dog, a cat")
    assert places(captions, captions, {}, "the other") == (0, 1, 2)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            ("tabby cat", "wolf", "tench"),
            "1 class.* without a partner in the other: 'Dog'; 1 of the other without one here: 'wolf'; write labels",
        ),
        (("tabby cat", "dog"), "without a partner in the other: 'tench, Tinca tinca'; 0 of"),
        (("tabby cat", "dog", "tench", "extra"), "0 class.*: none; 1 of .* 'extra'"),
        (("tabby cat", "dog", "tench", "dog"), "'dog' is the name of several classes"),
        (tuple("abcdefg"), "'a', 'b', 'c', 'd', 'e', …"),
    ],
)
def test_who_has_no_partner_is_named(theirs: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        places(OURS, theirs, {}, "the other")


def test_new_names_are_given_to_classes_that_there_are() -> None:
    assert renamed(OURS, {"tabby cat": "kitten"}) == ("kitten", "Dog", "tench, Tinca tinca")
    with pytest.raises(UnknownName, match="unknown class in labels 'Dgo'; did you mean Dog"):
        renamed(OURS, {"Dgo": "wolf"})


def test_two_classes_renamed_to_one_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'fish' is the name of several classes"):
        places(OURS, ("fish", "dog", "carp"), {"Dog": "fish", "tench": "fish"}, "the other")
