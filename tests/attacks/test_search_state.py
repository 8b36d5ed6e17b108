"""Samples in flight keep their own state, keys and objective, whoever leaves or comes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import given, strategies as st
from torch import Tensor

from secondlook.attacks.search_state import ActiveSet, BestPoints, TraceRecorder, join, pick, put
from secondlook.randomness import Keys
from tests.analytic import Slope, directions, images


@dataclass
class Count:
    """How often each sample was seen, and what it saw."""

    turn: Tensor
    seen: Tensor


def counts(turn: list[int]) -> Count:
    return Count(torch.tensor(turn), torch.tensor(turn) * 10.0)


def values(state: Count) -> tuple[list[int], list[float]]:
    return state.turn.tolist(), state.seen.tolist()


def test_states_are_picked_joined_and_overwritten_sample_by_sample() -> None:
    state = join(pick(counts([1, 2, 3]), torch.tensor([2, 0])), counts([4]))
    assert values(state) == ([3, 1, 4], [30, 10, 40])
    put(state, torch.tensor([False, True, True]), counts([7, 8]))
    assert values(state) == ([3, 7, 8], [30, 70, 80])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.integers(0, 9), st.randoms(), st.data())
def test_each_sample_has_its_own_turns_in_any_company(
    stays: list[int], width: int, shuffle: object, data: st.DataObject
) -> None:
    """Sample i stays ``stays[i]`` turns, and each turn sees the objective and draws of its own."""
    n = len(stays)
    queue = torch.tensor(data.draw(st.permutations(range(n))))
    weights, clean, keys = directions(n), images(n), Keys.of(0, range(n))
    began: list[int] = []

    def begin(rows: Tensor) -> Count:
        began.extend(rows.tolist())
        return Count(torch.zeros_like(rows), torch.zeros(len(rows)))

    active = ActiveSet(Slope(weights=weights), clean, keys, begin, rows=queue, width=width)
    seen, turns = torch.zeros(n), torch.zeros(n, dtype=torch.long)
    while len(active):
        assert len(active) <= (width or n)
        assert torch.equal(active.objective.weights, weights[active.rows])
        assert torch.equal(active.clean, clean[active.rows])
        active.state.seen = active.state.seen + active.keys.at(active.state.turn).uniform((1,))[:, 0]
        active.state.turn = active.state.turn + 1
        done = active.state.turn == torch.tensor(stays)[active.rows]
        seen[active.rows[done]], turns[active.rows[done]] = (active.state.seen[done], active.state.turn[done])
        active.leave(done)
    assert began == queue.tolist(), "everyone comes in once, in the order of the queue"
    assert turns.tolist() == stays
    alone = [sum(keys.at(torch.full((n,), turn)).uniform((1,))[i, 0] for turn in range(stays[i])) for i in range(n)]
    assert torch.allclose(seen, torch.stack([torch.as_tensor(value) for value in alone]))


def test_a_free_place_is_taken_at_once() -> None:
    active = ActiveSet(
        Slope(weights=directions(5)),
        images(5),
        Keys.of(0, range(5)),
        lambda rows: Count(rows.clone(), rows.float()),
        width=3,
    )
    assert active.rows.tolist() == [0, 1, 2]
    active.leave(torch.tensor([True, False, True]))
    assert active.rows.tolist() == [1, 3, 4]
    assert values(active.state) == ([1, 3, 4], [1, 3, 4])
    active.leave(torch.tensor([True, True, False]))
    assert active.rows.tolist() == [4]


def test_an_active_set_of_nobody_is_empty() -> None:
    none = torch.zeros(0, dtype=torch.long)
    active = ActiveSet(
        Slope(weights=directions(3)),
        images(3),
        Keys.of(0, range(3)),
        lambda rows: Count(rows, rows.float()),
        rows=none,
        width=2,
    )
    assert not len(active)


# --- the trace ---------------------------------------------------------------------------------


def test_a_trace_keeps_first_middle_and_last_and_counts_sick_gradients() -> None:
    trace, rows = TraceRecorder(images(3)), torch.tensor([2, 0])
    yes, no = torch.tensor([True, True]), torch.tensor([False, False])
    sick = torch.ones(2, 3, 4, 4)
    sick[0], sick[1, 0, 0, 0] = 0, float("nan")
    trace.record(rows, torch.tensor([1.0, 2.0]), first=yes, early=yes)
    trace.record(rows, torch.tensor([3.0, 4.0]), sick, early=torch.tensor([True, False]))
    trace.record(rows, torch.tensor([5.0, 6.0]), torch.ones(2, 3, 4, 4), early=no)
    found = trace.trace()
    assert found.first_loss[rows].tolist() == [1, 2]
    assert found.middle_loss[rows].tolist() == [3, 2]
    assert found.last_loss[rows].tolist() == [5, 6]
    assert bool(found.last_loss[1].isnan())
    assert found.steps.tolist() == [2, 0, 2]
    assert found.zero_gradient.tolist() == [0, 0, 0.5]
    assert found.bad_gradient.tolist() == [0.5, 0, 0]


# --- the best points -----------------------------------------------------------------------------


def test_a_success_comes_before_a_higher_loss() -> None:
    best, rows = BestPoints(torch.zeros(2, 3, 4, 4)), torch.tensor([1])
    points = [torch.full((1, 3, 4, 4), float(value)) for value in range(5)]
    yes, no = torch.tensor([True]), torch.tensor([False])
    kept = []
    for loss, x, success in zip((1, 5, 2, 9, 3), points, (no, no, yes, no, yes), strict=True):
        best.offer(rows, x, torch.tensor([float(loss)]), success)
        kept.append(float(best.x[1, 0, 0, 0]))
    assert kept == [0, 1, 2, 2, 4]
    assert best.success.tolist() == [False, True]
    best.offer(rows, points[0], torch.tensor([float("nan")]), yes)
    assert float(best.x[1, 0, 0, 0]) == 4, "a loss of NaN is never the best"
