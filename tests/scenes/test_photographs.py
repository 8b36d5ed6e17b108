"""An embedder of photographs of the user's own: captions, variations, training, and its name."""

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from secondlook.data import load as load_data
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.scenes.training.loop import Recipe
from secondlook.scenes.training.photographs import NAME, PhotoSet, captions, train_photos, vocabulary

CLASSES = ("cat", "fire_engine", "sky")
COLORS = ((120, 120, 120), (220, 40, 30), (60, 110, 230))


def archive(path: Path, count: int, classes: tuple[str, ...] = CLASSES) -> str:
    """Photographs of one color and some grain a class, as JPEG files in the published layout."""
    rng, held = np.random.default_rng(0), list[bytes]()
    label = np.arange(count) % len(COLORS)
    for own in label:
        grain = rng.integers(-25, 26, (32, 32, 3))
        file = io.BytesIO()
        Image.fromarray((COLORS[own] + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG")
        held.append(file.getvalue())
    np.savez(
        path,
        label=label.astype(np.uint8),
        classes=np.array(classes),
        blob=np.frombuffer(b"".join(held), np.uint8),
        offset=np.cumsum([0, *map(len, held)]),
    )
    return f"cifar10:{path}"


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a model lies that was trained for a dozen steps."""
    out = tmp_path_factory.mktemp("photos")
    recipe = Recipe(steps=12, batch=16, rate=2e-3, seed=0)
    data, test = archive(out / "train.npz", 60), archive(out / "test.npz", 30)
    train_photos(data, out, test=test, device="cpu", tick=silent, recipe=recipe)
    return out


def test_captions_name_the_class_in_several_ways() -> None:
    cat, engine, _ = captions(CLASSES)
    assert "a photo of a cat" in cat
    assert "a photo of a kitten" in cat
    assert len(set(cat)) == len(cat) > 2 * len(engine)
    assert all("fire engine" in text for text in engine)
    assert {"kitten", "fire", "engine", "photo"} < set(vocabulary((cat, engine)))


def test_variations_are_shifts_of_the_own_photograph_and_half_of_them_mirrored() -> None:
    pixels = torch.randint(256, (40, 32, 32, 3), generator=torch.Generator().manual_seed(0))
    photos = PhotoSet(pixels=pixels.byte(), labels=torch.zeros(40), classes=CLASSES, prompt="{}")
    rows = torch.arange(40).flip(0)
    made = photos.varied(rows, torch.Generator().manual_seed(1))
    assert torch.equal(made, photos.varied(rows, torch.Generator().manual_seed(1)))
    moves = [move(x, own) for x, own in zip(made, photos.images(rows), strict=True)]
    assert len({shift for shift, _ in moves}) > 20
    assert 10 <= sum(mirrored for _, mirrored in moves) <= 30


def move(made: Tensor, own: Tensor) -> tuple[tuple[int, int], bool]:
    """The shift that made ``made`` of ``own``, and whether it was mirrored."""
    padded = F.pad(own[None], [4] * 4, mode="reflect")[0]
    for down, right, mirrored in product(range(9), range(9), (False, True)):
        cut = padded[:, down : down + 32, right : right + 32]
        if torch.equal(cut.flip(-1) if mirrored else cut, made):
            return (down, right), mirrored
    raise AssertionError("no shift of the photograph")


def test_what_was_trained_names_photographs_by_its_path(folder: Path) -> None:
    model = load(f"local:{folder}/{NAME}")
    assert isinstance(model, Embedder)
    assert model.name == f"local:{folder}/{NAME}"
    samples = load_data(f"cifar10:{folder}/test.npz").read(range(30), None)
    texts = model.embed_text([f"a photo of a {name}" for name in ("kitten", "fire engine", "sky")])
    with torch.no_grad():
        answer = (model.embed(samples.images) @ texts.T).argmax(1)
        large = (model.embed(F.interpolate(samples.images, scale_factor=2)) @ texts.T).argmax(1)
    assert float((answer == samples.truth).float().mean()) >= 0.9
    assert torch.equal(answer, large)


def test_its_card_tells_data_command_and_figures(folder: Path) -> None:
    again = train_photos(
        f"cifar10:{folder}/train.npz",
        folder / "again",
        test="",
        device="cpu",
        tick=silent,
        recipe=Recipe(steps=1, batch=4),
    )
    assert again["measured"] == {}
    assert again["command"] == f"secondlook train {NAME} --data cifar10:{folder}/train.npz"
    assert again["recipe"]["images"] == 60
    assert sorted(file.name for file in (folder / "again").iterdir()) == [f"{NAME}.json", f"{NAME}.safetensors"]


def test_names_that_lead_nowhere_are_told(folder: Path) -> None:
    with pytest.raises(UnknownName, match=f"did you mean local:{folder}/{NAME}"):
        load(f"local:{folder}/cifar10-clap")
    with pytest.raises(InvalidInput, match="no folder .*nowhere"):
        load(f"local:{folder}/nowhere/{NAME}")


def test_data_that_cannot_train_is_told(folder: Path, tmp_path: Path) -> None:
    other = archive(tmp_path / "other.npz", 9, ("cat", "dog", "bird"))
    lone = archive(tmp_path / "lone.npz", 3)
    for data, test, said in (
        ("", "", "add --data"),
        (lone, "", "a text for each image"),
        (f"cifar10:{folder}/train.npz", other, "other classes"),
    ):
        with pytest.raises(InvalidInput, match=said):
            train_photos(data, tmp_path, test=test, device="cpu", tick=silent)
