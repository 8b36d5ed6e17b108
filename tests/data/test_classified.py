"""Sets with classes in their published layouts: CIFAR, STL-10, Food-101, Pets, Caltech-101."""

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from secondlook import data
from secondlook.data.batches import unpickled
from secondlook.errors import InvalidInput, UnknownName
from tests.data.pixels import Gray, levels

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 99, 0, 7]


def expected(planes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(planes.copy()).float() / 255


# --- CIFAR -------------------------------------------------------------------------------------


def binary(labels: list[int], pixels: np.ndarray, coarse: bool) -> bytes:
    heads = [bytes([11, label]) if coarse else bytes([label]) for label in labels]
    return b"".join(h + p.tobytes() for h, p in zip(heads, pixels, strict=True))


def python2(labels: list[int], pixels: np.ndarray) -> bytes:
    """The pickle as Python 2 wrote it for the published set: texts and bytes are one."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    planes = pixels.reshape(len(pixels), -1)
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
    dtype += b"NNN" + (b"J" + struct.pack("<i", -1)) * 2 + b"K\x00tb"
    shape = b"K" + bytes([len(pixels)]) + b"M" + struct.pack("<H", planes.shape[1]) + b"\x86"
    content = b"T" + struct.pack("<i", planes.size) + planes.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b")
    array += b"\x87R(K\x01" + shape + dtype + b"\x89" + content + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    pairs = text(b"data") + array + text(b"fine_labels") + listed
    return b"\x80\x02}(" + pairs + b"u."


def modern(labels: list[int], pixels: np.ndarray) -> bytes:
    content = {b"data": pixels.reshape(len(pixels), -1), b"fine_labels": labels}
    return pickle.dumps(content, protocol=2)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("cifar-100-binary/test.bin", binary(LABELS, PIXELS, coarse=True)),
        ("cifar-100-python/test", python2(LABELS, PIXELS)),
        ("cifar-100-python/test", modern(LABELS, PIXELS)),
        ("cifar-100-python/test", pickle.dumps(pickle.loads(modern(LABELS, PIXELS)))),
    ],
    ids=["binary", "python 2", "protocol 2", "protocol 4"],
)
def test_cifar100_in_its_published_versions(tmp_path: Path, file: str, content: bytes) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_bytes(content)
    for name in (path.parent, f"{tmp_path}#test"):
        source = data.load(f"cifar100:{name}")
        assert source.ids == ("test-0", "test-1", "test-2", "test-3")
        assert len(set(source.classes)) == 100
        assert [source.classes[label] for label in LABELS] == ["bear", "worm", "apple", "beetle"]
        samples = source.read([3, 1], None)
        assert samples.truth.tolist() == [7, 99]
        assert torch.equal(samples.images, expected(PIXELS[[3, 1]]))
    assert source.prompt == "a photo of a {}."
    assert list(source.classes) == sorted(source.classes)


def test_cifar10_for_training_is_five_files(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for part in range(5):
        pixels = PIXELS[: part % 2 + 1] // (part + 1)
        labels = [part] * len(pixels)
        (folder / f"data_batch_{part + 1}.bin").write_bytes(binary(labels, pixels, coarse=False))
    source = data.load(f"cifar10:{tmp_path}#train")
    assert len(source) == 7
    samples = source.read(range(7), None)
    assert samples.truth.tolist() == [0, 1, 1, 2, 3, 3, 4]
    assert torch.equal(samples.images[[2]], expected(PIXELS[[1]] // 2))
    assert torch.equal(samples.images[[-1]], expected(PIXELS[[0]] // 5))
    assert torch.equal(source.read([-1], None).images, samples.images[[-1]])
    assert source.classes[9] == "truck"
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(InvalidInput, match=r"data_batch_4\.bin cannot be opened \(No such"):
        data.load(f"cifar10:{tmp_path}#train")
    with pytest.raises(InvalidInput, match=r"holds neither test_batch\.bin nor test_batch"):
        data.load(f"cifar10:{tmp_path}")
    with pytest.raises(UnknownName, match="split 'tset'; did you mean test"):
        data.load(f"cifar10:{tmp_path}#tset")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"test\.bin has 0 bytes, no whole number of images with 3074 each"),
        (binary(LABELS, PIXELS, True)[:-1], r"test\.bin has 12295 bytes, no whole number"),
        (binary([3, 100, 0, 7], PIXELS, True), "image 1 has label 100, and there are 100"),
    ],
)
def test_cifar100_broken_binary(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "test.bin").write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"cifar100:{tmp_path}")


FLAT = PIXELS.reshape(4, -1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "test holds a list; it must be a dictionary"),
        ({}, r"data must be uint8 \[n, 3072\] and fine_labels n numbers"),
        ({"data": FLAT, "fine_labels": LABELS[:3]}, "data must be uint8"),
        ({"data": FLAT.astype(float), "fine_labels": LABELS}, "data must be uint8"),
        ({"data": FLAT[:, :100], "fine_labels": LABELS}, "data must be uint8"),
        ({"data": FLAT[:0], "fine_labels": []}, "data must be uint8"),
        ({"data": FLAT, "fine_labels": [0, -1, 2, 3]}, "image 1 has label -1"),
    ],
)
def test_cifar100_broken_pickle(tmp_path: Path, content: Any, said: str) -> None:
    (tmp_path / "test").write_bytes(pickle.dumps(content))
    with pytest.raises(InvalidInput, match=said):
        data.load(f"cifar100:{tmp_path}")


class Harm:
    """A pickle that writes a file when it is loaded by the usual means."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    (tmp_path / "test").write_bytes(pickle.dumps({"data": Harm(harm), "fine_labels": []}))
    with pytest.raises(InvalidInput, match=r"is no pickle of plain arrays \(it asks for .*binary"):
        data.load(f"cifar100:{tmp_path}")
    assert not harm.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        # What is recorded cannot be set up otherwise: no class or codec is changed by what is read.
        b"cnumpy\ndtype\n}S'x'\nK\x01sb.",
        b"c_codecs\nencode\nN}S'__defaults__'\nK\x01\x85s\x86b.",
        modern(LABELS, PIXELS)[:500],
    ],
)
def test_pickles_that_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test").write_bytes(content)
    with pytest.raises(InvalidInput, match="is no pickle of plain arrays"):
        unpickled(tmp_path / "test")


def test_a_type_that_lies_of_its_objects_is_never_built(tmp_path: Path) -> None:
    # Of a type of objects the state clears the flag that says so; NumPy then takes bytes for addresses.
    whole = modern(LABELS, PIXELS)
    lying = whole.replace(b"X\x02\x00\x00\x00u1", b"X\x02\x00\x00\x00O8", 1)
    assert lying != whole
    (tmp_path / "test").write_bytes(lying)
    with pytest.raises(InvalidInput, match=r"data must be uint8 \[n, 3072\]"):
        data.load(f"cifar100:{tmp_path}")
    assert not isinstance(unpickled(tmp_path / "test")["data"], np.ndarray)


@pytest.mark.parametrize("rows", [3, 5, 2**40, -4])
def test_a_record_of_more_or_fewer_rows_than_bytes_is_refused(tmp_path: Path, rows: int) -> None:
    array = PIXELS.reshape(4, -1)
    version, (_, width), kind, across, held = array.__reduce__()[2]

    class Said:
        def __reduce__(self) -> Any:
            return (*array.__reduce__()[:2], (version, (rows, width), kind, across, held))

    (tmp_path / "test").write_bytes(pickle.dumps({"data": Said(), "fine_labels": LABELS}))
    with pytest.raises(InvalidInput, match="data must be uint8"):
        data.load(f"cifar100:{tmp_path}")


def test_a_pickle_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"test cannot be opened \(No such file"):
        unpickled(tmp_path / "test")


def test_npz_layout_stays_for_both(tmp_path: Path) -> None:
    arrays = {"label": np.array([1, 0]), "classes": np.array(["a", "b"])}
    np.savez(tmp_path / "x.npz", image=PIXELS[:2].transpose(0, 2, 3, 1), **arrays)
    for family in ("cifar10", "cifar100"):
        samples = data.load(f"{family}:{tmp_path}/x.npz").read([1], None)
        assert torch.equal(samples.images, expected(PIXELS[[1]]))


# --- STL-10 ------------------------------------------------------------------------------------


@pytest.fixture
def stl(tmp_path: Path) -> tuple[Path, np.ndarray]:
    planes = RNG.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    columns = np.ascontiguousarray(planes.transpose(0, 1, 3, 2))
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    (folder / "test_X.bin").write_bytes(columns.tobytes())
    (folder / "test_y.bin").write_bytes(bytes([1, 10, 8]))
    return tmp_path, planes


def test_stl10_is_published_column_by_column(stl: tuple[Path, np.ndarray]) -> None:
    place, planes = stl
    source = data.load(f"stl10:{place}")
    samples = source.read([2, 0, 1], None)
    assert torch.equal(samples.images, expected(planes[[2, 0, 1]]))
    assert [source.classes[label] for label in samples.truth] == ["monkey", "airplane", "truck"]
    assert data.load(f"stl10:{place}/stl10_binary#test").hash == source.hash


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("test_y.bin", bytes([1, 10]), r"test_X\.bin has 3 images and test_y\.bin 2 labels"),
        ("test_y.bin", bytes([1, 0, 3]), "image 1 has label -1, and there are 10 classes"),
        ("test_y.bin", bytes([1, 11, 3]), "image 1 has label 10, and there are 10 classes"),
        ("test_X.bin", bytes(27_000), r"test_X\.bin has 27000 bytes, no whole number"),
    ],
)
def test_stl10_broken(stl: tuple[Path, np.ndarray], file: str, content: bytes, said: str) -> None:
    (stl[0] / "stl10_binary" / file).write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"stl10:{stl[0]}")


def test_stl10_without_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"train_X\.bin cannot be opened \(No such"):
        data.load(f"stl10:{tmp_path}#train")
    with pytest.raises(UnknownName, match="unlabeled"):
        data.load(f"stl10:{tmp_path}#unlabeled")


# --- Food-101 ----------------------------------------------------------------------------------


@pytest.fixture
def food(tmp_path: Path, gray: Gray) -> Path:
    for level, name in enumerate(("apple_pie/1", "apple_pie/2", "waffles/1")):
        gray(f"images/{name}.jpg", 10 * level)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/test.txt").write_text("waffles/1\napple_pie/2\n")
    return tmp_path


def test_food101(food: Path) -> None:
    source = data.load(f"food101:{food}")
    assert source.ids == ("waffles/1", "apple_pie/2")
    assert source.classes == ("apple pie", "waffles")
    assert source.prompt.format(source.classes[0]) == "a photo of apple pie, a type of food."
    samples = source.read([0, 1], (4, 4))
    assert levels(samples.images) == [20, 10]
    assert samples.truth.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (b"", r"test\.txt is empty; write CLASS/ID a line"),
        (b"waffles/1\nwaffles/1\n", r"test\.txt line 2 lists waffles/1 twice"),
        (b"waffles/1\nwaffles/9\n", r"test\.txt line 2 names .*waffles/9\.jpg, which is not there"),
        (b"waffles\n", r"test\.txt line 1: 'waffles' must be CLASS/ID"),
        (b"\xff\xfe\n", r"test\.txt cannot be read .*UTF-8"),
    ],
)
def test_food101_broken(food: Path, listed: bytes, said: str) -> None:
    (food / "meta/test.txt").write_bytes(listed)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"food101:{food}")
    with pytest.raises(InvalidInput, match=r"train\.txt cannot be read \(No such"):
        data.load(f"food101:{food}#train")


# --- Oxford-IIIT Pet ---------------------------------------------------------------------------

PETS = "#Image CLASS-ID SPECIES BREED ID\nMaine_Coon_3 2 1 2\npug_1 26 2 17\nMaine_Coon_1 2 1 2\n"


@pytest.fixture
def pets(tmp_path: Path, gray: Gray) -> Path:
    for level, name in enumerate(("Maine_Coon_1", "Maine_Coon_3", "pug_1")):
        gray(f"images/{name}.jpg", 10 * level)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/test.txt").write_text(PETS)
    return tmp_path


def test_pets(pets: Path) -> None:
    source = data.load(f"pets:{pets}")
    assert source.ids == ("Maine_Coon_3.jpg", "pug_1.jpg", "Maine_Coon_1.jpg")
    assert source.classes == ("Maine Coon", "pug")
    assert source.prompt.format("pug") == "a photo of a pug, a type of pet."
    samples = source.read([0, 1, 2], (4, 4))
    assert levels(samples.images) == [10, 20, 0]
    assert samples.truth.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (PETS + "pug_1 26 2 17\n", r"test\.txt line 5 lists pug_1 again"),
        (PETS + "pug_2 26 2 17\n", r"line 5 names .*pug_2\.jpg, which is not there"),
        (PETS.replace("26", "2"), r"line 3 calls class 2 'pug', an earlier line 'Maine Coon'"),
        (PETS + "pug_1\n", r"line 5: 'pug_1' must be NAME CLASS SPECIES BREED"),
    ],
)
def test_pets_broken(pets: Path, listed: str, said: str) -> None:
    (pets / "annotations/test.txt").write_text(listed)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"pets:{pets}")


# --- Caltech-101 -------------------------------------------------------------------------------


def test_caltech101_leaves_the_background_out(tmp_path: Path, gray: Gray) -> None:
    folders = ("BACKGROUND_Google", "Faces_easy", "grand_piano", "yin_yang")
    for level, name in enumerate(folders):
        gray(f"101_ObjectCategories/{name}/image_0001.jpg", 10 * level)
    source = data.load(f"caltech101:{tmp_path}")
    assert source.classes == ("centered face", "grand piano", "yin and yang symbol")
    assert source.ids[1] == "grand_piano/image_0001.jpg"
    samples = source.read([2, 0], (4, 4))
    assert levels(samples.images) == [30, 10]
    assert samples.truth.tolist() == [2, 0]
    assert data.load(f"caltech101:{tmp_path}/101_ObjectCategories").hash == source.hash


def test_caltech101_without_classes(tmp_path: Path, gray: Gray) -> None:
    gray("BACKGROUND_Google/1.jpg", 1)
    gray("ant/1.jpg", 1)
    with pytest.raises(InvalidInput, match="has 1 folders of classes"):
        data.load(f"caltech101:{tmp_path}")
    (tmp_path / "barrel").mkdir()
    with pytest.raises(InvalidInput, match="no images in .*barrel"):
        data.load(f"caltech101:{tmp_path}")


def test_python2_pickles_are_what_they_say() -> None:
    loaded = pickle.load(io.BytesIO(python2(LABELS, PIXELS)), encoding="bytes")
    assert (loaded[b"data"] == FLAT).all()
