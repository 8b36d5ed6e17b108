"""BLEU: by hand, by its known properties, and against the published implementation's score."""

import math

import pytest

from secondlook.errors import InvalidInput
from secondlook.metrics.bleu import bleu

REFERENCES = [
    ["a red cat on a mat", "one red cat sits on the mat"],
    ["a dog runs in the park", "the brown dog runs fast"],
    ["two birds sit on a wire", "birds on a wire"],
]
SAID = ["a red cat sits on a mat", "a dog on a mat", "birds birds on a wire"]


def test_scores_of_the_published_implementation() -> None:
    """As pycocoevalcap 1.2 gives them for the same words, up to the tiny numbers that it adds."""
    golden = [0.7647058823079586, 0.7390659560038009, 0.667895196646172, 0.5224157265437734]
    found = [bleu(SAID, REFERENCES, longest) for longest in (1, 2, 3, 4)]
    assert found == pytest.approx(golden, abs=1e-9)


def test_the_clipped_share_of_the_paper() -> None:
    """Seven times "the": two of seven count (Papineni et al. 2002, section 2.1, example 2)."""
    references = [["the cat is on the mat", "there is a cat on the mat"]]
    assert bleu(["the the the the the the the"], references, 1) == pytest.approx(2 / 7)


def test_a_short_caption_is_punished_by_the_nearest_reference_s_length() -> None:
    assert bleu(["a b"], [["a b c", "a b c d e f"]], 1) == pytest.approx(math.exp(1 - 3 / 2))
    assert bleu(["a b c d"], [["a b c", "a b c d e"]], 1) == 1.0
    assert bleu(["a b c d e"], [["a b c d e"]]) == pytest.approx(1)


def test_it_is_of_the_set_and_no_mean_over_captions() -> None:
    candidate, reference = ["a b", "x y z w u v"], [["a b"], ["x q q q q q"]]
    assert bleu(candidate, reference, 1) == pytest.approx(3 / 8)


def test_without_a_common_run_it_is_zero() -> None:
    assert bleu(["a b c d"], [["d c b a"]]) == 0.0
    assert bleu(["a b c"], [["a b c"]]) == 0.0
    assert bleu([""], [["a"]], 1) == 0.0


def test_what_does_not_pair_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"1 caption\(s\) for 2 image\(s\)"):
        bleu(["a"], [["a"], ["b"]])
