"""Text vectors on disk: read where nothing has changed, and embedded anew where anything has."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.families.exported import WordTokenizer
from secondlook.models.identity import TEXTS
from secondlook.models.runtime.textcache import FEW, cached
from secondlook.models.zeroshot import ZeroShot

WORDS = {word: number for number, word in enumerate(["a", "photo", "of", "red", "green", "blue"])}
CLASSES = ("red", "green", "blue")


class Counting(Embedder):
    """Means of word vectors; it counts the texts that it reads, but those of the probe."""

    name = "counting"

    def __init__(self, length: int = 8) -> None:
        self.network = nn.Sequential(nn.Embedding(8, 5), nn.Dropout(0.5)).eval()
        grid = torch.arange(40.0).view(8, 5)
        self.network[0].weight.data.copy_((grid * 37 % 11) - 5)
        self.modules, self.read = (self.network,), 0
        self.tokenizer: object = WordTokenizer(
            vocabulary=WORDS, pattern="[a-z]+", lowercase=True, length=length, pad=6, unknown=7
        )

    def encode_image(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :5]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.read += len([text for text in texts if text not in TEXTS])
        rows = [[WORDS.get(word, 7) for word in text.split()] for text in texts]
        out = [self.network(torch.tensor(row)).mean(0) for row in rows]
        return torch.stack(out)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECONDLOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "text"


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.is_dir() else []


def test_the_second_classifier_of_the_same_costs_no_text(folder: Path) -> None:
    first = Counting()
    made = ZeroShot(first, CLASSES, "imagenet-80")
    assert first.read == 240
    assert [file.suffix for file in files(folder)] == [".safetensors"]
    second = Counting()
    again = ZeroShot(second, CLASSES, "imagenet-80")
    assert second.read == 0
    assert torch.equal(again.texts, made.texts)
    assert again.texts.shape == (3, 5)


def another_weight(model: Counting) -> None:
    model.network[0].weight.data[3, 2] += 0.5


def another_tokenizer(model: Counting) -> None:
    model.tokenizer = Counting(length=9).tokenizer


@pytest.mark.parametrize("change", [another_weight, another_tokenizer])
def test_another_model_reads_for_itself(change: Callable[[Counting], None]) -> None:
    ZeroShot(Counting(), CLASSES, "imagenet-80")
    other = Counting()
    change(other)
    ZeroShot(other, CLASSES, "imagenet-80")
    assert other.read == 240


def test_other_texts_and_another_grouping_are_read_anew() -> None:
    texts = ["a red", "a photo of blue", "green", "of a photo"] * (FEW // 4)
    cached(Counting(), texts)
    for changed, each in ((texts[::-1], 1), ([*texts[:-1], "a blue"], 1), (texts, 4)):
        model = Counting()
        vectors = cached(model, changed, each)
        assert model.read == FEW
        alone = model.embed_text(changed).view(-1, each, 5)
        assert torch.allclose(vectors, F.normalize(alone.mean(1), dim=-1), atol=1e-6)


def test_a_few_texts_leave_no_file(folder: Path) -> None:
    cached(Counting(), ["a red"] * (FEW - 1))
    assert files(folder) == []


class Nameless:
    """Prints as its place in memory."""


def weightless(model: Counting) -> None:
    model.modules = ()


def without_tokenizer(model: Counting) -> None:
    model.tokenizer = None


def nameless_tokenizer(model: Counting) -> None:
    model.tokenizer = Nameless()


@pytest.mark.parametrize("change", [weightless, without_tokenizer, nameless_tokenizer])
def test_an_embedder_that_nothing_tells_from_another_is_always_asked(
    change: Callable[[Counting], None], folder: Path
) -> None:
    for _ in range(2):
        model = Counting()
        change(model)
        cached(model, ["a red", "a blue"] * FEW)
        assert model.read == 2 * FEW
    assert files(folder) == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def blank(file: Path) -> None:
    save_file({"vectors": torch.zeros(3, 5)}, file)


def fewer(file: Path) -> None:
    save_file({"vectors": torch.eye(5)[:2]}, file)


def flat(file: Path) -> None:
    save_file({"vectors": torch.ones(3)}, file)


def other_key(file: Path) -> None:
    save_file({"else": torch.eye(5)[:3]}, file)


def not_numbers(file: Path) -> None:
    save_file({"vectors": torch.full((3, 5), float("nan"))}, file)


@pytest.mark.parametrize("damage", [cut, blank, fewer, flat, other_key, not_numbers])
def test_a_damaged_file_is_written_anew(
    damage: Callable[[Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = ZeroShot(Counting(), CLASSES, "imagenet-80").texts
    (file,) = files(folder)
    damage(file)
    model = Counting()
    assert torch.equal(ZeroShot(model, CLASSES, "imagenet-80").texts, whole)
    assert model.read == 240
    assert "written anew" in caplog.text
    assert files(folder) == [file]
    assert torch.equal(load_file(file)["vectors"], whole)


def test_a_place_that_cannot_be_written_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file, and no folder")
    monkeypatch.setenv("SECONDLOOK_CACHE", str(tmp_path / "taken"))
    model = Counting()
    assert ZeroShot(model, CLASSES, "imagenet-80").texts.shape == (3, 5)
    assert model.read == 240
    assert caplog.records == []


def test_without_the_variable_the_users_own_cache_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECONDLOOK_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    cached(Counting(), ["a red"] * FEW)
    assert len(files(tmp_path / ".cache" / "secondlook" / "text")) == 1


def test_what_is_kept_was_read_in_eval_mode() -> None:
    calm = cached(Counting(), ["a photo of a red"] * 4)
    model = Counting()
    model.network.train()
    assert torch.equal(cached(model, ["a photo of a red"] * 4), calm)
    assert all(part.training for part in model.network.modules())


@pytest.mark.parametrize(("count", "each"), [(5, 2), (4, 0)])
def test_texts_that_cannot_be_grouped_are_refused(count: int, each: int) -> None:
    with pytest.raises(InvalidInput, match=f"{count} texts cannot be taken each={each}"):
        cached(Counting(), ["a red"] * count, each)
    with pytest.raises(InvalidInput, match="one or more"):
        cached(Counting(), [])
