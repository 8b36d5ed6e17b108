"""Typos and easy data augmentation: what they change, how often, and never more."""

from __future__ import annotations

import numpy as np
import pytest

from secondlook.attacks.edits import edits, words_changed
from secondlook.attacks.pairs import Pairs
from secondlook.attacks.text.captions import synonyms
from secondlook.attacks.text.noise import EDA, Typos, edited, mistyped
from secondlook.errors import InvalidInput
from secondlook.threat import Threat
from tests.pairs import Bag, keys, pairs

THREAT = Threat()


@pytest.mark.parametrize("word", ["a", "at", "aa", "cat", "playing", "א", "日本", "Ü"])
def test_a_slip_is_one_letters_work(word: str) -> None:
    for seed in range(40):
        slip = mistyped(word, np.random.default_rng(seed))
        assert slip and slip != word
        # A swap is two changes by Levenshtein's count.
        assert edits(word, slip) <= 2
        assert abs(len(slip) - len(word)) <= 1


def test_typos_hit_content_words_and_keep_marks() -> None:
    for seed in range(30):
        found = Typos().noised("the (cat), on it", np.random.default_rng(seed))
        assert found.startswith("the (")
        assert found.endswith("), on it")
        assert words_changed("the (cat), on it", found) == 1
    assert Typos().noised("on it", np.random.default_rng(0)) != "on it"
    assert Typos().noised("\U0001f600 !!", np.random.default_rng(0)) == "\U0001f600 !!"


def test_synonyms_go_both_ways_and_never_to_themselves() -> None:
    for word, others in synonyms().items():
        assert word not in others
        assert all(word in synonyms()[other] for other in others)


@pytest.mark.parametrize("operation", ["replace", "insert", "swap", "delete"])
def test_each_operation_does_what_it_says(operation: str) -> None:
    words = ["a", "large", "dog,", "runs"]
    for seed in range(30):
        found = edited(operation, words, np.random.default_rng(seed))  # type: ignore[arg-type]
        if operation == "replace":
            assert [a == b for a, b in zip(words, found, strict=True)].count(False) == 1
            assert found[1] in ("large", "big", "huge") and found[2] in ("dog,", "hound,")
        if operation == "insert":
            assert len(found) == 5 and set(found) - set(words) <= {"big", "huge", "hound"}
        if operation == "swap":
            assert sorted(found) == sorted(words) and found != words
        if operation == "delete":
            assert len(found) == 3 and set(found) < set(words)


def test_a_caption_is_left_where_nothing_can_be_done() -> None:
    rng = np.random.default_rng(0)
    assert EDA(operation="replace").noised("xyzzy plugh", rng) == "xyzzy plugh"
    assert EDA(operation="delete").noised("cat", rng) == "cat"
    with pytest.raises(InvalidInput, match="a swap changes two words"):
        EDA(operation="swap")
    with pytest.raises(InvalidInput, match="operation='shuffle'"):
        EDA(operation="shuffle")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="finds nothing to do"):
        edited("delete", ["cat"], rng)


@pytest.mark.parametrize("words", [1, 2, 4])
def test_eda_keeps_its_budget(words: int) -> None:
    text = "a large dog runs near a small house by the road"
    for seed in range(60):
        found = EDA(words=words).noised(text, np.random.default_rng(seed))
        assert 0 < words_changed(text, found) <= words or found == text


@pytest.mark.parametrize("attack", [Typos(), EDA()])
def test_draws_are_keyed_by_image_and_place(attack: Typos | EDA) -> None:
    text = "a large dog runs near a small house by the road"
    given = Pairs(pairs(4).images, ((text,) * 3,) * 4)
    found = attack(Bag(), given, THREAT, keys(4)).captions
    again = attack(Bag(), given, THREAT, keys(4)).captions
    assert found == again
    assert len({text for row in found for text in row}) > 6
    assert attack(Bag(), given, THREAT, keys(4).fold("other")).captions != found
