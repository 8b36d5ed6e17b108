"""Figures as words: no rounded-off certainty, no false precision."""

import math

import pytest

from secondlook.audit.report import words
from secondlook.schema import Metric, ThreatRow
from secondlook.tasks.view import PLAIN


@pytest.mark.parametrize(
    ("share", "n", "text"),
    [
        (0.63, 100, "63 %"),
        (0.634, 1000, "63.4 %"),
        (0.0, 100, "0 %"),
        (1.0, 500, "100.0 %"),
        (0.004, 100, "0.4 %"),
        (0.996, 100, "99.6 %"),
        (0.0003, 5000, "<0.1 %"),
        (0.9999, 5000, ">99.9 %"),
        (-1e-17, 100, "0 %"),
        (math.nan, 0, "–"),
    ],
)
def test_a_share_is_never_rounded_to_certainty(share: float, n: int, text: str) -> None:
    assert words.percent(share, n) == text


def test_an_interval_stands_beside_its_share() -> None:
    assert words.share(Metric(value=0.63, low=0.532, high=0.718), 100) == "63 % [53, 72]"
    assert words.share(Metric(value=0.0, low=1e-18, high=0.0038), 1000) == "0.0 % [0.0, 0.4]"


def test_what_is_unknown_is_a_dash() -> None:
    unknown = Metric(value=math.nan, low=math.nan, high=math.nan)
    assert words.share(unknown, 0) == "–"
    assert words.measure(PLAIN.column("cosine_target"), unknown, 0) == "–"
    assert words.times(math.nan) == words.duration(math.nan) == words.memory(0) == "–"


def test_means_carry_their_deviation_and_shares_do_not() -> None:
    mean = Metric(value=0.7123, low=0.70, high=0.73, sd=0.08)
    assert words.measure(PLAIN.column("cosine_target"), mean, 100) == "0.712 ± 0.080 [0.700, 0.730]"
    assert words.measure(PLAIN.column("original_top5"), mean, 100) == "71 % [70, 73]"
    lone = Metric(value=0.5, low=-math.inf, high=math.inf)
    assert words.measure(PLAIN.column("cosine_target"), lone, 1) == "0.500"


@pytest.mark.parametrize(
    ("norm", "eps", "text"), [("linf", 8 / 255, "L∞ 8/255"), ("l2", 0.5, "L2 0.5"), ("linf", 0.0, "no change")]
)
def test_a_budget_is_in_its_own_unit(norm: str, eps: float, text: str) -> None:
    assert words.budget(ThreatRow(norm=norm, eps=eps)) == text


def test_costs() -> None:
    assert (words.times(1.04), words.times(12.4)) == ("1.0×", "12×")
    assert (words.duration(0.417), words.duration(185)) == ("0.417 s", "3 min 05 s")
    assert (words.memory(900 * 2**20), words.memory(3 * 2**30)) == ("900 MiB", "3.0 GiB")
