"""Captioned images in every published layout, and what is said of broken ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from secondlook import data
from secondlook.data.base import Captioned
from secondlook.data.captioned import CaptionedFiles
from secondlook.data.captions import groups
from secondlook.errors import InvalidInput
from secondlook.tasks.classification import ZeroShotTask
from tests.data.pixels import Gray, levels


def load(name: str, **settings: Any) -> CaptionedFiles:
    source = data.load(name, **settings)
    assert isinstance(source, CaptionedFiles)
    return source


def image(name: str, split: str, *texts: str, **more: Any) -> dict[str, Any]:
    return {"filename": name, "split": split, "sentences": [{"raw": t} for t in texts], **more}


KARPATHY = [
    image("a.jpg", "train", "A dog ."),
    image("b.jpg", "test", "A cat .", "One cat ."),
    image("c.jpg", "restval", "Grass .", "a dog"),
    image("d.jpg", "test", "a cat"),
]


@pytest.fixture
def four(tmp_path: Path, gray: Gray) -> Path:
    for level, name in enumerate("abcd"):
        gray(f"images/{name}.jpg", 10 * level)
    return tmp_path


def written(folder: Path, content: Any, name: str = "set.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


# --- karpathy ----------------------------------------------------------------------------------


def test_karpathy_by_split(four: Path) -> None:
    path = written(four, {"images": KARPATHY, "dataset": "x"})
    source = load(f"karpathy:{path}#test")
    assert source.ids == ("b.jpg", "d.jpg")
    assert source.texts == ("A cat .", "One cat .", "a cat")
    assert source.owner == (0, 0, 1)
    assert source.captions(0) == ("A cat .", "One cat .")
    assert source.positives == ((0, 1), (0,), (0, 1))
    samples = source.read([1, 0], (4, 4))
    assert levels(samples.images) == [30, 10]
    assert samples.truth.tolist() == [1, 0]
    assert source.labeled() is source
    assert load(f"karpathy:{path}#train+restval").ids == ("a.jpg", "c.jpg")
    assert len(load(f"karpathy:{path}")) == 4


def test_karpathy_with_folders_as_in_coco(tmp_path: Path, gray: Gray) -> None:
    gray("coco/val2014/a.jpg", 70)
    content = {"images": [image("a.jpg", "test", "A dog .", filepath="val2014")]}
    path = written(tmp_path, content)
    source = load(f"karpathy:{path}@{tmp_path}/coco#test")
    assert source.ids == ("val2014/a.jpg",)
    assert levels(source.read([-1], (4, 4)).images) == [70]
    assert source.read([-1], None).truth.tolist() == [0]


def test_an_at_sign_in_a_path_that_exists(tmp_path: Path, gray: Gray) -> None:
    gray("x@y/a.jpg", 70)
    path = written(tmp_path / "x@y", {"images": [image("a.jpg", "test", "A dog .")]})
    assert levels(load(f"karpathy:{path}#test").read([0], (4, 4)).images) == [70]


def test_captions_without_images(tmp_path: Path) -> None:
    path = written(tmp_path, {"images": KARPATHY})
    source = load(f"karpathy:{path}#test")
    assert source.texts == ("A cat .", "One cat .", "a cat")
    with pytest.raises(InvalidInput, match=r"set\.json#test lies .*without its images, b\.jpg"):
        source.read([0], (4, 4))
    with pytest.raises(InvalidInput, match=r"names image b\.jpg, which is not in .*nowhere \(2 of"):
        load(f"karpathy:{path}@{tmp_path}/nowhere#test")


def test_hash_goes_by_captions_and_crop(four: Path) -> None:
    path = written(four, {"images": KARPATHY})
    source = load(f"karpathy:{path}#test")
    changed = [dict(KARPATHY[1], sentences=[{"raw": "A cow ."}]), *KARPATHY[2:]]
    other = written(four, {"images": changed}, "other.json")
    assert source.hash == load(f"karpathy:{path}#test").hash
    assert source.hash != load(f"karpathy:{other}#test").hash
    assert source.hash != load(f"karpathy:{path}#test", keep=0.5).hash


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], r"set\.json has no 'images'"),
        ({"images": {}}, "images is an object and no list"),
        ({"images": [3]}, r"images\[0\] is a number and no object"),
        ({"images": []}, "has no split 'test'"),
        ({"images": [image("a.jpg", "val", "x")]}, "has no split 'test'; it has val"),
        ({"images": [image("", "test", "x")]}, r"images\[0\]: 'filename' is ''; write the text"),
        ({"images": [{"filename": "a.jpg", "sentences": []}]}, "'split' is nothing"),
        ({"images": [image("a.jpg", "test")]}, r"images\[0\]: 'sentences' is empty"),
        ({"images": [image("a.jpg", "test", "x", " \n")]}, r"sentences\[1\]: 'raw' is ' \\n'"),
        ({"images": [image("a.jpg", "test", "x")] * 2}, r"images\[1\] names a\.jpg again"),
        (
            {"images": [image("a.jpg", "test", "x"), image("z.jpg", "test", "x")]},
            r"names image z\.jpg, which is not in .*\(1 of 2 are missing\); add",
        ),
    ],
)
def test_karpathy_broken(four: Path, content: Any, said: str) -> None:
    path = written(four, content)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"karpathy:{path}#test")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"set\.json is no JSON \(Expecting value"),
        (b'{"images": [', r"set\.json is no JSON"),
        (b"[" * 200_000, r"set\.json is no JSON"),
        (b'{"images": "\xff\xfe"}', r"set\.json cannot be read .*UTF-8"),
        (None, r"set\.json cannot be read \(No such file"),
    ],
)
@pytest.mark.parametrize("family", ["karpathy", "sga", "refcoco"])
def test_files_that_are_no_json(tmp_path: Path, family: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "set.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"{family}:{tmp_path}/set.json")


# --- sga ---------------------------------------------------------------------------------------


def test_sga(four: Path) -> None:
    content = [
        {"image": "images/b.jpg", "caption": ["A cat. ", "One cat."]},
        {"image": "images/a.jpg", "caption": ["A dog."]},
    ]
    source = load(f"sga:{written(four, content)}")
    assert source.ids == ("images/b.jpg", "images/a.jpg")
    assert source.texts == ("A cat.", "One cat.", "A dog.")
    assert source.owner == (0, 0, 1)
    assert levels(source.read([0, 1], (4, 4)).images) == [10, 0]


def test_sga_for_training_has_an_entry_a_caption(four: Path) -> None:
    pairs = [("b.jpg", "A cat."), ("a.jpg", "A dog."), ("b.jpg", "One cat.")]
    content = [{"image": name, "caption": text, "image_id": 1} for name, text in pairs]
    source = load(f"sga:{written(four, content)}")
    assert source.ids == ("b.jpg", "a.jpg")
    assert source.captions(0) == ("A cat.", "One cat.")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, r"set\.json is an object and no list"),
        ([], r"set\.json holds no image"),
        ([{"caption": ["x"]}], r"set\.json\[0\]: 'image' is nothing"),
        ([{"image": "a.jpg"}], r"\[0\]: 'caption' must be a list of one text or more, not None"),
        ([{"image": "a.jpg", "caption": []}], "'caption' must be a list"),
        ([{"image": "a.jpg", "caption": ["x", 3]}], "'caption' is 3; write the text"),
        ([{"image": "a.jpg", "caption": ["x"]}] * 2, r"\[1\] names a\.jpg again"),
        ([{"image": "a.jpg", "caption": "x"}, {"image": "a.jpg", "caption": ["x"]}], r"names a\.jpg again"),
    ],
)
def test_sga_broken(four: Path, content: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        data.load(f"sga:{written(four, content)}")


# --- rsicd -------------------------------------------------------------------------------------

RSICD = [
    ("port_2.jpg", ["Ships .", "many ships ."]),
    ("00623.jpg", ["A town ."]),
    ("bareland_1.jpg", ["Sand .", "ships"]),
]


@pytest.fixture(params=["json", "jsonl"])
def rsicd(request: pytest.FixtureRequest, tmp_path: Path, gray: Gray) -> str:
    for level, (name, _) in enumerate(RSICD):
        gray(f"rsicd_images/{name}", 10 * level)
    if request.param == "json":
        content = {"images": [image(name, "test", *texts) for name, texts in RSICD]}
        return f"rsicd:{written(tmp_path, content)}#test"
    rows = [{"filename": f"rsicd_images/{n}", "captions": texts} for n, texts in RSICD]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return f"rsicd:{tmp_path}/test.jsonl"


def test_rsicd_serves_retrieval_and_classification(rsicd: str) -> None:
    source = load(rsicd)
    assert source.ids == ("port_2.jpg", "00623.jpg", "bareland_1.jpg")
    assert source.captions(2) == ("Sand .", "ships")
    assert source.positives[0] == (0, 2)
    named = source.labeled()
    assert named.ids == ("port_2.jpg", "bareland_1.jpg")
    assert named.classes == ("bare land", "port")
    assert named.prompt.format(named.classes[0]) == "Aerial photograph of bare land"
    samples = named.read([1, 0], (4, 4))
    assert levels(samples.images) == [20, 0]
    assert samples.truth.tolist() == [0, 1]


def test_classification_reads_the_images_with_a_class(rsicd: str) -> None:
    task = ZeroShotTask(data=rsicd, samples=0).open()
    assert task.source.classes == ("bare land", "port")
    assert sorted(task.rows) == [0, 1]


def test_rsicd_classes_as_published(rsicd: str) -> None:
    assert load(rsicd, spelling="published").labeled().classes == ("bareland", "port")
    assert load(rsicd, prompt="a {}").labeled().prompt == "a {}"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", r"test\.jsonl holds no image"),
        ('{"filename": "port_1.jpg"}', r"test\.jsonl line 1: 'captions' must be a list"),
        ('\n{"filename": ', r"test\.jsonl line 2 is no JSON"),
        ("[]", r"line 1 is a list and no object"),
        ('{"filename": "cat_1.jpg", "captions": ["x"]}', r"cat_1\.jpg begins with none of RSICD's"),
    ],
)
def test_rsicd_broken_lines(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "test.jsonl").write_text(lines)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"rsicd:{tmp_path}/test.jsonl")


def test_rsicd_lines_are_one_split(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"filename": "port_1.jpg", "captions": ["x"]}')
    with pytest.raises(InvalidInput, match=r"is one split; leave #val out"):
        data.load(f"rsicd:{tmp_path}/test.jsonl#val")


# --- tables and lines --------------------------------------------------------------------------


def test_csv(four: Path) -> None:
    (four / "set.csv").write_text('image,caption,by\nb.jpg,"A cat, black",me\na.jpg,A dog,\nb.jpg,Cat,\n')
    source = load(f"csv:{four}/set.csv")
    assert source.ids == ("b.jpg", "a.jpg")
    assert source.captions(0) == ("A cat, black", "Cat")
    assert levels(source.read([0, 1], (4, 4)).images) == [10, 0]
    (four / "set.csv").write_text("filepath,title\nc.jpg,Grass\n")
    assert load(f"csv:{four}/set.csv", image="filepath", caption="title").texts == ("Grass",)
    with pytest.raises(InvalidInput, match="has no column 'image'"):
        data.load(f"csv:{four}/set.csv")


def test_csv_with_a_missing_image(four: Path) -> None:
    (four / "set.csv").write_text("image,caption\na.jpg,A dog\nz.jpg,A fox\n")
    with pytest.raises(InvalidInput, match=r"set\.csv names image z\.jpg, .*1 of 2"):
        data.load(f"csv:{four}/set.csv")


def test_lines_go_by_the_order_of_names(four: Path) -> None:
    (four / "captions.txt").write_text("one\n\ntwo\nthree\nfour\n")
    source = load(f"lines:{four}/captions.txt@{four}/images")
    assert source.ids == ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert source.captions(2) == ("three",)
    assert levels(source.read([3], (4, 4)).images) == [30]
    assert load(f"lines:{four}/captions.txt").hash == source.hash


def test_lines_and_images_of_another_number(four: Path) -> None:
    (four / "captions.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(InvalidInput, match=r"has 3 captions and .*images 4 images; one line"):
        data.load(f"lines:{four}/captions.txt")
    (four / "captions.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InvalidInput, match=r"captions\.txt cannot be read .*UTF-8"):
        data.load(f"lines:{four}/captions.txt")


# --- real annotations --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "images", "texts"), [("flickr30k_test", 1000, 5000), ("coco_test", 5000, 25_010)])
def test_lists_of_sga(shared: Path, name: str, images: int, texts: int) -> None:
    source = load(f"sga:{shared}/data/retrieval-annotations/{name}.json")
    assert (len(source), len(source.texts)) == (images, texts)
    assert sum(len(source.captions(row)) for row in range(images)) == texts
    with pytest.raises(InvalidInput, match="without its images"):
        source.read([0], (4, 4))


def test_counts_of_rsicd(shared: Path) -> None:
    source = load(f"rsicd:{shared}/data/rsicd-captions/textaug_test_rsicd.jsonl")
    assert (len(source), len(source.texts)) == (1093, 5465)
    assert source.labels is not None
    assert len(source.labels.classes) == 30
    held = [label for label in source.labels.truth if label is not None]
    assert len(held) == 1027
    counts = {name: held.count(row) for row, name in enumerate(source.labels.classes)}
    assert (min(counts, key=counts.__getitem__), min(counts.values())) == ("church", 24)
    assert (max(counts, key=counts.__getitem__), max(counts.values())) == ("bridge", 46)


def test_captions_of_rsicd_that_several_images_share(shared: Path) -> None:
    source = load(f"rsicd:{shared}/data/rsicd-captions/textaug_test_rsicd.jsonl")
    distinct = groups(source.texts)
    bearers = [len({source.owner[text] for text in group}) for group in distinct]
    assert len(distinct) == 4635
    assert sum(count > 1 for count in bearers) == 195
    assert max(bearers) == 17
    assert max(len(rows) for rows in source.positives) == 17


def test_flickr8k_as_captioned(shared: Path) -> None:
    source = data.load(f"flickr8k:{shared}/data/flickr8k")
    assert isinstance(source, Captioned)
    assert (len(source), len(source.texts)) == (950, 4750)
    assert all(row in rows for row, rows in zip(source.owner, source.positives, strict=True))
