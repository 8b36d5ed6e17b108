"""Scenes that are imagined of sentences, and the painter that draws them."""

import numpy as np
import pytest
import torch

from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.scenes.captions import captions
from secondlook.scenes.models.grammar_painter import scene_from_text
from secondlook.scenes.parsing import verify
from secondlook.scenes.renderer import render
from secondlook.scenes.sampling import sample
from tests.analytic import global_generators

SCENES = [sample(0, "test", index) for index in range(120)]
TEXTS = ["a red star", "a big blue ring on the left and a pink heart above it, on a plain navy ground"]


def scene(text: str, seed: int = 0):  # type: ignore[no-untyped-def]
    return scene_from_text(text, np.random.default_rng(seed))


def test_what_a_caption_says_is_so_in_what_is_imagined() -> None:
    held = [verify(text, scene(text, row)) for row, real in enumerate(SCENES) for text in captions(real)]
    assert all(truth.main for truth in held)
    # A relation along a diagonal may be turned by the jitter of the places.
    assert sum(truth.whole for truth in held) / len(held) > 0.97
    assert sum(truth.true for truth in held) / sum(truth.claims for truth in held) > 0.99


def test_what_is_left_open_is_drawn() -> None:
    many = [scene("a red star", seed) for seed in range(200)]
    assert {(each.main.color, each.main.shape) for each in many} == {("red", "star")}
    assert len({each.main.place for each in many}) == 9
    assert len({each.background.color for each in many}) == 6
    assert {each.main.size for each in many} == {"medium", "large"}


@pytest.mark.parametrize("text", ["", "nothing that is known", "on a plain navy ground"])
def test_without_a_thing_there_is_a_background(text: str) -> None:
    empty = scene(text)
    assert empty.objects == ()
    assert render(empty).shape == (64, 64, 3)
    assert "navy" not in text or empty.background.color == "navy"


def test_more_things_than_there_is_room_for_are_painted_all_the_same() -> None:
    crowd = ", ".join(f"a small {color} ring left of it" for color in ("red", "blue", "green"))
    assert len(scene(f"a large white star on the left, {crowd}, {crowd}").objects) == 7


def test_the_grammar_painter_is_keyed_and_has_no_weights() -> None:
    painter, keys, before = (load("scenes:painter-grammar"), Keys.of(0, range(2)), global_generators())
    made = painter.paint(TEXTS, keys)
    assert made.shape == (2, 3, 64, 64)
    assert torch.equal(painter.paint(TEXTS[1:], keys[1:]), made[1:])
    assert not torch.equal(painter.paint(TEXTS, keys.fold("again")), made)
    assert torch.equal(made[0], _pixels(TEXTS[0], keys))
    assert painter.modules == ()
    assert global_generators() == before


def _pixels(text: str, keys: Keys) -> torch.Tensor:
    rng = np.random.default_rng(int(keys.fold("scene").words[0]))
    return torch.from_numpy(render(scene_from_text(text, rng))).permute(2, 0, 1) / 255
