"""The course: rates, and which samples each step sees."""

from __future__ import annotations

from collections import Counter

import pytest

from secondlook.errors import InvalidInput
from secondlook.hardening.course import Course


def test_the_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    course = Course(steps=100, rate=1.0 - 1e-9, warmup=0.1)
    rates = [course.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert Course(steps=10, rate=0.5, warmup=0.0).rate_at(0) == 0.5


def test_an_epoch_sees_each_sample_once_and_the_next_in_another_order() -> None:
    course = Course(steps=8, batch=5)
    epochs = [sum((course.rows(step, 20) for step in range(at, at + 4)), []) for at in (0, 4)]
    assert all(Counter(rows) == Counter(range(20)) for rows in epochs)
    assert epochs[0] != epochs[1]
    assert course.rows(6, 20) == Course(steps=8, batch=5).rows(6, 20)
    assert course.rows(0, 20) != Course(steps=8, batch=5, seed=1).rows(0, 20)


def test_what_does_not_fill_a_batch_waits_for_another_epoch() -> None:
    course = Course(steps=8, batch=5)
    for epoch in range(3):
        rows = [row for step in (0, 1) for row in course.rows(2 * epoch + step, 12)]
        assert len(set(rows)) == 10


def test_fewer_samples_than_a_batch_are_refused_with_the_mend() -> None:
    with pytest.raises(InvalidInput, match=r"7 samples do not fill a batch of 8.*--batch 7"):
        Course(batch=8).rows(0, 7)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("batch", 1), ("rate", 0.0), ("rate", 1.0), ("warmup", 1.0), ("average", -0.1)],
)
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=field):
        Course(**{field: value})  # type: ignore[arg-type]
