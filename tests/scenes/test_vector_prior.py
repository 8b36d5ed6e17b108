"""The prior of clean vectors: its schedule, what it knows of vectors that it never saw, and its files."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.data import load as load_data
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.clipure_diff import ClipureDiff, TowardsClean, surprise
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.scenes.models.vector_denoiser import signal
from secondlook.scenes.training.loop import Recipe
from secondlook.scenes.training.vector_prior import train_prior
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def test_the_schedule_is_the_cosine() -> None:
    shares = signal(torch.arange(1000.0))
    assert bool((shares.diff() < 0).all()) and float(shares[0]) == pytest.approx(1, abs=1e-3)
    assert float(shares[899]) == pytest.approx(math.cos((0.9 + 0.008) / 1.008 * math.pi / 2) ** 2, abs=1e-4)


@pytest.mark.parametrize("name", ["scenes:clip", "scenes:clip-vit"])
def test_the_prior_of_the_package_knows_vectors_that_it_never_saw(name: str) -> None:
    """Better than zero, whose error is 1, and the mean; and in the middle than the exact one of 100 vectors."""
    vectors = clip(name).embedder.embed(load_data("scenes:test").read(range(40), None).images)
    trained, exact = (
        Guarded(clip(name), settings).adaptation
        for settings in (ClipureDiff(), ClipureDiff(prior="exact", clean_samples=100))
    )
    assert isinstance(trained, TowardsClean) and isinstance(exact, TowardsClean)

    def mean(noised: Tensor, share: Tensor) -> Tensor:
        return exact.prior.known.mean(0).expand_as(noised)  # type: ignore[attr-defined,no-any-return]

    def errors(moment: float) -> list[float]:
        share, noise = signal(torch.full((40, 1), moment)), Keys.of(1, range(40)).normal(vectors.shape[1:])
        priors = (trained.prior, exact.prior, mean, lambda noised, _: torch.zeros_like(noised))
        return [float(surprise(each, vectors, share, noise).mean()) for each in priors]

    late, middle = errors(950.0), errors(500.0)
    assert late[3] == pytest.approx(1, abs=1e-4) and late[0] < 0.9 and late[0] < late[2]
    assert middle[0] < 0.3 * min(middle[1:])


def test_it_is_small() -> None:
    folder = files("secondlook.defenses.test_time").joinpath("weights")
    sizes = [len(each.read_bytes()) for each in folder.iterdir() if each.name.endswith(".safetensors")]
    assert len(sizes) == 3 and max(sizes) < 200_000


def test_a_training_leaves_a_prior_that_the_defense_reads(tmp_path: Path) -> None:
    def train(folder: str, steps: int) -> Path:
        recipe = Recipe(steps=steps, batch=16, rate=2e-3, seed=1)
        where, data = tmp_path / folder, "scenes:train?n=40"
        card = train_prior("scenes:clip", where, data=data, test=data, device="cpu", tick=silent, recipe=recipe)
        errors.append(card["measured"]["error_middle"])
        return where / str(card["name"])

    errors: list[float] = []
    short, long = train("short", 2), train("long", 150)
    assert errors[1] < 0.5 * errors[0]
    told = [Guarded(clip(), ClipureDiff(prior=str(each))).decide(X[:3], KEYS[:3]).scores for each in (short, long)]
    assert not same(*told) and bool(torch.isfinite(torch.stack(told)).all())
    assert not list(tmp_path.rglob("*.checkpoint"))


def test_what_has_no_vectors_or_no_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="scenes:classifier is no embedder"):
        train_prior("scenes:classifier", tmp_path, data="", test="", device="cpu", tick=silent)
    with pytest.raises(InvalidInput, match="a prior takes some hundreds"):
        train_prior("scenes:clip", tmp_path, data="scenes:train?n=1", test="", device="cpu", tick=silent)
