"""Texts as counted runs of words."""

from collections import Counter

import pytest

from secondlook.errors import InvalidInput
from secondlook.metrics.ngrams import paired, runs, words


def test_words_are_small_and_without_marks() -> None:
    assert words("  The DOG's e-mail; it is, well, 3 pages!") == (
        "the", "dog's", "e-mail", "it", "is", "well", "3", "pages",
    )  # fmt: skip
    assert words("...") == ()


def test_a_text_of_n_words_has_n_minus_k_plus_one_runs_of_k() -> None:
    spoken = words("to be or not to be")
    assert [runs(spoken, length).total() for length in range(1, 8)] == [6, 5, 4, 3, 2, 1, 0]
    assert runs(spoken, 2) == Counter(
        {("to", "be"): 2, ("be", "or"): 1, ("or", "not"): 1, ("not", "to"): 1}
    )


def test_what_does_not_pair_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"1 caption\(s\) for 2 image\(s\)"):
        paired(["a"], [["a"], ["b"]])
    with pytest.raises(InvalidInput, match="references of image 1 are 'b'"):
        paired(["a", "b"], [["a"], "b"])
    with pytest.raises(InvalidInput, match="references of image 0 are"):
        paired(["a"], [[]])
