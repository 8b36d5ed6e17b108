"""Detection metrics, against what can be counted by hand and against the binormal model."""

import numpy as np
import pytest
from scipy import stats

from secondlook.errors import InvalidInput
from secondlook.metrics import detection
from secondlook.metrics.detection import (
    auroc,
    auroc_difference,
    average_precision,
    confusion,
    equal_tpr_tnr,
    roc,
    true_positive_rate,
    youden,
)

RNG = np.random.default_rng(0)


def test_the_area_counts_pairs_and_half_of_the_ties() -> None:
    clean, attacked = RNG.integers(0, 6, 40), RNG.integers(2, 9, 30)
    pairs = [(a > c) + (a == c) / 2 for a in attacked for c in clean]
    assert auroc(clean, attacked).value == pytest.approx(np.mean(pairs), abs=1e-12)
    assert auroc(attacked, clean).value == pytest.approx(1 - np.mean(pairs), abs=1e-12)


def test_a_perfect_area_has_an_interval_that_is_no_point() -> None:
    found = auroc(np.zeros(50), np.ones(50))
    assert (found.value, found.high) == (1, 1)
    assert 0.9 < found.low < 0.99
    assert auroc(np.ones(50), np.zeros(50)).low == 0
    assert auroc(np.zeros(500), np.ones(500)).low > found.low


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Normal scores a shift apart have the area Phi(shift / sqrt 2)."""
    shift, ngrams = 2.0, 400
    truth = stats.norm.cdf(shift / np.sqrt(2))
    held = 0
    for _ in range(ngrams):
        found = auroc(RNG.normal(size=60), RNG.normal(size=40) + shift)
        held += found.low <= truth <= found.high
    assert held / ngrams > 0.92


def test_precision_is_a_step_function_of_recall() -> None:
    """Ranked: attacked, clean, attacked, clean; precisions 1 and 2/3 at recalls 1/2 and 1."""
    assert average_precision([0.7, 0.1], [0.9, 0.5]).value == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([0.5] * 3, [0.5]).value == pytest.approx(1 / 4)
    found = average_precision(RNG.normal(size=80), RNG.normal(size=80) + 1)
    assert found.low < found.value < found.high


def test_the_rate_is_taken_at_the_clean_quantile() -> None:
    clean = np.arange(100.0)
    attacked = np.array([94.0, 95.0, 96.0, 200.0])
    assert true_positive_rate(clean, attacked, 0.05).value == 0.75
    assert true_positive_rate(clean, attacked, 0.01).value == 0.25
    assert (clean > 94).mean() == 0.05
    with pytest.raises(InvalidInput, match="0.05 for 5 %"):
        true_positive_rate(clean, attacked, 5)


def test_counts_at_a_threshold_accept_what_equals_it() -> None:
    found = confusion([0.1, 0.2, 0.3], [0.3, 0.4], 0.3)
    assert found == (1, 1, 3, 0)
    assert found.accuracy.value == 0.8
    assert found.balanced == pytest.approx((0.5 + 1) / 2)


def test_a_difference_is_paired() -> None:
    """The same noise in both detectors: unpaired it would hide the difference."""
    clean, attacked = RNG.normal(size=150), RNG.normal(size=150) + 1
    better = auroc_difference((clean, clean + 0.2), (attacked, attacked))
    assert better.low > 0
    same = auroc_difference((clean, clean), (attacked, attacked))
    assert same.value == 0 and -0.03 < same.low < 0 < same.high < 0.03
    with pytest.raises(InvalidInput, match="pair them"):
        auroc_difference((clean, clean[1:]), (attacked, attacked))


def test_twins_are_drawn_together() -> None:
    """Where each attacked input goes wherever its clean twin goes, no draw changes the areas."""
    rng = np.random.default_rng(1)
    clean, rival = rng.normal(size=40), rng.normal(size=40)
    pair = ((clean, rival), (clean + 1e-3, rival + 1.0))
    alone, twins = (auroc_difference(*pair, twins=each) for each in (False, True))
    assert alone.value == twins.value
    assert twins.high - twins.low < 0.9 * (alone.high - alone.low)


def test_in_sample_thresholds_are_what_they_say_and_are_optimistic() -> None:
    clean, attacked = RNG.normal(size=30), RNG.normal(size=30)
    cuts = np.concatenate([clean, attacked])
    best = max((attacked > cut).mean() - (clean > cut).mean() for cut in cuts)
    chosen = youden(clean, attacked)
    assert (attacked > chosen).mean() - (clean > chosen).mean() == pytest.approx(best)
    assert best > 0
    equal = equal_tpr_tnr(clean, attacked)
    gap = abs((attacked > equal).mean() - (clean <= equal).mean())
    assert gap == min(abs((attacked > cut).mean() - (clean <= cut).mean()) for cut in cuts)


@pytest.mark.parametrize(
    ("clean", "attacked", "candidate"), [([], [1.0], "both are needed"), ([0.0], [float("nan")], "NaN")]
)
def test_nothing_and_nan_are_no_suspicions(clean: list[float], attacked: list[float], candidate: str) -> None:
    with pytest.raises(InvalidInput, match=candidate):
        auroc(clean, attacked)


def test_a_draw_of_rows_has_the_area_of_its_values() -> None:
    low, high = RNG.integers(0, 6, 40) / 4, RNG.integers(2, 9, 30) / 4
    left, right = RNG.integers(40, size=40), RNG.integers(30, size=30)
    found = detection._areas(low, high)(left, right)
    assert found == pytest.approx(auroc(low[left], high[right]).value, abs=1e-12)


def test_the_curve_has_the_area_and_its_thinned_form_lies_on_it() -> None:
    clean, attacked = RNG.normal(size=700), RNG.normal(size=500) + 1
    fpr, tpr = roc(clean, attacked, points=10**6)
    assert (fpr[0], fpr[-1], tpr[-1]) == (0, 1, 1)
    assert tpr[0] == pytest.approx((attacked > clean.max()).mean())
    assert (np.diff(fpr) > 0).all() and (np.diff(tpr) >= 0).all()
    # A stair: without ties each step right is at the height that was reached before it.
    assert (np.diff(fpr) * tpr[:-1]).sum() == pytest.approx(auroc(clean, attacked).value)
    few, heights = roc(clean, attacked)
    assert len(few) <= 64 and few[:2].tolist() == fpr[:2].tolist() and few[-1] == 1
    whole = dict(zip(fpr.tolist(), tpr.tolist(), strict=True))
    assert heights.tolist() == [whole[rate] for rate in few.tolist()]


def test_perfect_separation_of_a_few_is_no_certainty() -> None:
    clean, attacked = [0.0, 0.1, 0.2], [0.7, 0.8, 0.9]
    found = average_precision(clean, attacked)
    assert found.value == found.high == 1.0 and found.low < 0.6
    apart = auroc_difference((clean, clean), (attacked, attacked))
    assert apart.low < 0 == apart.value < apart.high
