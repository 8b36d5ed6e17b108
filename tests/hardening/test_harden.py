"""From a name to a hardened model that is read again: weights, card, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook import registry
from secondlook.errors import InvalidInput, UnknownName
from secondlook.hardening import harden as module, trainer
from secondlook.hardening.harden import HardeningConfig, harden
from secondlook.hardening.output import output_paths
from secondlook.hardening.trainer import TrainingConfig
from secondlook.models import load
from secondlook.models.base import Embedder
from tests.tiny import write_folder

COURSE = TrainingConfig(steps=3, batch=6, rate=1e-3)
Run = Callable[..., dict[str, Any]]


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Hardens for three steps on a handful of scenes."""
    monkeypatch.setattr(module, "TRAIN_SCENES", 24)
    monkeypatch.setattr(module, "VALIDATION_SCENES", 8)
    monkeypatch.setattr(module, "TEST_SCENES", 10)

    def call(method: str = "tecoa", model: str = "scenes:clip", **changes: Any) -> dict[str, Any]:
        made = registry.build("method", method, changes.pop("settings", {}))
        out = changes.pop("out", tmp_path)
        given = {"training": COURSE, "command": "secondlook harden", **changes}
        return harden(HardeningConfig(model=model, method=made, **given), out, silent)

    return call


def embed(model: Embedder) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(0, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    with torch.no_grad():
        return model.embed(x), model.embed_text(["a red circle"])


def test_what_was_hardened_is_read_again_as_it_was_measured(run: Run, tmp_path: Path) -> None:
    card = run("tecoa", settings={"eps": 8 / 255})
    assert sorted(file.name for file in tmp_path.glob("[!.]*")) == ["clip-tecoa.json", "clip-tecoa.safetensors"]
    hardened, base = load(f"local:{tmp_path / 'clip-tecoa'}"), load("scenes:clip")
    (image, text), (old_image, old_text) = embed(hardened), embed(base)
    assert not torch.allclose(image, old_image, atol=1e-3)
    assert torch.equal(text, old_text)
    assert hardened.name == f"local:{tmp_path / 'clip-tecoa'}"
    assert hardened.hash != base.hash
    assert not any(p.requires_grad for p in hardened.network.parameters())
    assert set(card["measured"]) == {
        "zero_shot_top1",
        "pgd20_top1_8_255",
        "transfer_top1_8_255",
        "image_to_text_r1",
        "text_to_image_r1",
    }
    assert card["base"] == {"name": "scenes:clip", "hash": base.weights_hash}
    assert card == json.loads((tmp_path / "clip-tecoa.json").read_text())


def test_only_what_differs_is_stored(run: Run, tmp_path: Path) -> None:
    run("fare")
    run("tecoa-itr")
    small, whole = (tmp_path / f"clip-{name}.safetensors" for name in ("fare", "tecoa-itr"))
    parameters = sum(p.numel() for p in load("scenes:clip").network.parameters())
    assert small.stat().st_size < 2 * 0.75 * parameters
    assert whole.stat().st_size > 2 * parameters * 0.95


def test_a_hardened_model_can_be_hardened_again(run: Run, tmp_path: Path) -> None:
    run("tecoa")
    first = f"local:{tmp_path / 'clip-tecoa'}"
    run("fare", model=first)
    again = load(f"local:{tmp_path / 'clip-tecoa-fare'}")
    assert not torch.equal(embed(again)[0], embed(load(first))[0])


def test_a_model_of_ones_own_on_images_of_ones_own(run: Run, tmp_path: Path) -> None:
    """Nothing of the embedded world is in it; without --test nothing is measured."""
    data = f"folder:{write_folder(tmp_path / 'images', 12)}"
    model = "python:tests.hardening.colors:factory"
    card = run("tecoa", model=model, data=data)
    assert card["measured"] == {} and "no --test" in card["measured_on"]
    assert card["license"] == "that of the base"
    path = tmp_path / "colors-factory-tecoa"
    assert (tmp_path / f"{card['name']}.json").exists(), path
    card = run("fare", model=model, data=data, test=data)
    assert set(card["measured"]) == {"zero_shot_top1", "pgd20_top1_2_255", "transfer_top1_2_255"}
    hardened = load(f"local:{tmp_path / card['name']}?trust=true")
    assert hardened.embed(torch.full((1, 3, 8, 8), 0.6)).shape == (1, 3)


def test_a_finished_one_is_not_begun_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = run()
    monkeypatch.setattr(trainer.Training, "run", None)
    assert run() == card
    with pytest.raises(InvalidInput, match=r"training.seed=0, not 1.*another --out"):
        run(training=TrainingConfig(steps=3, batch=6, rate=1e-3, seed=1))


def test_another_models_files_are_not_written_over(run: Run, tmp_path: Path) -> None:
    where = tmp_path / "clip-tecoa.json"
    where.write_text('{"name": "scenes:clip", "recipe": {"steps": 1}}')
    with pytest.raises(InvalidInput, match="is of another model; give another --out"):
        run()


def test_a_checkpoint_of_another_model_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: trainer.Training, *rest: Any) -> None:
        self._save()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer.Training, "run", killed)
        run()
    (tmp_path / "clip-tecoa.checkpoint").rename(tmp_path / "clip-vit-tecoa.checkpoint")
    with pytest.raises(InvalidInput, match="model.name='scenes:clip', not 'scenes:clip-vit'"):
        run(model="scenes:clip-vit")


def test_what_has_no_texts_is_refused(run: Run) -> None:
    with pytest.raises(InvalidInput, match="scenes:vae is no embedder"):
        run(model="scenes:vae")
    with pytest.raises(UnknownName, match="scenes:clip"):
        run(model="scenes:clop")


def test_a_set_smaller_than_a_batch_is_refused(run: Run) -> None:
    with pytest.raises(InvalidInput, match="24 samples do not fill a batch of 25"):
        run(training=TrainingConfig(steps=3, batch=25))


def test_a_base_with_other_weights_is_refused(run: Run, tmp_path: Path) -> None:
    run()
    path = tmp_path / "clip-tecoa.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "base": {"name": "scenes:clip-vit", "hash": "0"}}))
    with pytest.raises(InvalidInput, match="made of scenes:clip-vit with weights 0, and here"):
        load(f"local:{tmp_path / 'clip-tecoa'}")


def test_damaged_weights_are_refused(run: Run, tmp_path: Path) -> None:
    run()
    path = tmp_path / "clip-tecoa.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InvalidInput, match="SHA-256"):
        load(f"local:{tmp_path / 'clip-tecoa'}")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("scenes:clip", "clip-tecoa"),
        ("hf:openai/clip-vit-base-patch32?resolution=native", "clip-vit-base-patch32-tecoa"),
        ("hf:models/mine/", "mine-tecoa"),
        ("local:weights/clip", "clip-tecoa"),
    ],
)
def test_files_are_called_after_model_and_method(model: str, name: str, tmp_path: Path) -> None:
    assert output_paths(tmp_path, model, registry.build("method", "tecoa", {})).name == name
