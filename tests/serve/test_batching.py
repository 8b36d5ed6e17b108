"""Batches are small, deadlines hold, and a slow batch does not close the door for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from secondlook.serve.batching import Batcher, Late, Shed


def running(batcher: Callable[[], Batcher[Any, Any]], asks: Callable[[Batcher[Any, Any]], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        made = batcher()
        task = asyncio.create_task(made.run())
        try:
            await asks(made)
        finally:
            task.cancel()
            made.close()

    asyncio.run(all_of_it())


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def test_requests_are_answered_together_and_each_with_its_own() -> None:
    sizes: list[int] = []

    def work(given: list[int]) -> list[int]:
        sizes.append(len(given))
        return [each * each for each in given]

    async def asks(made: Batcher[Any, Any]) -> None:
        found = await asyncio.gather(*(made.ask(each, soon()) for each in range(10)))
        assert found == [each * each for each in range(10)]

    running(lambda: Batcher(work, size=4), asks)
    assert max(sizes) <= 4 and len(sizes) < 10


def test_an_error_is_the_answer_to_its_batch_alone() -> None:
    def work(given: list[int]) -> list[int]:
        if 13 in given:
            raise ValueError("unlucky")
        return given

    async def asks(made: Batcher[Any, Any]) -> None:
        with pytest.raises(ValueError, match="unlucky"):
            await made.ask(13, soon())
        assert await made.ask(1, soon()) == 1

    running(lambda: Batcher(work, size=1), asks)


def test_who_is_late_is_told_and_what_nobody_waits_for_is_not_done() -> None:
    done: list[str] = []

    def work(given: list[str]) -> list[str]:
        done.extend(given)
        time.sleep(0.4)
        return given

    async def asks(made: Batcher[Any, Any]) -> None:
        first = asyncio.create_task(made.ask("first", soon()))
        await asyncio.sleep(0.1)
        with pytest.raises(Late):
            await made.ask("second", soon(0.15))
        assert await first == "first"
        await asyncio.sleep(0.1)

    running(lambda: Batcher(work, size=1), asks)
    assert done == ["first"]


def test_a_full_queue_and_a_sure_delay_are_refused_at_once() -> None:
    def work(given: list[int]) -> list[int]:
        time.sleep(0.2)
        return given

    async def asks(made: Batcher[Any, Any]) -> None:
        assert await made.ask(0, soon()) == 0
        running_ = asyncio.create_task(made.ask(1, soon()))
        await asyncio.sleep(0.05)
        with pytest.raises(Shed) as shed:
            await made.ask(2, soon(0.1))
        assert shed.value.reason == "deadline" and shed.value.after > 0
        waiting = [asyncio.create_task(made.ask(each, soon())) for each in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(Shed) as shed:
            await made.ask(9, soon())
        assert shed.value.reason == "queue"
        await asyncio.gather(running_, *waiting)

    running(lambda: Batcher(work, size=1, room=2), asks)


def test_one_slow_batch_does_not_refuse_all_that_come_later() -> None:
    times = iter([0.5, 0.0, 0.0])

    def work(given: list[int]) -> list[int]:
        time.sleep(next(times))
        return given

    async def asks(made: Batcher[Any, Any]) -> None:
        assert await made.ask(1, soon()) == 1
        assert made.wait > 0.3
        assert await made.ask(2, soon(0.3)) == 2

    running(lambda: Batcher(work), asks)
