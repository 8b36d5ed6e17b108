"""Parquet files of the Hugging Face ecosystem: labels, captions, parts, and broken ones."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secondlook import data
from secondlook.data.base import Captioned
from secondlook.errors import InvalidInput, UnknownName
from tests.data.pixels import levels

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def png(level: int) -> dict[str, Any]:
    held = io.BytesIO()
    Image.new("L", (6, 4), level).save(held, "PNG")
    return {"bytes": held.getvalue(), "path": None}


def write(path: Path, columns: dict[str, list[Any]], names: list[str] | None = None) -> Path:
    """Writes a file with two rows in each group of rows, as `datasets` would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        meta = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": meta})
    pq.write_table(table, path, row_group_size=2)
    return path


def images(*levels: int) -> list[Any]:
    return [png(level) for level in levels]


def test_labels_by_number_with_their_names(tmp_path: Path) -> None:
    columns = {"image": images(0, 10, 20, 30, 40), "label": [1, 0, 1, 1, 0]}
    write(tmp_path / "data/test-00000-of-00001.parquet", columns, ["tabby_cat", "dog"])
    write(tmp_path / "data/train-00000-of-00001.parquet", columns, ["tabby_cat", "dog"])
    source = data.load(f"hf:{tmp_path}#test")
    assert source.classes == ("tabby cat", "dog")
    assert source.ids[4] == "test-00000-of-00001-4"
    samples = source.read([4, 0, 3, 4], (4, 4))
    assert levels(samples.images) == [40, 0, 30, 40]
    assert samples.truth.tolist() == [0, 1, 1, 0]
    with pytest.raises(InvalidInput, match="has the splits test, train; add one of them: #test"):
        data.load(f"hf:{tmp_path}")
    with pytest.raises(InvalidInput, match="has no split 'val'; it has test, train"):
        data.load(f"hf:{tmp_path}#val")


def test_parts_follow_each_other(tmp_path: Path) -> None:
    for part in range(3):
        columns = {"img": images(10 * part, 10 * part + 5), "label": [f"c{part}", "c0"]}
        write(tmp_path / f"test-{part:05}-of-00003.parquet", columns)
    source = data.load(f"hf:{tmp_path}")
    assert source.classes == ("c0", "c1", "c2")
    samples = source.read([5, 2, 0], None)
    assert levels(samples.images) == [25, 10, 0]
    assert samples.truth.tolist() == [0, 1, 0]
    (tmp_path / "test-00001-of-00003.parquet").unlink()
    with pytest.raises(InvalidInput, match="2 of 3 parts of 'test' are there; load the others"):
        data.load(f"hf:{tmp_path}")


def test_captions_and_some_labels(tmp_path: Path) -> None:
    columns = {
        "image": images(0, 10, 20),
        "captions": [["A dog .", "Dog"], ["A cat ."], ["a dog"]],
        "label": [1, None, 0],
    }
    path = write(tmp_path / "test.parquet", columns, ["cat", "dog"])
    source = data.load(f"hf:{path}")
    assert isinstance(source, Captioned)
    assert source.texts == ("A dog .", "Dog", "A cat .", "a dog")
    assert source.owner == (0, 0, 1, 2)
    assert source.positives[0] == (0, 2)
    assert source.read([2], None).truth.tolist() == [2]
    named = source.labeled()
    assert named.classes == ("cat", "dog")
    assert levels(named.read([0, 1], (4, 4)).images) == [0, 20]
    assert named.read([0, 1], None).truth.tolist() == [1, 0]


def test_one_caption_each_and_columns_by_name(tmp_path: Path) -> None:
    columns = {"a": [png(7)["bytes"]], "b": ["A dog"], "text": ["no"]}
    path = write(tmp_path / "x.parquet", columns)
    source = data.load(f"hf:{path}", image="a", caption="b")
    assert isinstance(source, Captioned)
    assert source.labeled() is source
    assert source.texts == ("A dog",)
    assert levels(source.read([0], None).images) == [7]
    with pytest.raises(UnknownName, match="column of captions 'c'"):
        data.load(f"hf:{path}", image="a", caption="c")
    with pytest.raises(InvalidInput, match="has the columns a, b, text; say which holds the im"):
        data.load(f"hf:{path}")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": images(1), "label": [2]}, "row 0: 'label' is 2; it must be one of 2 classes"),
        ({"image": images(1, 2), "label": [0, -1]}, "row 1: 'label' is -1; take a split with"),
        ({"image": images(1, 2), "label": [0, None]}, "row 1: 'label' is None; take a split"),
        ({"image": images(1), "caption": [" "]}, "row 0: 'caption' is ' '; write one text"),
        ({"image": images(1), "caption": [None]}, "row 0: 'caption' is None"),
        ({"image": images(1)}, "has the columns image; say which"),
    ],
)
def test_broken_columns(tmp_path: Path, columns: dict[str, list[Any]], said: str) -> None:
    path = write(tmp_path / "x.parquet", columns, ["a", "b"])
    with pytest.raises(InvalidInput, match=said):
        data.load(f"hf:{path}")


def test_labels_without_names(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"image": images(1), "label": [0]})
    with pytest.raises(InvalidInput, match="'label' is 0; its classes have no names"):
        data.load(f"hf:{path}")


def test_broken_images_are_found_when_read(tmp_path: Path) -> None:
    cells = [png(1), {"bytes": b"no image", "path": None}, {"bytes": None, "path": "a.png"}]
    path = write(tmp_path / "x.parquet", {"image": cells, "label": ["a", "b", "a"]})
    source = data.load(f"hf:{path}")
    source.read([0], None)
    with pytest.raises(InvalidInput, match="row 1 of group 0 cannot be read as an image"):
        source.read([1], None)
    with pytest.raises(InvalidInput, match="row 0 of group 1: 'image' holds no bytes"):
        source.read([2], None)


def test_files_that_are_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no \.parquet files in"):
        data.load(f"hf:{tmp_path}")
    with pytest.raises(InvalidInput, match="nowhere cannot be read as a folder"):
        data.load(f"hf:{tmp_path}/nowhere")
    path = write(tmp_path / "x.parquet", {"image": images(1), "label": ["a"]})
    for content in (b"", b"text" * 10, path.read_bytes()[:-20]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"x\.parquet cannot be read as parquet"):
            data.load(f"hf:{path}")


def test_parquet_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet", {"image": images(1), "label": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InvalidInput, match=r'needs pyarrow\.parquet; run: .*secondlook\[data\]"'):
        data.load(f"hf:{path}")
