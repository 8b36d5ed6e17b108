"""Passes are counted where they happen, per sample, once, and in every open ledger."""

import sys
import time
from collections.abc import Callable

import pytest
import torch

from secondlook import ledger as ledger_module
from secondlook.ledger import Ledger, by_turns, counting, peak_memory, tally


def test_forwards_and_backwards_are_counted_per_sample() -> None:
    x = torch.zeros(5, 3, requires_grad=True)
    with counting() as ledger:
        loss = tally("eye", x).sum() + tally("ear", x[:2]).sum()
        assert (ledger.forwards, ledger.backwards) == (7, 0)
        torch.autograd.grad(loss, x)
    assert (ledger.forwards, ledger.backwards) == (7, 7)
    assert ledger.by_model == {"eye": [5, 5], "ear": [2, 2]}


def test_a_tally_changes_neither_value_nor_gradient() -> None:
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    with counting():
        seen = tally("eye", x)
        (gradient,) = torch.autograd.grad((seen**2).sum(), x)
    assert torch.equal(seen, x)
    assert torch.equal(gradient, 2 * x)


@pytest.mark.parametrize("needs_gradient", [True, False])
def test_without_a_gradient_there_is_no_backward(needs_gradient: bool) -> None:
    x = torch.zeros(4, 3, requires_grad=needs_gradient)
    with counting() as ledger, torch.set_grad_enabled(not needs_gradient):
        assert tally("eye", x) is x
    assert (ledger.forwards, ledger.backwards) == (4, 0)


def test_ledgers_nest_and_close() -> None:
    x = torch.zeros(1, 2, requires_grad=True)
    with counting() as outer:
        tally("eye", x)
        with counting() as inner:
            torch.autograd.grad(tally("eye", x.expand(3, 2)).sum(), x)
        torch.autograd.grad(tally("eye", x).sum(), x)
    tally("eye", x)
    assert (outer.forwards, outer.backwards) == (5, 4)
    assert (inner.forwards, inner.backwards) == (3, 3)


def test_a_ledger_closes_when_its_block_fails() -> None:
    with pytest.raises(RuntimeError), counting() as ledger:
        raise RuntimeError
    tally("eye", torch.zeros(1))
    assert ledger.forwards == 0
    assert ledger.seconds > 0


def test_time_adds_up_over_blocks() -> None:
    ledger = Ledger()
    for _ in range(2):
        with ledger.timed():
            time.sleep(0.005)
    assert ledger.seconds >= 0.01
    assert ledger.as_dict() == {
        "forwards": 0,
        "backwards": 0,
        "by_model": {},
        "seconds": ledger.seconds,
        "peak_memory": ledger.peak_memory,
    }


def test_memory_is_in_bytes() -> None:
    assert 50 * 2**20 < peak_memory() < 2**44


def test_a_listener_is_told_of_every_forward() -> None:
    heard: list[int] = []
    with counting(heard.append) as ledger:
        tally("eye", torch.zeros(3, 1))
        with counting():
            tally("ear", torch.zeros(2, 1))
    assert heard == [3, 5] and ledger.forwards == 5


def test_a_system_without_the_resource_module_reports_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert peak_memory() == 0


def test_acts_take_turns_and_the_median_of_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of something else on the machine falls on one turn, and not on one act."""
    now, order = [0.0], list[str]()
    monkeypatch.setattr(ledger_module.time, "perf_counter", lambda: now[0])

    def act(name: str, *takes: float) -> Callable[[], None]:
        left = list(takes)

        def run() -> None:
            order.append(name)
            now[0] += left.pop(0)

        return run

    assert by_turns(act("a", 9, 1, 7, 1), act("b", 9, 2, 9, 2), seconds=99) == [1, 2]
    assert order == ["a", "b"] * 4
    assert by_turns(act("a", 4), act("b", 5), seconds=2) == [4, 5], "what is long is timed once"
    assert by_turns(act("a", 2, 3), seconds=3) == [3], "the first turn warms up"


def test_what_is_timed_by_turns_is_not_counted() -> None:
    with counting() as ledger:
        by_turns(lambda: tally("a", torch.zeros(3, 1)))
    assert ledger.forwards == 0
