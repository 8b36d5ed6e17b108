"""Other wordings claim the same, and are drawn from a seed."""

import numpy as np

from secondlook.scenes.captions import captions
from secondlook.scenes.parsing import parse, verify
from secondlook.scenes.rewording import reworded
from secondlook.scenes.sampling import sample


def drawn(text: str, count: int, seed: int = 0) -> list[str]:
    return reworded(text, np.random.default_rng(seed), count)


def test_other_words_make_the_same_claims() -> None:
    for number in range(12):
        scene = sample(0, "test", number)
        for text in captions(scene):
            found = drawn(text, 6)
            assert len(set(found)) == len(found) == 6
            assert all(parse(each) == parse(text) and verify(each, scene).whole for each in found)


def test_a_sentence_without_synonyms_has_no_other_wording() -> None:
    assert drawn("a red heart", 6) == []
    assert sorted(drawn("a red ring", 6)) == ["a red hoop"]
    assert drawn("", 6) == []


def test_a_phrase_is_another_phrase_as_a_whole() -> None:
    assert drawn("a red heart in the upper left corner", 6) == ["a red heart in the top left"]


def test_wordings_are_drawn() -> None:
    text = "a large striped red ring in the top left, on a plain grey background"
    assert drawn(text, 5) == drawn(text, 5) != drawn(text, 5, seed=1)
