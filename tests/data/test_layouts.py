"""Each layout of data on disk: what it reads, and what it says of a broken one."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from secondlook import data
from secondlook.data.base import Captioned
from secondlook.errors import InvalidInput, UnknownName
from tests.data.pixels import Gray, levels

# --- names -------------------------------------------------------------------------------------


def test_every_family_loads_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown data 'flickr'; did you mean flickr8k"):
        data.load("flickr:somewhere")
    with pytest.raises(UnknownName, match="folder:PATH"):
        data.load(str(tmp_path))
    with pytest.raises(InvalidInput, match="write imagenet:PATH"):
        data.load("imagenet")
    with pytest.raises(UnknownName, match="kep.*did you mean keep"):
        data.load(f"folder:{tmp_path}", kep=1.0)
    assert data.listed("folder") == {}


@pytest.mark.parametrize("folder", ["C#", "a@b", "a@b#c", "plain"])
def test_a_mark_in_the_name_of_a_folder_is_a_part_of_its_path(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    for inner in ("images", "other"):
        (place / inner).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(place / inner / "a.png")
    sentences = [{"raw": "a cat"}]
    content = {"images": [{"filename": "a.png", "split": "test", "sentences": sentences}]}
    (place / "k.json").write_text(json.dumps(content))
    (place / "s.json").write_text(json.dumps([{"image": "a.png", "caption": ["a cat"]}]))
    for name in (f"karpathy:{place}/k.json#test", f"sga:{place}/s.json", f"karpathy:{place}/k.json"):
        assert data.load(name).captioned().texts == ("a cat",)
    for name in (f"karpathy:{place}/k.json@{place}/other#test", f"sga:{place}/s.json@{place}/other"):
        assert data.load(name).files == (place / "other" / "a.png",)
    pairs = data.load(f"pairs:{place}/images@{place}/other")
    assert len(pairs) == 1


def test_what_is_not_there_is_called_by_its_path_alone(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"{tmp_path}/lost.json cannot be read"):
        data.load(f"karpathy:{tmp_path}/lost.json@{tmp_path}#test")
    with pytest.raises(InvalidInput, match=rf"{tmp_path}/lost cannot be read"):
        data.load(f"flickr8k:{tmp_path}/lost#test")


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_line_ends_at_a_line_feed_alone(tmp_path: Path, gray: Gray, letter: str) -> None:
    for name in ("a", "b"):
        gray(f"images/{name}.png", 10)
    captions = tmp_path / "c.txt"
    captions.write_text(f"one{letter}caption\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="1 captions .* 2 images"):
        data.load(f"lines:{captions}")
    captions.write_text(f"one{letter}caption\r\nanother\r\n", encoding="utf-8")
    assert data.load(f"lines:{captions}").captioned().texts == (f"one{letter}caption", "another")
    if letter > " ":
        record = {"filename": "airport_1.jpg", "captions": [f"many{letter}planes"]}
        (tmp_path / "x.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
        assert data.load(f"rsicd:{tmp_path}/x.jsonl").captioned().texts == (f"many{letter}planes",)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('image,caption\na.png,ok\na.png,"red" dog\n', r"line 3 cannot be read as a table .*quotes"),
        ("image,caption\na.png,ok\n\na.png," + "x" * 200_000 + "\n", "line 4 .*field"),
        ("image,caption,caption\na.png,one,two\n", "2 columns 'caption'"),
        ("image,text\na.png,one\n", "no column 'caption'; begin it with image,caption"),
    ],
)
def test_a_broken_table_names_the_line(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"csv:{tmp_path}/t.csv")


def test_blanks_around_the_columns_of_a_table_do_not_count(tmp_path: Path, gray: Gray) -> None:
    gray("images/a.png", 10)
    (tmp_path / "t.csv").write_text('image, caption\na.png, hello\na.png, "one, two"\n')
    assert data.load(f"csv:{tmp_path}/t.csv").captioned().texts == ("hello", "one, two")


# --- folder ------------------------------------------------------------------------------------


def test_folder_by_class(tmp_path: Path, gray: Gray) -> None:
    gray("parking_lot/2.png", 20)
    gray("parking_lot/1.png", 10)
    gray("beach/1.jpg", 30)
    gray("ignored.png", 40)
    source = data.load(f"folder:{tmp_path}")
    assert source.ids == ("beach/1.jpg", "parking_lot/1.png", "parking_lot/2.png")
    assert source.classes == ("beach", "parking lot")
    assert source.prompt.format(source.classes[1]) == "a photo of a parking lot"
    samples = source.read([2, 0, 1], (8, 8))
    assert samples.images.shape == (3, 3, 8, 8)
    assert levels(samples.images) == [20, 30, 10]
    assert samples.truth.tolist() == [1, 0, 1]
    assert samples.truth.dtype == torch.int64


def test_a_folder_reads_what_decodes_and_tells_what_it_leaves_out(tmp_path: Path, gray: Gray) -> None:
    for name in ("cat/1.png", "cat/2.jpg", "cat/more/4.png", "dog/1.png"):
        gray(name, 10)
    for suffix in ("jfif", "jpe", "JPG"):
        shutil.copy(tmp_path / "cat/2.jpg", tmp_path / f"cat/3.{suffix}")
    for name in ("cat/5.heic", "cat/more/6.heic", "dog/notes.txt", "README"):
        (tmp_path / name).write_text("x")
    source = data.load(f"folder:{tmp_path}")
    read = ("cat/1.png", "cat/2.jpg", "cat/3.JPG", "cat/3.jfif", "cat/3.jpe", "cat/more/4.png", "dog/1.png")
    assert source.ids == read
    assert levels(source.read(range(len(read)), (8, 8)).images) == [10] * 7
    assert "4 files are no images that are read here: 2 .heic, 1 .txt, 1 without a suffix" in source.provenance
    for name in ("cat/5.heic", "cat/more/6.heic", "dog/notes.txt", "README"):
        (tmp_path / name).unlink()
    assert data.load(f"folder:{tmp_path}").provenance == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_among_images_is_refused_and_not_waited_for(tmp_path: Path, gray: Gray) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        gray(name, 10)
    os.mkfifo(tmp_path / "cat" / "2.png")
    with pytest.raises(InvalidInput, match=r"2\.png is no regular file"):
        data.load(f"folder:{tmp_path}")


def test_folder_settings_are_part_of_its_hash(tmp_path: Path, gray: Gray) -> None:
    gray("a/1.png", 1)
    gray("b/1.png", 2)
    plain = data.load(f"folder:{tmp_path}")
    cropped = data.load(f"folder:{tmp_path}", keep=0.5, prompt="an {}")
    assert cropped.prompt == "an {}"
    assert plain.hash == data.load(f"folder:{tmp_path}").hash
    assert plain.hash != cropped.hash != data.load(f"folder:{tmp_path}", prompt="an {}").hash


def test_images_of_several_sizes_need_a_size(tmp_path: Path, gray: Gray) -> None:
    gray("a/1.png", 1)
    gray("b/1.png", 2)
    Image.new("L", (9, 4)).save(tmp_path / "b" / "2.png")
    source = data.load(f"folder:{tmp_path}")
    assert source.read([0, 1], None).images.shape == (2, 3, 4, 6)
    with pytest.raises(InvalidInput, match=r"2\.png is 4x9 .*1\.png is 4x6.*give a size"):
        source.read([0, 2], None)
    with pytest.raises(InvalidInput, match="no rows"):
        source.read([], None)


def test_folder_without_classes(tmp_path: Path, gray: Gray) -> None:
    gray("a/1.png", 1)
    with pytest.raises(InvalidInput, match=r"1 sub-folders.*two or more.*cat/1\.png"):
        data.load(f"folder:{tmp_path}")
    (tmp_path / "b").mkdir()
    with pytest.raises(InvalidInput, match=r"no images in .*/b: it holds no files"):
        data.load(f"folder:{tmp_path}")
    with pytest.raises(InvalidInput, match="cannot be read as a folder"):
        data.load(f"folder:{tmp_path}/nowhere")


def test_folder_with_two_classes_of_one_name(tmp_path: Path, gray: Gray) -> None:
    gray("big dog/1.png", 1)
    gray("big_dog/1.png", 1)
    with pytest.raises(InvalidInput, match="2 sub-folders with 1 names"):
        data.load(f"folder:{tmp_path}")


def test_a_bad_file_is_found_when_its_row_is_read(tmp_path: Path, gray: Gray) -> None:
    gray("a/1.png", 1)
    gray("b/1.png", 1)
    (tmp_path / "b" / "2.png").write_text("not a picture")
    source = data.load(f"folder:{tmp_path}")
    source.read([0, 1], (4, 4))
    with pytest.raises(InvalidInput, match=r"b/2\.png cannot be read as an image"):
        source.read([0, 2], (4, 4))


# --- flickr8k ----------------------------------------------------------------------------------

CAPTIONS = """image,caption
b.jpg,A dog runs .
b.jpg,"A dog, running ."
a.jpg,a dog runs
a.jpg,Grass .
c.jpg,Grass
c.jpg,A cat .
"""


@pytest.fixture
def flickr(tmp_path: Path, gray: Gray) -> Path:
    for level, name in enumerate(("a", "b", "c")):
        gray(f"Images/{name}.jpg", 10 * level)
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    return tmp_path


def test_flickr8k_takes_the_first_caption_that_is_free(flickr: Path) -> None:
    source = data.load(f"flickr8k:{flickr}")
    assert source.ids == ("b.jpg", "a.jpg", "c.jpg")
    assert source.classes == ("A dog runs .", "Grass .", "A cat .")
    assert source.prompt == "{}"
    samples = source.read([2, 0], (4, 4))
    assert levels(samples.images) == [20, 10]
    assert samples.truth.tolist() == [2, 0]


def test_flickr8k_subset(flickr: Path) -> None:
    (flickr / "test.txt").write_text("c.jpg\na.jpg\n\n")
    source = data.load(f"flickr8k:{flickr}#test")
    assert source.ids == ("c.jpg", "a.jpg")
    assert source.classes == ("Grass", "a dog runs")


def test_flickr8k_images_beside_the_captions(flickr: Path, gray: Gray) -> None:
    for path in (flickr / "Images").iterdir():
        path.rename(flickr / path.name)
    (flickr / "Images").rmdir()
    assert len(data.load(f"flickr8k:{flickr}")) == 3


@pytest.mark.parametrize(
    ("captions", "said"),
    [
        ("a.jpg,A dog\n", "has no column 'image'; begin it with image,caption"),
        ("", "has no column 'image'"),
        ("image,caption\n", "no rows"),
        ("image,caption\na.jpg,one,two\n", "line 2 has too many values.*quotes"),
        ("image,caption\na.jpg,\n", "line 2 has no caption"),
        ("image,caption\na.jpg\n", "line 2 has no caption"),
        ('image,caption\na.jpg,"open\n', "cannot be read as a table"),
        (CAPTIONS + "d.jpg,A bird .\n", r"image d\.jpg has captions but no file"),
        (CAPTIONS.replace("c.jpg", "a.jpg"), r"image c\.jpg has no line in captions\.txt"),
    ],
)
def test_flickr8k_broken_captions(flickr: Path, captions: str, said: str) -> None:
    (flickr / "captions.txt").write_text(captions)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"flickr8k:{flickr}")


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (None, r"test\.txt cannot be read \(No such file.*an image a line for #test"),
        ("", r"test\.txt is empty"),
        ("a.jpg\nb.jpg\na.jpg\n", r"test\.txt line 3 lists a\.jpg twice"),
        ("z.jpg\n", r"image z\.jpg has no line in captions\.txt"),
    ],
)
def test_flickr8k_broken_subset(flickr: Path, listed: str | None, said: str) -> None:
    if listed is not None:
        (flickr / "test.txt").write_text(listed)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"flickr8k:{flickr}#test")


def test_flickr8k_without_captions(flickr: Path) -> None:
    (flickr / "captions.txt").unlink()
    with pytest.raises(InvalidInput, match=r"captions\.txt cannot be read as a table \(No such"):
        data.load(f"flickr8k:{flickr}")
    (flickr / "captions.txt").write_bytes(b"image,caption\na.jpg,\xff\xfe\n")
    with pytest.raises(InvalidInput, match=r"captions\.txt cannot be read as a table"):
        data.load(f"flickr8k:{flickr}")


def test_flickr8k_has_all_captions(flickr: Path) -> None:
    source = data.load(f"flickr8k:{flickr}")
    assert isinstance(source, Captioned)
    assert source.captions(1) == ("a dog runs", "Grass .")
    assert source.owner == (0, 0, 1, 1, 2, 2)
    assert source.positives == ((0, 1), (0,), (0, 1), (1, 2), (1, 2), (2,))


def test_an_image_without_a_caption_of_its_own_can_be_searched_but_not_named(flickr: Path) -> None:
    (flickr / "captions.txt").write_text(CAPTIONS.replace("A cat .", "GRASS !"))
    source = data.load(f"flickr8k:{flickr}")
    assert isinstance(source, Captioned)
    assert source.captions(2) == ("Grass", "GRASS !")
    with pytest.raises(InvalidInput, match=r"image c\.jpg has no caption that an earlier"):
        _ = source.classes


# --- imagenet ----------------------------------------------------------------------------------

LABELS = """file,class_index,wnid,name
c.jpg,517,n03126707,crane
a.jpg,134,n02012849,crane
b.jpg,7,n01514668,cock
d.jpg,134,n02012849,crane
"""


@pytest.fixture
def imagenet(tmp_path: Path, gray: Gray) -> Path:
    for level, name in enumerate("abcd"):
        gray(f"images/{name}.jpg", 10 * level)
    (tmp_path / "labels.csv").write_text(LABELS)
    return tmp_path


def test_imagenet_orders_classes_and_leaves_out_a_second_name(imagenet: Path) -> None:
    source = data.load(f"imagenet:{imagenet}")
    assert source.ids == ("a.jpg", "b.jpg", "d.jpg")
    assert source.classes == ("cock", "crane")
    assert source.indices == (7, 134)
    assert source.prompt == "a photo of a {}"
    samples = source.read([2, 1, 0], (4, 4))
    assert levels(samples.images) == [30, 10, 0]
    assert samples.truth.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("file,class,name\n", "has no column 'class_index'"),
        (LABELS.replace("517", "x"), "line 2: class_index='x' is no number"),
        (LABELS + "b.jpg,8,n,hen\n", r"line 6 lists b\.jpg again"),
        (LABELS + "e.jpg,7,n,hen\n", "line 6 calls class 7 'hen', an earlier line 'cock'"),
        (LABELS + "e.jpg,8,n,hen\n", r"image e\.jpg of labels\.csv has no file"),
    ],
)
def test_imagenet_broken_table(imagenet: Path, labels: str, said: str) -> None:
    (imagenet / "labels.csv").write_text(labels)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"imagenet:{imagenet}")


# --- cifar -------------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def blob_of(pixels: np.ndarray) -> dict[str, np.ndarray]:
    files = []
    for image in pixels:
        held = io.BytesIO()
        Image.fromarray(image).save(held, "PNG")
        files.append(held.getvalue())
    blob = np.frombuffer(b"".join(files), dtype=np.uint8)
    return {"blob": blob, "offset": np.cumsum([0, *map(len, files)])}


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., str]:
    """Saves a CIFAR archive with some arrays changed, or taken away by None."""

    def save(**changes: np.ndarray | None) -> str:
        arrays = {"label": np.array([1, 0, 1]), "classes": np.array(["cat", "dog"]), **changes}
        np.savez(tmp_path / "c.npz", **{k: v for k, v in arrays.items() if v is not None})
        return f"cifar10:{tmp_path / 'c.npz'}"

    return save


@pytest.mark.parametrize("images", [{"image": PIXELS}, blob_of(PIXELS)], ids=["plain", "blob"])
def test_cifar_of_either_layout(archive: Callable[..., str], images: dict[str, np.ndarray]) -> None:
    source = data.load(archive(**images))
    assert source.ids == ("c-0", "c-1", "c-2")
    assert source.classes == ("cat", "dog")
    samples = source.read([2, 1], None)
    assert samples.truth.tolist() == [1, 0]
    expected = torch.from_numpy(PIXELS[[2, 1]]).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(samples.images, expected)
    assert source.read([0], (16, 16)).images.shape == (1, 3, 16, 16)


def test_cifar_with_a_broken_image(archive: Callable[..., str]) -> None:
    images = blob_of(PIXELS)
    images["blob"] = images["blob"].copy()
    images["blob"][images["offset"][1] :][:8] = 0
    source = data.load(archive(**images))
    source.read([0, 2], None)
    with pytest.raises(InvalidInput, match=r"c\.npz image 1 cannot be read as an image"):
        source.read([1], None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "image is not a file in the archive; add it"),
        ({"image": PIXELS, "label": None}, "label is not a file in the archive"),
        ({"image": PIXELS, "label": np.array([0, 1, 2])}, "from 0 to 1"),
        ({"image": PIXELS, "label": np.array([0, -1, 1])}, "from 0 to 1"),
        ({"image": PIXELS, "label": np.array([0.0, 1.0, 1.0])}, "label .*float64"),
        ({"image": PIXELS[:2]}, r"image must be uint8 \[3, H, W, 3\]"),
        ({"image": PIXELS / 255}, "image must be uint8"),
        ({"image": PIXELS, "classes": np.array(["cat", 1], dtype=object)}, "is broken or no"),
        ({"blob": np.zeros(9, np.uint8), "offset": np.array([0, 3, 6, 10])}, "offset must be 4"),
        ({"blob": np.zeros(9, np.uint8), "offset": np.array([0, 6, 3, 9])}, "offset must be 4"),
        ({"blob": np.zeros(9, np.uint8), "offset": np.array([0, 9])}, "offset must be 4"),
    ],
)
def test_cifar_broken(archive: Callable[..., str], changes: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        data.load(archive(**changes))


def test_cifar_that_is_no_archive(tmp_path: Path, archive: Callable[..., str]) -> None:
    name = archive(image=PIXELS)
    path = tmp_path / "c.npz"
    for content in (b"", b"text", path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"c\.npz is broken or no archive"):
            data.load(name)
    with pytest.raises(InvalidInput, match=r"cannot be opened \(No such file"):
        data.load(f"cifar10:{tmp_path}/d.npz")
