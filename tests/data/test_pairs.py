"""Pairs of an image and what was generated from it: no pair is guessed and none is left out."""

from pathlib import Path

import pytest

from secondlook import data
from secondlook.data.pairs import PairedFiles
from secondlook.errors import InvalidInput
from tests.data.pixels import Gray, levels

TABLE = "input,generated,label\nin/b.png,out/1.png,clean\nin/a.png,out/2.png,adversarial\n"


@pytest.fixture
def four(tmp_path: Path, gray: Gray) -> Path:
    for level, name in enumerate(("in/a", "in/b", "out/1", "out/2")):
        gray(f"{name}.png", 10 * level)
    (tmp_path / "pairs.csv").write_text(TABLE)
    return tmp_path


def load(name: str) -> PairedFiles:
    source = data.load(name)
    assert isinstance(source, PairedFiles)
    return source


def test_pairs_of_a_table(four: Path) -> None:
    source = load(f"pairs:{four}/pairs.csv")
    assert source.ids == ("in/b.png", "in/a.png")
    assert source.classes == ("adversarial", "clean")
    samples = source.read([0, 1], (4, 4))
    assert levels(samples.images) == [10, 0]
    assert samples.truth.tolist() == [1, 0]
    assert levels(source.generated([0, 1], (4, 4))) == [20, 30]
    (four / "pairs.csv").rename(four / "in/pairs.csv")
    assert load(f"pairs:{four}/in/pairs.csv@{four}").hash == source.hash


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("input,generated\na,b\n", "has no column 'label'"),
        (TABLE + "in/a.png,out/1.png,clean\n", r"line 4 pairs in/a\.png again"),
        (TABLE + "in/c.png,out/1.png,clean\n", r"line 4: input .*in/c\.png is not there"),
        (TABLE.replace("out/2", "out/3"), r"line 3: generated .*out/3\.png is not there"),
        (TABLE + "in/c.png,,clean\n", "line 4 has no generated"),
    ],
)
def test_broken_tables(four: Path, table: str, said: str) -> None:
    (four / "pairs.csv").write_text(table)
    with pytest.raises(InvalidInput, match=said):
        data.load(f"pairs:{four}/pairs.csv")


def test_folders_pair_by_name(tmp_path: Path, gray: Gray) -> None:
    for level, name in enumerate(("in/a.png", "in/b.jpg", "out/a.jpg", "out/b.png")):
        gray(name, 10 * level)
    source = load(f"pairs:{tmp_path}/in@{tmp_path}/out")
    assert source.ids == ("a", "b")
    assert levels(source.read([1, 0], (4, 4)).images) == [10, 0]
    assert levels(source.generated([1, 0], (4, 4))) == [30, 20]


def test_folders_of_another_number_are_never_cut_short(tmp_path: Path, gray: Gray) -> None:
    for name in ("in/a.png", "in/b.png", "out/a.png"):
        gray(name, 1)
    with pytest.raises(InvalidInput, match=r"out has no image 'b' \(2 inputs, 1 generated\)"):
        data.load(f"pairs:{tmp_path}/in@{tmp_path}/out")
    with pytest.raises(InvalidInput, match=r"out has no image 'b'"):
        data.load(f"pairs:{tmp_path}/out@{tmp_path}/in")
    gray("in/a.jpg", 1)
    with pytest.raises(InvalidInput, match=r"a\.png and a\.jpg have one name"):
        data.load(f"pairs:{tmp_path}/in@{tmp_path}/out")
    with pytest.raises(InvalidInput, match="has no partner; write pairs:INPUTS@GENERATED"):
        data.load(f"pairs:{tmp_path}/in")
