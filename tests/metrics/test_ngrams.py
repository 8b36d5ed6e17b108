"""Words, n-grams, and the medoid of texts."""

from collections import Counter

import pytest

from secondlook.errors import InvalidInput
from secondlook.metrics.ngrams import medoid, ngrams, paired, words


def test_words_are_small_and_without_marks() -> None:
    assert words("  The DOG's e-mail; it is, well, 3 pages!") == (
        "the",
        "dog's",
        "e-mail",
        "it",
        "is",
        "well",
        "3",
        "pages",
    )
    assert words("...") == ()


def test_a_text_of_n_words_has_n_minus_k_plus_one_runs_of_k() -> None:
    tokens = words("to be or not to be")
    assert [ngrams(tokens, length).total() for length in range(1, 8)] == [6, 5, 4, 3, 2, 1, 0]
    assert ngrams(tokens, 2) == Counter({("to", "be"): 2, ("be", "or"): 1, ("or", "not"): 1, ("not", "to"): 1})


def test_what_does_not_pair_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"1 caption\(s\) for 2 image\(s\)"):
        paired(["a"], [["a"], ["b"]])
    with pytest.raises(InvalidInput, match="references of image 1 are 'b'"):
        paired(["a", "b"], [["a"], "b"])
    with pytest.raises(InvalidInput, match="references of image 0 are"):
        paired(["a"], [[]])


def test_the_majority_wins_and_the_first_of_equals() -> None:
    assert medoid(["a red cat", "a blue dog", "a red cat"]) == 0
    assert medoid(["a blue dog", "a red cat", "a red cat"]) == 1
    assert medoid(["x", "y", "z"]) == 0
    assert medoid(["alone"]) == 0


def test_who_is_between_the_others_wins_without_a_majority() -> None:
    candidate = ["a red cat on a mat", "a red cat on a chair", "a blue dog on a chair"]
    assert medoid(candidate) == 1


def test_longer_runs_count() -> None:
    """All words of the first are in both others, none of its runs; the last two share runs."""
    assert medoid(["d c b a", "a b c d e", "a b c d f"]) == 1


def test_nothing_said_is_alike() -> None:
    assert medoid(["", "", "a"]) == 0
