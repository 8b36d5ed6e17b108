"""Intervals against closed forms, scipy and published tails."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest

from secondlook.statistics import (
    Numbers,
    at_least_one,
    aurc,
    majority_bound,
    mean,
    not_a_point,
    of_totals,
    paired_difference,
    risk_coverage,
    wilson,
)

# Strict-majority tails P(Bin(N, eta) > N / 2), worked out apart from this code.
SIZES = (1, 3, 5, 10, 15, 20)
TAILS = {0.3: (0.30, 0.216, 0.163, 0.047, 0.050, 0.017), 0.45: (0.45, 0.425, 0.407, 0.262, 0.347, 0.249)}


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 1000), (1000, 1000), (3, 7), (95, 100)])
def test_wilson_is_that_of_scipy(k: int, n: int, confidence: float) -> None:
    expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
    found = wilson(k, n, confidence)
    assert found.value == k / n
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_is_honest_at_the_ends() -> None:
    none, all_of_them = wilson(0, 1000), wilson(1000, 1000)
    assert (none.value, none.low) == pytest.approx((0, 0), abs=1e-15)
    assert round(100 * none.high, 2) == 0.38
    assert all_of_them.low == pytest.approx(1 - none.high)
    assert all_of_them.high == 1


def test_wilson_takes_mean_votes_and_no_votes() -> None:
    low, middle, high = wilson(3, 10), wilson(3.5, 10), wilson(4, 10)
    assert low.low < middle.low < high.low
    assert low.high < middle.high < high.high
    nothing = wilson(0, 0)
    assert math.isnan(nothing.value)
    assert nothing[1:] == (0, 1)


def test_mean_has_students_interval() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    # t(0.975, 3) = 3.18245, standard error = sqrt(5 / 3) / 2
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert found == pytest.approx((2.5, 2.5 - half, 2.5 + half), abs=1e-5)


def test_mean_of_one_and_of_none() -> None:
    assert mean([0.5]) == (0.5, -math.inf, math.inf)
    assert all(math.isnan(end) for end in mean([]))


def test_paired_difference() -> None:
    first = [float(i % 3) for i in range(60)]
    second = [0.5] * 60
    found = paired_difference(first, second)
    assert found.value == pytest.approx(0.5)
    # The bootstrap of a mean agrees with the normal interval: 1.96 * sd / sqrt(n).
    half = 1.96 * math.sqrt(2 / 3 / 60)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.03)
    assert paired_difference(first, second) == found
    backwards = paired_difference(second, first)
    assert backwards.value == pytest.approx(-0.5)
    assert backwards.high < 0


def test_pairs_are_what_counts() -> None:
    hard = [0.0, 1.0] * 30
    better = [value + 0.1 for value in hard]
    assert paired_difference(better, hard) == pytest.approx((0.1, 0.1, 0.1))
    assert math.isnan(paired_difference([], []).value)


@pytest.mark.parametrize(("eta", "tails"), TAILS.items())
def test_majority_bound(eta: float, tails: tuple[float, ...]) -> None:
    found = [majority_bound(eta, votes) for votes in SIZES]
    assert found == pytest.approx(tails, abs=6e-4)


def test_voting_helps_the_attacker_above_one_half() -> None:
    tails = [majority_bound(0.6, votes) for votes in (1, 10, 20)]
    assert tails == pytest.approx([0.60, 0.63, 0.76], abs=5.01e-3)
    assert tails == sorted(tails)
    assert (majority_bound(0, 10), majority_bound(1, 10)) == (0, 1)


def test_risk_is_that_of_the_least_suspicious_and_ends_at_the_error_rate() -> None:
    assert risk_coverage([3, 1, 2], [1, 0, 1]).tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    # A suspicion that says nothing gives a level line, whatever the order of the samples.
    for wrong in ([1, 0, 0, 1], [0, 0, 1, 1]):
        assert risk_coverage([7] * 4, wrong).tolist() == [0.5] * 4
    # Equals among others share their errors.
    assert risk_coverage([0, 1, 1], [0, 1, 0]).tolist() == pytest.approx([0, 0.25, 1 / 3])


def test_the_area_under_risk_and_coverage_in_closed_form() -> None:
    n, errors = 200, 50
    right_first = [0.0] * (n - errors) + [1.0] * errors
    order = list(range(n))
    best = sum((k - (n - errors)) / k for k in range(n - errors + 1, n + 1)) / n
    assert aurc(order, right_first).value == pytest.approx(best)
    assert aurc([-s for s in order], right_first).value > aurc([0] * n, right_first).value > best
    assert aurc([0] * n, right_first).value == pytest.approx(0.25)
    assert aurc(order, [0.0] * n) == pytest.approx((0, 0, wilson(0, n).high))


def test_the_interval_of_the_area_is_a_bootstrap_s() -> None:
    wrong = [float(i % 4 == 0) for i in range(200)]
    found = aurc([0] * 200, wrong)
    half = 1.96 * math.sqrt(0.25 * 0.75 / 200)
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.02)
    assert aurc([0] * 200, wrong) == found
    assert math.isnan(aurc([], []).value)


def test_a_figure_of_sums_has_a_bootstrap_interval_over_the_samples() -> None:
    """Of a plain mean it is close to Student's, and of a ratio it counts samples, not claims."""
    values = np.random.default_rng(1).normal(3, 2, size=(400, 1))
    found = of_totals(np.hstack([values, np.ones_like(values)]), lambda s: s[..., 0] / s[..., 1])
    wanted = mean(values[:, 0].tolist())
    assert found.value == pytest.approx(wanted.value)
    assert [found.low, found.high] == pytest.approx([wanted.low, wanted.high], abs=0.03)
    claims = np.array([[0.0, 1.0], [9.0, 9.0]])
    ratio = of_totals(claims, lambda s: s[..., 0] / s[..., 1])
    assert (ratio.value, ratio.low, ratio.high) == (0.9, 0.0, 1.0)


def test_a_bootstrap_of_many_samples_draws_in_parts_and_of_none_is_nothing() -> None:
    counts = np.ones((3_000, 1))
    assert of_totals(counts, lambda s: s[..., 0] / 3_000).value == 1
    assert np.isnan(of_totals(np.empty((0, 1)), lambda s: s[..., 0])).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_ratio_of_nothing_has_no_interval_and_no_warning() -> None:
    def ratio(sums: Numbers) -> Numbers:
        with np.errstate(invalid="ignore"):
            found: Numbers = sums[..., 0] / sums[..., 1]
        return found

    found = of_totals(np.zeros((4, 2)), ratio)
    assert all(math.isnan(each) for each in found)


@pytest.mark.parametrize("n", [2, 8, 100])
def test_equal_observations_have_the_interval_of_wilson(n: int) -> None:
    everything = wilson(n, n)
    lost = paired_difference([1.0] * n, [0.0] * n, within=(0.0, 1.0))
    assert lost == pytest.approx(everything, abs=1e-12)
    counts = np.ones((n, 2))
    assert of_totals(counts, lambda sums: sums[..., 0] / sums[..., 1]) == pytest.approx(everything)
    never_wrong = aurc([0.1] * n, [0.0] * n)
    assert never_wrong == pytest.approx((0, 0, wilson(0, n).high), abs=1e-12)


def test_a_difference_of_nothing_reaches_to_both_sides() -> None:
    found = paired_difference([0.5] * 8, [0.5] * 8)
    assert found.low == pytest.approx(-found.high) and found.low < 0 == found.value


def test_one_observation_has_the_whole_range() -> None:
    assert paired_difference([1.0], [0.0]) == (1.0, -1.0, 1.0)
    assert aurc([0.3], [1.0]) == (1.0, 0.0, 1.0)
    assert of_totals(np.ones((1, 2)), lambda sums: sums[..., 0] / sums[..., 1])[1:] == (0.0, 1.0)


def test_an_interval_with_a_width_is_left_alone() -> None:
    found = not_a_point(wilson(3, 7), 7, (0.0, 1.0))
    assert found == wilson(3, 7)


@pytest.mark.parametrize("hits", range(7))
def test_at_least_one_of_k_is_the_share_of_all_choices_of_k(hits: int) -> None:
    tries = [True] * hits + [False] * (6 - hits)
    expected = [np.mean([any(some) for some in combinations(tries, k)]) for k in range(1, 7)]
    assert at_least_one([hits], 6)[0].tolist() == pytest.approx(expected)


def test_at_least_one_of_k_is_estimated_without_bias() -> None:
    """At a chance of 0.1 and 8 tries the mean over many samples is 1 - 0.9^k for every k, the last too."""
    hits = np.random.default_rng(0).binomial(8, 0.1, size=40_000)
    expected = [1 - 0.9**k for k in range(1, 9)]
    assert at_least_one(hits.tolist(), 8).mean(0).tolist() == pytest.approx(expected, abs=0.01)
