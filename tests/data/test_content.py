"""What identifies data: the bytes that it is read from; and the grid that its images lie on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secondlook import data
from secondlook.data.base import Samples, Source
from secondlook.errors import InvalidInput


def photographs(folder: Path, levels: Sequence[int]) -> list[Path]:
    """A class of small pictures, each of one gray level."""
    (folder / "cats").mkdir(parents=True)
    (folder / "dogs").mkdir()
    paths = [folder / "cats" / f"{row}.png" for row, _ in enumerate(levels)]
    for path, level in zip([*paths, folder / "dogs" / "9.png"], [*levels, 7], strict=True):
        Image.new("L", (6, 4), level).save(path)
    return paths


def test_a_picture_replaced_under_its_name_changes_the_hash(tmp_path: Path) -> None:
    paths = photographs(tmp_path, (10, 20))
    before = data.load(f"folder:{tmp_path}").hash
    assert data.load(f"folder:{tmp_path}").hash == before
    Image.new("L", (6, 4), 21).save(paths[1])
    changed = data.load(f"folder:{tmp_path}").hash
    assert changed != before
    Image.new("L", (6, 4), 20).save(paths[1])
    assert data.load(f"folder:{tmp_path}").hash == before


def test_where_the_files_lie_does_not_count_and_their_order_does(tmp_path: Path) -> None:
    photographs(tmp_path / "a", (10, 20)), photographs(tmp_path / "b", (10, 20))
    photographs(tmp_path / "c", (20, 10))
    hashes = [data.load(f"folder:{tmp_path}/{name}").hash for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_no_byte_is_read_twice_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = hashlib.file_digest

    def file_digest(file: Any, kind: str) -> Any:
        read.append(Path(file.name).name)
        return original(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    paths = photographs(tmp_path, (10, 20, 30))
    for _ in range(2):
        source = data.load(f"folder:{tmp_path}")
        assert source.hash == source.hash
    assert sorted(read) == ["0.png", "1.png", "2.png", "9.png"]
    Image.new("L", (6, 4), 99).save(paths[2])
    assert data.load(f"folder:{tmp_path}").hash != source.hash
    assert read[4:] == ["2.png"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    paths = photographs(tmp_path, (10, 20))
    source = data.load(f"folder:{tmp_path}")
    paths[0].unlink()
    with pytest.raises(InvalidInput, match=r"0\.png cannot be opened"):
        _ = source.hash


def edited(path: Path, at: int) -> None:
    """Changes one byte of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_the_bytes_of_archives_count(tmp_path: Path) -> None:
    pixels = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    label, classes = np.array([0, 1, 1, 0]), np.array(["cat", "dog"])
    hashes = []
    for change in (0, 0, 1):
        changed = pixels.copy()
        changed[2, 3, 3, 0] += change
        np.savez(tmp_path / "set.npz", image=changed, label=label, classes=classes)
        hashes.append(data.load(f"cifar10:{tmp_path}/set.npz").hash)
    assert hashes[0] != hashes[2]


def test_the_bytes_of_published_batches_count(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rows = [bytes([label]) + bytes([40 + label]) * 3072 for label in (3, 5)]
    (folder / "test_batch.bin").write_bytes(b"".join(rows))
    before = data.load(f"cifar10:{tmp_path}").hash
    edited(folder / "test_batch.bin", at=100)
    assert data.load(f"cifar10:{tmp_path}").hash != before


def test_scenes_are_known_by_their_seed() -> None:
    source = data.load("scenes:test", n=3)
    assert source.files == () and source.content == ()
    assert source.hash == data.load("scenes:test", n=3).hash


class Measured(Source):
    """One image between the steps of 8 bits."""

    ids, classes = ("a",), ("one", "two")

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        levels = torch.linspace(0, 1, 1000).expand(len(rows), 3, 1, -1)
        return Samples(levels, torch.zeros(len(rows), dtype=torch.long))


class Adversarial(Source):
    """One whose very numbers are the matter."""

    ids, classes, rounded = ("a",), ("one", "two"), False

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        return Samples(torch.full((1, 3, 1, 1), 0.1234), torch.zeros(1, dtype=torch.long))


def test_a_source_may_keep_its_numbers() -> None:
    assert float(Adversarial().read([0], None).images[0, 0]) == pytest.approx(0.1234)


def test_what_a_source_reads_is_in_whole_255ths() -> None:
    images = Measured().read([0, 0], None).images
    nearest = torch.linspace(0, 1, 1000).mul(255).round() / 255
    assert torch.equal(images, nearest.expand(2, 3, 1, -1))
    assert len(images.unique()) == 256
    steps = torch.arange(256, dtype=torch.uint8).float() / 255
    assert torch.equal(images.unique(), steps)


@pytest.mark.parametrize("size", [None, (32, 32), (48, 80), (224, 224)])
def test_scenes_and_files_are_on_the_grid_before_they_are_rounded(tmp_path: Path, size: tuple[int, int] | None) -> None:
    """So that the rule changes no number of an audit on them."""
    photographs(tmp_path, (10, 200))
    for source in (data.load("scenes:test", n=4), data.load(f"folder:{tmp_path}")):
        plain = type(source).read.__wrapped__(source, [0, 1], size).images  # type: ignore[attr-defined]
        assert torch.equal(plain, source.read([0, 1], size).images)
