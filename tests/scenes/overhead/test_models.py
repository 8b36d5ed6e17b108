"""Models of sites: trained for a few steps, written with a card, read again by their path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook import data
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.scenes.overhead import training
from secondlook.scenes.overhead.captions import PROMPT, captions, class_names, vocabulary
from secondlook.scenes.overhead.world import sample

NAMES = ("overhead-clip", "overhead-classifier", "overhead-mlm", "overhead-vae", "overhead-painter")


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models, each trained for three steps on a handful of sites."""
    folder, whole = tmp_path_factory.mktemp("weights"), training.recipes

    def short(where: Path = folder) -> dict[str, Any]:
        return {
            name: replace(model, recipe=replace(model.recipe, steps=3, batch=8, images=24))
            for name, model in whole(where).items()
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "recipes", short)
        patch.setattr(training, "MEASURED_ON", 12)
        for name in NAMES:
            training.train_overhead(name, folder, device="cpu", tick=silent)
    return folder


def test_all_are_read_again_with_their_words(shelf: Path) -> None:
    texts = list(captions(sample(0, "test", 0)))
    x = data.load("overhead:test").read([0, 1], None).images
    clip, mlm = load(f"local:{shelf / 'overhead-clip'}"), load(f"local:{shelf / 'overhead-mlm'}")
    assert clip.embed_text(texts).shape == (5, 128) and clip.prompt == PROMPT
    assert clip.embed(x).shape == (2, 128)
    assert ZeroShot(clip, class_names(), PROMPT)(x).shape == (2, 12)
    pieces = mlm.tokenize(texts[:1])
    assert mlm.detokenize(pieces.ids[0, 1:3].tolist()) == " ".join(texts[0].split()[:2])
    assert mlm.logits(pieces.ids).shape[-1] == len(vocabulary()) + 5
    classifier = load(f"local:{shelf / 'overhead-classifier'}")
    assert classifier.classes == class_names() and classifier(x).shape == (2, 12)
    assert load(f"local:{shelf / 'overhead-vae'}").reconstruct(x, Keys.of(0, "ab")).shape == x.shape


def test_a_painter_paints_captions_of_sites(shelf: Path) -> None:
    painter = load(f"local:{shelf / 'overhead-painter'}")
    texts = [captions(sample(0, "test", row))[0] for row in range(2)]
    made = painter.paint(texts, Keys.of(0, "ab"), steps=2)
    assert made.shape == (2, 3, 64, 64)
    assert 0 <= float(made.min()) < float(made.max()) <= 1
    alone = painter.paint(texts[1:], Keys.of(0, "b"), steps=2)
    assert torch.allclose(alone, made[1:], atol=1e-4)


def test_the_classifier_and_the_image_tower_are_of_one_make(shelf: Path) -> None:
    towers = [load(f"local:{shelf / name}").network for name in NAMES[:2]]
    first, second = towers[0].image[:-1], towers[1].trunk
    shapes = [[tuple(p.shape) for p in each.parameters()] for each in (first, second)]
    assert shapes[0] == shapes[1]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="overhead-clip"):
        training.train_overhead("overhead-clop", tmp_path, device="cpu", tick=silent)
    eyes = training.painter_objective(tmp_path)
    with pytest.raises(InvalidInput, match="secondlook train overhead-vae --out"):
        eyes(training.recipes(tmp_path)["overhead-painter"].network(), None, "cpu")  # type: ignore[arg-type]
