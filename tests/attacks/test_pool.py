"""Samples in flight keep their own state, keys and objective, whoever leaves or comes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secondlook.attacks.pool import Diary, Pool, join, pick, put
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


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=8), st.integers(0, 9), st.randoms(), st.data()
)
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

    pool = Pool(Slope(weights=weights), clean, keys, begin, rows=queue, width=width)
    seen, turns = torch.zeros(n), torch.zeros(n, dtype=torch.long)
    while len(pool):
        assert len(pool) <= (width or n)
        assert torch.equal(pool.objective.weights, weights[pool.rows])
        assert torch.equal(pool.clean, clean[pool.rows])
        pool.state.seen = pool.state.seen + pool.keys.at(pool.state.turn).uniform((1,))[:, 0]
        pool.state.turn = pool.state.turn + 1
        done = pool.state.turn == torch.tensor(stays)[pool.rows]
        seen[pool.rows[done]], turns[pool.rows[done]] = pool.state.seen[done], pool.state.turn[done]
        pool.leave(done)
    assert began == queue.tolist(), "everyone comes in once, in the order of the queue"
    assert turns.tolist() == stays
    alone = [sum(keys.at(torch.full((n,), turn)).uniform((1,))[i, 0] for turn in range(stays[i]))
             for i in range(n)]  # fmt: skip
    assert torch.allclose(seen, torch.stack([torch.as_tensor(value) for value in alone]))


def test_a_free_place_is_taken_at_once() -> None:
    pool = Pool(
        Slope(weights=directions(5)), images(5), Keys.of(0, range(5)),
        lambda rows: Count(rows.clone(), rows.float()), width=3,
    )  # fmt: skip
    assert pool.rows.tolist() == [0, 1, 2]
    pool.leave(torch.tensor([True, False, True]))
    assert pool.rows.tolist() == [1, 3, 4]
    assert values(pool.state) == ([1, 3, 4], [1, 3, 4])
    pool.leave(torch.tensor([True, True, False]))
    assert pool.rows.tolist() == [4]


def test_a_pool_of_nobody_is_empty() -> None:
    none = torch.zeros(0, dtype=torch.long)
    pool = Pool(
        Slope(weights=directions(3)), images(3), Keys.of(0, range(3)),
        lambda rows: Count(rows, rows.float()), rows=none, width=2,
    )  # fmt: skip
    assert not len(pool)


# --- the diary ---------------------------------------------------------------------------------


def test_a_diary_keeps_first_middle_and_last_and_counts_sick_gradients() -> None:
    diary, rows = Diary(images(3)), torch.tensor([2, 0])
    yes, no = torch.tensor([True, True]), torch.tensor([False, False])
    sick = torch.ones(2, 3, 4, 4)
    sick[0], sick[1, 0, 0, 0] = 0, float("nan")
    diary.note(rows, torch.tensor([1.0, 2.0]), first=yes, early=yes)
    diary.note(rows, torch.tensor([3.0, 4.0]), sick, early=torch.tensor([True, False]))
    diary.note(rows, torch.tensor([5.0, 6.0]), torch.ones(2, 3, 4, 4), early=no)
    trace = diary.trace()
    assert trace.first_loss[rows].tolist() == [1, 2]
    assert trace.middle_loss[rows].tolist() == [3, 2]
    assert trace.last_loss[rows].tolist() == [5, 6]
    assert bool(trace.last_loss[1].isnan())
    assert trace.steps.tolist() == [2, 0, 2]
    assert trace.zero_gradient.tolist() == [0, 0, 0.5]
    assert trace.bad_gradient.tolist() == [0.5, 0, 0]
