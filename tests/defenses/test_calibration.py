"""Split-conformal thresholds: their rank, their guarantee on fresh data, and what feeds them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from secondlook.data import load
from secondlook.data.base import Samples, Source
from secondlook.data.captioned import CaptionedFiles
from secondlook.data.files import Files
from secondlook.defenses.calibration import clean_scores, conformal_threshold, refuse_evaluated, samples_needed
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys

CALIBRATIONS = 2000


@pytest.mark.parametrize(
    ("n", "alpha", "rank"), [(19, 0.05, 19), (99, 0.05, 95), (100, 0.05, 96), (9, 0.1, 9), (10, 0.3, 8), (99, 0.01, 99)]
)
def test_the_threshold_is_the_score_of_that_rank(n: int, alpha: float, rank: int) -> None:
    shuffled = torch.arange(1.0, n + 1)[torch.arange(n) * 7 % n if n % 7 else torch.arange(n)]
    assert conformal_threshold(shuffled, alpha) == rank


@pytest.mark.parametrize(("alpha", "enough"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.3, 3)])
def test_too_few_samples_say_how_many_are_needed(alpha: float, enough: int) -> None:
    assert samples_needed(alpha) == enough
    conformal_threshold(torch.zeros(enough), alpha)
    with pytest.raises(InvalidInput, match=rf"rejection of {alpha:g}; {enough} or more"):
        conformal_threshold(torch.zeros(enough - 1), alpha)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_a_rate_is_between_none_and_all(alpha: float) -> None:
    with pytest.raises(InvalidInput, match=r"outside \(0, 1\); write 0.05"):
        conformal_threshold(torch.zeros(1000), alpha)


def test_nan_is_no_score() -> None:
    with pytest.raises(InvalidInput, match="NaN"):
        conformal_threshold(torch.tensor([0.0, float("nan"), 1.0]), 0.5)


@given(st.lists(st.integers(0, 5), min_size=20, max_size=60), st.sampled_from([0.05, 0.1, 0.25, 0.5]))
def test_of_the_held_out_and_one_more_at_most_alpha_are_above(scores: list[int], alpha: float) -> None:
    """The whole argument: any of n + 1 exchangeable scores is the new one, ties included."""
    values = torch.tensor(scores, dtype=torch.float32)
    above = 0
    for left_out in range(len(values)):
        others = torch.cat([values[:left_out], values[left_out + 1 :]])
        above += float(values[left_out]) > conformal_threshold(others, alpha)
    assert above <= alpha * len(values)


@pytest.mark.parametrize(("n", "alpha"), [(99, 0.05), (50, 0.05), (200, 0.1)])
def test_false_rejections_are_within_their_interval_on_fresh_data(n: int, alpha: float) -> None:
    draws = Keys.of(0, range(CALIBRATIONS)).fold("calibration", n).uniform((n + 20,))
    held_out, fresh = draws[:, :n], draws[:, n:]
    thresholds = torch.tensor([conformal_threshold(row, alpha) for row in held_out])
    # Of a uniform score the share above a threshold is known: the rate of each calibration.
    rates = 1 - thresholds
    spread = 4 * float(rates.std()) / CALIBRATIONS**0.5
    assert alpha - 1 / (n + 1) - spread < float(rates.mean()) <= alpha + spread
    counted = (fresh > thresholds[:, None]).float().mean(1)
    spread = 4 * float(counted.std()) / CALIBRATIONS**0.5
    assert alpha - 1 / (n + 1) - spread < float(counted.mean()) <= alpha + spread


def test_ties_reject_less_and_never_more() -> None:
    draws = Keys.of(0, range(CALIBRATIONS)).fold("ties").uniform((150,)).mul(8).floor()
    thresholds = torch.tensor([conformal_threshold(row[:100], 0.05) for row in draws])
    assert float((draws[:, 100:] > thresholds[:, None]).float().mean()) < 0.01


class Ladder(Source):
    """Image number ``row`` has the level ``row / 255``."""

    def __init__(self, n: int) -> None:
        self.ids = tuple(f"rung-{row}" for row in range(n))
        self.classes = ("low", "high")
        self.asked: list[int] = []

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        self.asked.append(len(rows))
        levels = torch.tensor(rows, dtype=torch.float32).view(-1, 1, 1, 1) / 255
        return Samples(levels.expand(-1, 3, *(size or (1, 1))), torch.zeros(len(rows)).long())


def level(x: Tensor, keys: Keys) -> Tensor:
    assert len(keys) == len(x)
    return (x[:, 0, 0, 0] * 255).round()


def test_a_source_is_read_batch_by_batch_and_each_image_once() -> None:
    source = Ladder(150)
    scores = clean_scores(source, level, (2, 3), 0)
    assert sorted(scores.tolist()) == list(range(150))
    assert source.asked == [64, 64, 22]


def test_some_of_a_sorted_source_are_chosen_from_all_of_it() -> None:
    some = clean_scores(Ladder(150), level, None, 40)
    assert len(set(some.tolist())) == 40
    assert float(some.min()) < 30 < 120 < float(some.max())
    assert torch.equal(clean_scores(Ladder(150), level, None, 40), some)


def files(folder: Path, *names: str) -> Files:
    return Files(ids=names, classes=("a", "b"), paths=tuple(folder / name for name in names), truth=(0,) * len(names))


def test_data_that_is_evaluated_is_no_data_to_calibrate_on(tmp_path: Path) -> None:
    held_out = files(tmp_path / "val", "1.png", "2.png")
    refuse_evaluated(held_out, files(tmp_path / "test", "1.png", "2.png"))
    refuse_evaluated(held_out, Ladder(3))
    with pytest.raises(InvalidInput, match=r"1 images that are evaluated .*2\.png is one"):
        refuse_evaluated(held_out, files(tmp_path / "test" / ".." / "val", "2.png", "3.png"))
    with pytest.raises(InvalidInput, match="3 images .* rung-0 is one"):
        refuse_evaluated(Ladder(5), Ladder(3))


def test_captions_do_not_make_other_images_of_the_same(tmp_path: Path) -> None:
    scenes = load("scenes:test", n=3)
    with pytest.raises(InvalidInput, match="3 images .* test-0 is one"):
        refuse_evaluated(scenes, scenes.captioned())
    refuse_evaluated(load("scenes:calibration", n=3), scenes.captioned())
    own = files(tmp_path / "val", "1.png", "2.png")
    told = CaptionedFiles(ids=("a",), texts=("a dog",), owner=(0,), paths=(own.paths[1],), place="here")
    with pytest.raises(InvalidInput, match=r"1 images .*2\.png is one"):
        refuse_evaluated(own, told)
