"""The drift alarm is as rare as it says while nothing changes, and sounds when something does."""

import random

from scipy.stats import kstest

from secondlook.serve.drift import Drift


def drawn(count: int, shift: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(shift, 1) for _ in range(count)]


def test_it_rarely_sounds_where_nothing_changes() -> None:
    alarms = 0
    for seed in range(200):
        made = Drift(drawn(100, 0, seed), delta=0.1, seed=seed)
        for value in drawn(200, 0, 1000 + seed):
            made.add(value)
        alarms += made.alarm
    assert alarms <= 32, "P(Binomial(200, 0.1) > 32) is below 0.3 %"


def test_it_sounds_where_suspicions_rise() -> None:
    made = Drift(drawn(500, 0, 1), delta=0.01, seed=0)
    for value in drawn(100, 1.5, 2):
        made.add(value)
    assert made.alarm and made.capital >= 100


def test_p_values_are_uniform_even_where_scores_are_tied() -> None:
    rng = random.Random(0)
    made = Drift([float(rng.randrange(3)) for _ in range(300)], seed=1)
    p = [made.add(float(rng.randrange(3))) for _ in range(500)]
    assert kstest(p, "uniform").pvalue > 0.001


def test_it_begins_anew_before_memory_ends() -> None:
    made = Drift(drawn(50, 0, 0), most=120, seed=0)
    for value in drawn(1000, 0, 1):
        made.add(value)
    assert len(made._scores) <= 121 and made.seen == 1000
