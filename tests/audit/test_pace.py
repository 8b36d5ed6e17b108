"""What is left of a run is known after a tenth of it, by its own jobs alone."""

import random

import pytest

from secondlook import ledger
from secondlook.audit.pace import Job, Pace
from secondlook.ledger import counting


class Clock:
    """Stands still but for what is said to take time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def remaining(kinds: int, chunks: int, spread: float, measured: bool, seed: int) -> list[tuple[float, float]]:
    """Of each tick of a run the share that is over and what it says is left, for what is."""
    draws, clock, told = random.Random(seed), Clock(), list[tuple[float, float]]()
    reckoned = {f"row {kind}": draws.choice([1.0, 5.0, 40.0]) for kind in range(kinds)}
    takes = {kind: seconds * 0.4 * draws.uniform(1 - spread, 1 + spread) for kind, seconds in reckoned.items()}
    whole = chunks * sum(takes.values())

    def tick(done: int, of: int, what: str) -> None:
        over = clock.now - 100
        told.append((over / whole, (of - done) / 1000 / max(whole - over, 1e-9)))

    jobs = [Job(kind, seconds) for _ in range(chunks) for kind, seconds in reckoned.items()]
    pace = Pace(tick, jobs, measured=measured, clock=clock)
    for _ in range(chunks):
        for kind, seconds in takes.items():
            with pace.doing(kind, kind), counting():
                clock.now += seconds
    return told


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize(("chunks", "spread"), [(20, 0.9), (12, 0.5), (1, 0.2)])
def test_after_a_tenth_what_is_left_holds_within_a_quarter(chunks: int, spread: float, measured: bool) -> None:
    """Attacks that end early take less than is reckoned, each row by a share of its own."""
    for seed in range(20):
        said = [ratio for share, ratio in remaining(30, chunks, spread, measured, seed) if 0.1 <= share < 1]
        assert said and all(0.75 <= ratio <= 1.25 for ratio in said), (seed, min(said), max(said))


def test_a_job_at_work_is_told_by_its_forwards() -> None:
    clock, told = Clock(), list[tuple[int, int, str]]()
    jobs = [Job("jpeg", 10.0, 80), Job("noise", 30.0)]
    pace = Pace(lambda *each: told.append(each), jobs, measured=True, clock=clock)
    with pace.doing("jpeg", "row 1 of 2"):
        clock.now += 4
        ledger._open[-1].forward("clip", 50)
        clock.now += 16
        ledger._open[-1].forward("clip", 50)
    assert told[0] == (0, 40_000, "row 1 of 2")
    assert told[1] == (4_000, 40_000, "row 1 of 2, 50 of at most 80 forwards")
    assert told[2] == (20_000, 50_000, "row 1 of 2, 100 forwards")
    assert pace.left() == 60.0


def test_nothing_is_said_of_what_is_left_before_anything_is_known() -> None:
    told = list[tuple[int, int, str]]()
    pace = Pace(lambda *each: told.append(each), [Job("jpeg", 10.0)])
    assert pace.left() is None
    with pace.doing("jpeg", "row 1"):
        pass
    assert told == [(0, 1, "row 1")]
    assert pace.left() == 0
