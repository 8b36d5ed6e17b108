"""Outcome bars add up, and the vote is drawn beside its bound."""

import pytest

from secondlook.audit.report import outcomes
from secondlook.schema import Outcomes, Vote


def test_a_bar_is_cut_in_proportion(make_cell) -> None:
    row = make_cell("clean", 0, 0.9, outcomes=Outcomes(correct=50, wrong=20, rejected=30))
    assert outcomes.segments(row, width=200) == [
        ("correct", 50, 0, 100),
        ("wrong", 20, 100, 40),
        ("rejected", 30, 140, 60),
    ]


def test_no_samples_no_bar(make_cell) -> None:
    row = make_cell("clean", 0, 0, outcomes=Outcomes(correct=0, wrong=0, rejected=0))
    assert outcomes.segments(row) == []


def test_votes_stand_beside_their_bounds(make_cell) -> None:
    vote = Vote(
        votes=10, eta=0.4, captured=0.5, bound=0.25, pooled_bound=0.166, histogram=[10, 0, 0, 0, 0, 0, 0, 0, 0, 5]
    )
    drawn = outcomes.votes(make_cell("adaptive", 0.5, 0.5), vote)
    full = outcomes.ACROSS(1) - outcomes.ACROSS(0)
    for kind, part in (("seen k-adaptive", 0.5), ("bound", 0.25)):
        assert f'class="{kind}"' in drawn
        assert f'width="{full * part:g}"' in drawn
    columns = [line for line in drawn.split("<rect") if 'class="column' in line]
    assert ['class="column won' in column for column in columns] == [False, True]
    heights = [float(column.split('height="')[1].split('"')[0]) for column in columns]
    assert heights[0] == pytest.approx(2 * heights[1])
    assert outcomes.excess(vote) == pytest.approx(0.334)


def test_a_vote_without_a_histogram_is_still_shown(make_cell) -> None:
    vote = Vote(votes=1, eta=0.4, captured=float("nan"), bound=0.4, pooled_bound=0.4)
    drawn = outcomes.votes(make_cell("adaptive", 0.5, 0.5), vote)
    assert 'class="column' not in drawn
    assert "nan" not in drawn
