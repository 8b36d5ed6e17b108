"""Recalls and what an attack takes of them, by hand."""

import numpy as np
import pytest

from secondlook import statistics
from secondlook.errors import InvalidInput
from secondlook.metrics.retrieval import asr, drop, mean_recall, recall

BEFORE = [[1, 1], [1, 6], [2, 1], [1, 12]]
AFTER = [[1, 3], [8, 1], [1, 2], [1, 1]]


def test_the_hit_rate_and_what_it_is_of() -> None:
    assert [recall(BEFORE, k).interval.value for k in (1, 5, 10)] == [5 / 8, 6 / 8, 7 / 8]
    assert recall(BEFORE, 1).of == 8
    assert recall([[1], [1], [2, 1, 1]], 1).interval.value == 4 / 5


def test_an_interval_counts_images_and_not_their_captions() -> None:
    found = recall([[1] * 5] * 3 + [[9] * 5] * 1, 1).interval
    assert found == statistics.wilson(3, 4)
    assert found.low < statistics.wilson(15, 20).low


def test_three_figures_that_are_taken_for_one_another() -> None:
    """Of five searches that were right, three no more are; three others became right."""
    found = asr(BEFORE, AFTER, 1)
    assert (found.interval.value, found.of) == (3 / 5, 5)
    assert found.interval == statistics.wilson(3 / 5 * 4, 4)
    assert drop(BEFORE, AFTER, 1).value == pytest.approx(5 / 8 - 5 / 8)
    assert drop(BEFORE, [[2, 2]] * 4, 1).value == pytest.approx(5 / 8)
    assert asr(BEFORE, [[2, 2]] * 4, 1).interval.value == 1


def test_the_drop_is_the_difference_of_the_recalls_whatever_the_groups() -> None:
    before = [[1], [1, 1, 9], [2, 1]]
    after = [[3], [1, 7, 9], [1, 1]]
    lost = recall(before, 1).interval.value - recall(after, 1).interval.value
    found = drop(before, after, 1)
    assert found.value == pytest.approx(lost)
    assert found.low <= found.value <= found.high


def test_nothing_that_could_be_lost() -> None:
    found = asr([[2], [3]], [[1], [9]], 1)
    assert found.of == 0 and np.isnan(found.interval.value)


def test_the_mean_of_six() -> None:
    texts, images = [[1], [3], [20]], [[1, 7], [2, 2], [11, 1]]
    singles = [recall(way, k).interval.value for way in (texts, images) for k in (1, 5, 10)]
    assert mean_recall(texts, images).value == pytest.approx(np.mean(singles))


def test_other_searches_are_no_comparison() -> None:
    with pytest.raises(InvalidInput, match="not of the same searches"):
        asr([[1], [1]], [[1, 1]], 1)
    with pytest.raises(InvalidInput, match="not of the same searches"):
        drop([[1]], [[1, 1]], 1)
