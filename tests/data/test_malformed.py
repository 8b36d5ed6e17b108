"""Files that are broken in every usual way, for every layout of data: an ``InvalidInput`` in one line, or data."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from secondlook import data, models, registry
from secondlook.audit.study import read
from secondlook.data import images
from secondlook.errors import InvalidInput
from secondlook.models.io.cards import read_card

FAMILIES = ("karpathy", "sga", "csv", "lines", "rsicd", "refcoco", "pairs", "hf", "cifar10", "cifar100", "stl10")
FOLDERS = ("folder", "flickr8k", "imagenet", "food101", "pets", "caltech101", "esc50", "audiocaps", "illusions")
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "text": b"just a text\n",
    "null": b"null",
    "number": b"5",
    "list": b"[]",
    "nested": b"[[[]]]",
    "object": b"{}",
    "deep": b"[" * 5000,
    "NaN": b'[{"image": NaN}]',
    "bytes": bytes(range(256)),
    "latin-1": "[é]".encode("latin-1"),
    "UTF-16": "[]".encode("utf-16"),
    "header": b"image,caption\n",
    "numbers": b'[{"image": 5, "caption": 5, "bbox": 5}]',
    "archive": b"PK\x03\x04broken",
    "pickle": b"\x80\x04K\x05.",
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_that_is_no_data(tmp_path: Path, family: str, content: str) -> None:
    suffix = {"csv": "csv", "lines": "txt", "pairs": "csv", "hf": "parquet", "cifar10": "npz", "cifar100": "npz"}
    path = tmp_path / f"x.{suffix.get(family, 'json')}"
    path.write_bytes(CONTENTS[content])
    with pytest.raises(InvalidInput) as raised:
        data.load(f"{family}:{path}")
    assert "\n" not in str(raised.value) and "object at 0x" not in str(raised.value)


@pytest.mark.parametrize("family", [*FAMILIES, *FOLDERS])
@pytest.mark.parametrize("place", ["missing", "empty", "file", "/dev/null", ""])
def test_a_place_that_holds_none(tmp_path: Path, family: str, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput) as raised:
        data.load_sounds(f"{family}:{tmp_path / place if place else ''}") if family in ("esc50", "audiocaps") else (
            data.load(f"{family}:{tmp_path / place if place else ''}")
        )
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("family", registry.names("data"))
def test_no_name_of_data_reaches_the_system_that_it_does_not_take(family: str) -> None:
    for name, message in (
        (f"{family}:a\0b", "has a NUL in its name"),
        (5, "5 is a int"),
        (Path("x"), "is a PosixPath"),
    ):
        with pytest.raises(InvalidInput, match=message):
            data.load(name)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput) as raised:
        data.load(f"{family}:{'a' * 5000}")
    assert len(str(raised.value)) < 11_000


@pytest.mark.parametrize("family", registry.names("model"))
def test_no_name_of_a_model_reaches_the_system_that_it_does_not_take(family: str) -> None:
    for name, message in (
        (f"{family}:a\0b", "has a NUL in its name"),
        (5, "5 is a int"),
        (Path("x"), "is a PosixPath"),
    ):
        with pytest.raises(InvalidInput, match=message):
            models.load(name)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        models.load(f"{family}:{'a' * 5000}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder:{at}?keep=0.9&keep=0.8", "stands twice"),
        ("folder:{at}?links=maybe", "write links=true or links=false"),
        ("folder:{at}", "class 0 of .* has a blank name"),
        ("sga:{at}/long.json", "File name too long; .* write a shorter one"),
        ("csv:{at}/long.csv", "File name too long"),
        ("folder:{at}/" + "a" * 300, "File name too long"),
    ],
)
def test_a_name_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    for color, inner in ((10, " "), (200, "dog")):
        (tmp_path / inner).mkdir()
        Image.new("RGB", (8, 8), (color, 0, 0)).save(tmp_path / inner / "1.png")
    far = "a" * 5000 + ".png"
    (tmp_path / "long.json").write_text(json.dumps([{"image": far, "caption": ["x"]}]))
    (tmp_path / "long.csv").write_text(f"image,caption\n{far},x\n")
    with pytest.raises(InvalidInput, match=message) as raised:
        data.load(name.format(at=tmp_path))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 700


QUIET = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(["image", "caption", "images", "filename", "split", "sentences", "raw", "captions", "bbox", "x"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@QUIET
@given(value=VALUES)
def test_any_json_is_data_or_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value), encoding="utf-8", errors="surrogatepass")
    for family in ("karpathy", "sga", "refcoco"):
        try:
            data.load(f"{family}:{path}")
        except InvalidInput as error:
            assert "x.json" in str(error)


TOML_KEYS = st.sampled_from(
    ["seed", "batch", "models", "task", "threat", "attack", "defenses", "knowledge", "name", "y"]
)


@QUIET
@given(
    table=st.dictionaries(
        TOML_KEYS,
        st.recursive(
            st.booleans() | st.integers(-5, 5) | st.floats() | st.text("ab'\" \\", max_size=4),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_any_toml_is_a_study_or_refused(tmp_path: Path, table: dict[str, object]) -> None:
    path = tmp_path / "x.toml"
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in table.items()), encoding="utf-8")
    try:
        read(str(path))
    except InvalidInput as error:
        assert str(path) in str(error)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value) if isinstance(value, bool | str) else str(value)


@QUIET
@given(text=st.text(max_size=60))
def test_any_text_is_a_study_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        read(str(path))
    except InvalidInput as error:
        assert str(path) in str(error)


@QUIET
@given(value=st.dictionaries(st.sampled_from(["kind", "input", "sha256", "labels", "labels_file", "z"]), VALUES))
def test_any_card_is_one_or_refused(tmp_path: Path, value: dict[str, object]) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    try:
        read_card(path)
    except InvalidInput as error:
        assert "x.json" in str(error)


@QUIET
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
    at=st.integers(0, 400),
    noise=st.binary(max_size=20),
)
def test_any_bytes_are_an_image_or_refused(tmp_path: Path, kind: str, at: int, noise: bytes) -> None:
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (10, 200, 30)).save(file, kind)
    whole = file.getvalue()
    path = tmp_path / "x.png"
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        found = images.read(path, (4, 4))
        assert found.shape == (3, 4, 4) and 0 <= float(found.min()) <= float(found.max()) <= 1
    except InvalidInput as error:
        assert "x.png" in str(error) and "\n" not in str(error)
