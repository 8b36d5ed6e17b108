"""Exported programs as models, their cards and their words."""

import csv
import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models import listed, load
from secondlook.models.base import Classifier, Embedder, Purifier
from secondlook.models.families.exported import WordTokenizer
from secondlook.randomness import Keys


class Colors(nn.Module):
    """Logits: the mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Fold(nn.Module):
    """A lossless code: pixels of 2x2 patches as channels."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_unshuffle(x, 2)


class Unfold(nn.Module):
    """The inverse of Fold."""

    def forward(self, code: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(code, 2)


class Words(nn.Module):
    """Counts the tokens 2, 3 and 4."""

    def forward(self, ids: Tensor) -> Tensor:
        return torch.stack([(ids == number).sum(1).float() for number in (2, 3, 4)], dim=1)


RULES = {"type": "words", "pattern": "[a-z]+", "length": 5, "vocabulary": "pair/vocab.json"}


def write(path: Path, network: nn.Module, example: Tensor, **card: Any) -> None:
    """Exports ``network`` with a free batch size and writes its card."""
    path.parent.mkdir(exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    card = {"input": list(example.shape[1:]), "sha256": sha, **card}
    path.with_suffix(".json").write_text(json.dumps(card))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier, an autoencoder in two halves and a pair of encoders."""
    folder, x = tmp_path_factory.mktemp("programs"), torch.rand(2, 3, 8, 8)
    write(folder / "colors.pt2", Colors(), x, kind="classifier", labels=["r", "g", "b"])
    write(folder / "fold-encoder-8.pt2", Fold(), x, kind="autoencoder-encoder")
    write(folder / "fold-decoder-8.pt2", Unfold(), Fold()(x), kind="autoencoder-decoder")
    write(folder / "pair/image.pt2", Colors(), x, kind="embedder", modality="image")
    ids = torch.zeros(2, 5, dtype=torch.int64)
    write(folder / "pair/text.pt2", Words(), ids, kind="embedder", modality="text", tokenizer=RULES)
    (folder / "pair/vocab.json").write_text('{"red": 2, "green": 3, "blue": 4}')
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of the programs that a test may spoil."""
    return shutil.copytree(made, tmp_path / "programs")


def edit(path: Path, **changes: Any) -> None:
    card = json.loads(path.read_text())
    card |= changes
    path.write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


def poisoned(program: Path, path: Path, marker: Path) -> None:
    """Writes a program whose example inputs are a pickle that makes a file, and a card that fits."""

    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    held = io.BytesIO()
    torch.save(Harm(), held)
    with zipfile.ZipFile(program) as sound, zipfile.ZipFile(path, "w") as archive:
        for name in sound.namelist():
            archive.writestr(name, held.getvalue() if "sample_inputs" in name else sound.read(name))
    card = json.loads(program.with_suffix(".json").read_text())
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card))


@pytest.mark.parametrize("name", ["colors.pt2", "fold", "fold-encoder-8.pt2", "pair", "pair/text.pt2"])
def test_a_program_is_loaded_where_it_is_said_to_be_trusted_and_nowhere_else(made: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"whatever code its file holds; .*{name}\?trust=true; else .*safetensors"):
        load(f"file:{made}/{name}")
    for trust in ("false", "0"):
        with pytest.raises(InvalidInput, match="whatever code"):
            load(f"file:{made}/{name}?trust={trust}")
    # Trust is no part of what a model is called.
    assert load(f"file:{made}/{name}?trust=true").name == f"file:{made}/{name}"


def test_a_program_that_runs_code_runs_none_untrusted(made: Path, tmp_path: Path) -> None:
    path, marker = tmp_path / "x.pt2", tmp_path / "ran"
    poisoned(made / "colors.pt2", path, marker)
    with pytest.raises(InvalidInput, match="whatever code"):
        load(f"file:{path}")
    assert not marker.exists()
    # That this file does run code is what the refusal is for.
    with pytest.raises(InvalidInput, match="no exported program"):
        load(f"file:{path}?trust=true")
    assert marker.exists()


@pytest.mark.parametrize("name", ["../names.txt", "/etc/hostname", "link.txt", "pair"])
def test_labels_are_read_from_beside_the_card_alone(folder: Path, name: str) -> None:
    (folder.parent / "names.txt").write_text("a secret\nand another\nand a third")
    (folder / "link.txt").symlink_to(folder.parent / "names.txt")
    edit(folder / "colors.json", labels=None, labels_file=name)
    with pytest.raises(InvalidInput, match=f"labels_file={name}, which is not beside it"):
        load(f"file:{folder}/colors.pt2?trust=true")


@pytest.mark.parametrize("content", ["{red: 2}", "[" * 100_000])
def test_a_vocabulary_that_is_no_json_is_told(folder: Path, content: str) -> None:
    (folder / "pair/vocab.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"vocab\.json is no JSON"):
        load(f"file:{folder}/pair?trust=true")


def test_a_classifier_answers_with_its_labels_at_any_size(made: Path) -> None:
    model = load(f"file:{made}/colors.pt2?trust=true")
    assert isinstance(model, Classifier)
    assert (model.classes, model.size) == (("r", "g", "b"), (8, 8))
    x = torch.tensor([0.1, 0.5, 0.9]).view(1, 3, 1, 1).expand(5, 3, 13, 6)
    assert torch.allclose(model(x), torch.tensor([0.1, 0.5, 0.9]).expand(5, 3), atol=1e-6)


def test_gradients_flow_through_an_exported_program(made: Path) -> None:
    model, x = load(f"file:{made}/colors.pt2?trust=true"), torch.rand(3, 3, 8, 8, requires_grad=True)
    assert not any(part.training for part in model.function.modules())
    (grad,) = torch.autograd.grad(model(x)[:, 2].sum(), x)
    assert torch.allclose(grad[:, 2], torch.full((3, 8, 8), 1 / 64))
    assert not grad[:, :2].any()


def test_labels_may_stand_in_a_file_of_their_own(folder: Path) -> None:
    edit(folder / "colors.json", labels=None, labels_file="names.txt")
    with pytest.raises(InvalidInput, match=r"names.txt, which is not beside it"):
        load(f"file:{folder}/colors.pt2?trust=true")
    lines = "background\ntench, Tinca tinca\ngoldfish\n"
    for content in (lines, "\ufeff" + lines, lines.replace("\n", "\r\n")):  # as editors on Windows write them
        (folder / "names.txt").write_bytes(content.encode())
        model = load(f"file:{folder}/colors.pt2?trust=true")
        assert model.classes == ("background", "tench, Tinca tinca", "goldfish")


def test_a_pair_of_encoders_is_an_embedder_with_its_tokenizer(made: Path) -> None:
    model = load(f"file:{made}/pair?trust=true")
    assert isinstance(model, Embedder)
    texts = model.embed_text(["Red, red and green", "blue"])
    assert torch.allclose(texts, torch.tensor([[2 / 5**0.5, 1 / 5**0.5, 0], [0, 0, 1]]), atol=1e-6)
    image = model.embed(torch.tensor([0.3, 0.4, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    assert torch.allclose(image, torch.tensor([[0.6, 0.8, 0.0]]), atol=1e-6)
    assert load(f"file:{made}/pair/text.pt2?trust=true").hash == model.hash


@pytest.mark.parametrize("name", ["fold", "fold-encoder-8.pt2", "fold-decoder-8.pt2"])
def test_an_autoencoder_is_found_by_either_half_or_its_beginning(made: Path, name: str) -> None:
    model, x = load(f"file:{made}/{name}?trust=true"), torch.rand(3, 3, 8, 8)
    assert isinstance(model, Purifier)
    assert not model.stochastic
    assert torch.equal(model.purify(x, Keys.of(0, range(3))), x)


def test_latent_noise_counts_deviations_of_the_images_own_code(made: Path) -> None:
    model = load(f"file:{made}/fold?trust=true").with_noise(0.1)
    x = 0.5 + 0.1 * (torch.arange(192).view(1, 3, 8, 8) % 2 * 2 - 1).expand(40, 3, 8, 8)
    moved = model.purify(x, Keys.of(0, range(40))) - x
    assert model.stochastic
    assert float(moved.std()) == pytest.approx(0.1 * 0.1, rel=0.03)
    again = model.purify(x[20:], Keys.of(0, range(40))[20:]) - x[20:]
    assert torch.equal(again, moved[20:])


def test_the_hash_comes_from_the_file_and_not_from_its_place(made: Path, folder: Path) -> None:
    names = ("colors.pt2", "fold", "pair")
    hashes = [load(f"file:{made}/{name}?trust=true").hash for name in names]
    assert [load(f"file:{folder}/{name}?trust=true").hash for name in names] == hashes
    assert len(set(hashes)) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, 'has no labels; write "labels"'),
        ({"labels": ["only"]}, "write two or more names"),
        ({"sha256": "0" * 64}, "its card says 0000"),
        ({"sha256": None}, "sha256: Field required"),
        ({"kind": "detector"}, "kind: Input should be 'classifier'"),
        ({"kind": "autoencoder-encoder"}, "no 'encoder' in its name"),
        ({"kind": "embedder"}, "no file .*image.pt2"),
        ({"input": [1, 8, 8]}, r"input=\[1, 8, 8\] in its card is no image"),
    ],
)
def test_a_wrong_card_is_told_by_its_field(folder: Path, changes: dict[str, Any], said: str) -> None:
    edit(folder / "colors.json", **changes)
    with pytest.raises(InvalidInput, match=said):
        load(f"file:{folder}/colors.pt2?trust=true")


def test_labels_that_are_too_few_are_told_at_the_first_answer(folder: Path) -> None:
    edit(folder / "colors.json", labels=["r", "g"])
    with pytest.raises(InvalidInput, match="where logits"):
        load(f"file:{folder}/colors.pt2?trust=true")(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("gone", "name", "said"),
    [
        ("colors.pt2", "colors.pt2", "no file .*its folder has fold-decoder-8.pt2"),
        ("colors.json", "colors.pt2", "card .*colors.json is missing; write one"),
        ("fold-decoder-8.pt2", "fold", "no file .*fold-decoder-8.pt2"),
        ("fold-encoder-8.pt2", "fold", "nor a file .*fold-encoder"),
        ("pair/vocab.json", "pair", "vocabulary .*vocab.json is missing"),
        ("pair/image.pt2", "pair", "no file .*image.pt2; its folder has text.pt2"),
    ],
)
def test_a_missing_file_is_named(folder: Path, gone: str, name: str, said: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(InvalidInput, match=said):
        load(f"file:{folder}/{name}?trust=true")


def test_a_damaged_program_is_told_even_if_its_card_vouches_for_it(folder: Path) -> None:
    file = folder / "colors.pt2"
    file.write_bytes(b"no program")
    edit(folder / "colors.json", sha256=hashlib.sha256(b"no program").hexdigest())
    with pytest.raises(InvalidInput, match="no exported program"):
        load(f"file:{file}?trust=true")


def test_a_card_that_is_no_json_is_told(folder: Path) -> None:
    (folder / "colors.json").write_text("{labels: }")
    with pytest.raises(InvalidInput, match="Invalid JSON"):
        load(f"file:{folder}/colors.pt2?trust=true")


def test_a_beginning_of_two_autoencoders_is_told(folder: Path) -> None:
    shutil.copy(folder / "fold-encoder-8.pt2", folder / "fold-encoder-16.pt2")
    with pytest.raises(InvalidInput, match="the beginning of several"):
        load(f"file:{folder}/fold?trust=true")


def test_a_program_of_one_batch_size_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / "fixed.pt2", Colors(), torch.rand(2, 3, 8, 8), kind="classifier", labels=["r", "g", "b"])
    program = torch.export.export(Colors().eval(), (torch.rand(4, 3, 8, 8),))
    torch.export.save(program, tmp_path / "fixed.pt2")
    edit(tmp_path / "fixed.json", sha256=hashlib.sha256((tmp_path / "fixed.pt2").read_bytes()).hexdigest())
    with pytest.raises(InvalidInput, match=r"fixed\.pt2 takes batches of 4 and no others; .*dynamic_shapes"):
        load(f"file:{tmp_path}/fixed.pt2?trust=true")


def test_a_batch_above_what_a_program_takes_is_told(made: Path) -> None:
    model = load(f"file:{made}/colors.pt2?trust=true")
    assert isinstance(model, Classifier) and len(model(torch.rand(64, 3, 8, 8))) == 64
    with pytest.raises(
        InvalidInput, match=r"colors\.pt2 takes batches of 1 to 64, and this is of 65; .*dynamic_shapes"
    ):
        model(torch.rand(65, 3, 8, 8))


def test_nothing_is_listed() -> None:
    assert listed("file") == {}


def photograph(path: Path, keep: float, side: int) -> Tensor:
    """The central square of a photograph, as ``[3, side, side]``."""
    with Image.open(path) as image:
        half = int(min(image.size) * keep) / 2
        middle = [extent / 2 for extent in image.size]
        box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
        square = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1) / 255


def test_real_photographs_and_captions_find_each_other(shared: Path) -> None:
    model = load(f"file:{shared}/data/models/photos-lit?trust=true")
    assert model.size == (224, 224)
    names = (shared / "data/flickr8k/test.txt").read_text().split()
    captions: dict[str, list[str]] = {name: [] for name in names}
    with (shared / "data/flickr8k/captions.txt").open() as file:
        for row in csv.DictReader(file):
            captions.get(row["image"], []).append(row["caption"])
    photographs = [photograph(shared / f"data/flickr8k/images/{n}", 0.9, 224) for n in names]
    with torch.no_grad():
        images = model.embed(torch.stack(photographs))
    cosines = images @ model.embed_text([text for name in names for text in captions[name]]).T
    owner = torch.arange(50).repeat_interleave(5)
    assert float((cosines.argmax(0) == owner).float().mean()) == pytest.approx(0.28, abs=0.03)
    found = owner[cosines.argmax(1)] == torch.arange(50)
    assert float(found.float().mean()) == pytest.approx(0.40, abs=0.05)


def test_a_real_classifier_recognizes_real_photographs(shared: Path) -> None:
    model = load(f"file:{shared}/data/models/cifar10-resnet20.pt2?trust=true")
    held = np.load(shared / "data/cifar10/cifar10_test_jpeg.npz")
    assert list(model.classes) == held["classes"].tolist()
    # The archive is sorted by class: 20 of each.
    blob, offset, rows = held["blob"], held["offset"], range(0, 10_000, 50)
    files = [io.BytesIO(blob[offset[i] : offset[i + 1]].tobytes()) for i in rows]
    x = torch.stack([torch.from_numpy(np.array(Image.open(f).convert("RGB"))) for f in files])
    with torch.no_grad():
        answer = model(x.permute(0, 3, 1, 2) / 255).argmax(1)
    assert 0.75 <= float((answer.numpy() == held["label"][rows]).mean()) <= 0.90


def test_a_real_autoencoder_keeps_photographs_and_blurs_them_under_noise(shared: Path) -> None:
    model = load(f"file:{shared}/data/models/taef2?trust=true")
    files = sorted((shared / "data/rsscn7").glob("*/*.jpg"))[::112]
    x, keys = torch.stack([photograph(f, 1.0, 256) for f in files]), Keys.of(0, range(len(files)))

    def decibels(noise: float) -> float:
        with torch.no_grad():
            made = model.with_noise(noise).purify(x, keys)
        return float((-10 * (made - x).square().mean(dim=(1, 2, 3)).log10()).mean())

    clean, noisy = decibels(0.0), decibels(0.5)
    assert clean > 27
    assert 10 < noisy < clean - 1


TOKENIZER = WordTokenizer(
    vocabulary={"a": 2, "dog": 3, "runs": 4}, pattern="[a-z]+", lowercase=True, length=4, pad=0, unknown=1
)


def test_words_are_numbered_padded_and_cut() -> None:
    rows = TOKENIZER.encode(["A dog!", "a quick-dog runs home", "dog2dog"])
    assert rows.tolist() == [[2, 3, 0, 0], [2, 1, 3, 4], [3, 3, 0, 0]]


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'747' has no word"):
        TOKENIZER.encode(["a dog", "747"])
