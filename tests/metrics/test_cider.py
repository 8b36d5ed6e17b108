"""CIDEr-D: by hand, by its known properties, and against the published implementation's scores."""

import math

import pytest

from secondlook.errors import InvalidInput
from secondlook.metrics.cider import Cider

REFERENCES = [
    ["a red cat on a mat", "one red cat sits on the mat"],
    ["a dog runs in the park", "the brown dog runs fast"],
    ["two birds sit on a wire", "birds on a wire"],
]
SAID = ["a red cat sits on a mat", "a dog on a mat", "birds birds on a wire"]


def test_scores_of_the_published_implementation() -> None:
    """As pycocoevalcap 1.2 gives them for the same words."""
    golden = [5.058718219947691, 1.1465472254760354, 5.006780669945854]
    assert Cider.of(REFERENCES).scores(SAID) == pytest.approx(golden, abs=1e-12)


def test_by_hand() -> None:
    """Two images, one reference each: only runs that one of the two has weigh, log 2 each."""
    cider = Cider.of([["red cat"], ["blue cat"]])
    # Runs of one: "red" is shared, "cat" weighs nothing, the cosine is 1; runs of two likewise.
    assert cider.scores(["red cat"], [0]) == pytest.approx([10 * (1 + 1) / 4])
    # "red dog": runs of one, (red, dog) against (red): 1 / sqrt 2; no run of two is shared.
    assert cider.scores(["red dog"], [0]) == pytest.approx([10 * (1 / math.sqrt(2)) / 4])
    assert cider.scores(["blue cat"], [0]) == [0.0]


def test_the_only_reference_word_for_word_is_a_ten_and_nothing_in_common_a_zero() -> None:
    cider = Cider.of([["one two three four five"], ["six seven eight nine ten"]])
    assert cider.scores(["One two, three four five!", "a b c d e"]) == pytest.approx([10, 0])


def test_a_run_said_too_often_counts_no_more_than_it_is_meant() -> None:
    """Clipping: with "red" twice the dot product stays, the norm doubles, the length differs."""
    cider = Cider.of([["red"], ["blue"]])
    once, twice = cider.scores(["red", "red red"], [0, 0])
    assert once == pytest.approx(10 / 4)
    assert twice == pytest.approx(10 / 4 / 2 * math.exp(-1 / 72))


def test_a_difference_in_length_is_punished_by_a_gaussian_of_six_words() -> None:
    cider = Cider.of([["red the", "blue the the the the the the"], ["green the"]])
    short, long = (cider.between("red the", text) for text in ("red the", "red" + " the" * 7))
    # "the" is in every image's references and weighs nothing: only length parts the two in runs
    # of one; the runs of two of the longer are "red the" and those of "the the", of one image.
    ones, twos = 1.0, 1 / math.hypot(1, 6)
    assert short == pytest.approx(10 * 2 / 4)
    assert long == pytest.approx(10 * (ones + twos) / 4 * math.exp(-36 / 72))


def test_several_references_count_by_their_mean() -> None:
    cider = Cider.of([["red cat", "blue dog"], ["green owl"]])
    mean = (cider.between("red cat", "red cat") + cider.between("red cat", "blue dog")) / 2
    assert cider.scores(["red cat"], [0]) == pytest.approx([mean])


def test_a_score_does_not_hang_on_order_or_company() -> None:
    cider = Cider.of(REFERENCES)
    assert cider.scores(SAID[::-1], [2, 1, 0]) == cider.scores(SAID)[::-1]
    assert cider.scores(SAID[1:2], [1]) == cider.scores(SAID)[1:2]
    turned = Cider.of([texts[::-1] for texts in REFERENCES[::-1]])
    assert turned.scores(SAID[::-1]) == pytest.approx(cider.scores(SAID)[::-1])


def test_nothing_said_scores_nothing() -> None:
    assert Cider.of(REFERENCES).scores(["", "...", "a"], [0, 1, 2])[:2] == [0.0, 0.0]


def test_what_cannot_be_scored_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"CIDEr of 1 image\(s\)"):
        Cider.of([["a"]])
    with pytest.raises(InvalidInput, match="references of image 1 are"):
        Cider.of([["a"], []])
    with pytest.raises(InvalidInput, match=r"2 caption\(s\) for 3 image\(s\)"):
        Cider.of(REFERENCES).scores(["a", "b"])
