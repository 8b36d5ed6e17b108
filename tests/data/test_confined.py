"""Data stays in the folder that is named; links are followed where it is asked for."""

from pathlib import Path

import pytest

from secondlook import data
from secondlook.data.confined import folders, refuse_links, refuse_outside
from secondlook.errors import InvalidInput, UnknownName
from tests import tiny


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder of classes that are links to where the images lie."""
    tiny.write_folder(tmp_path / "store", 12)
    (tmp_path / "data").mkdir()
    for path in (tmp_path / "store").iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    return tmp_path / "data"


def test_links_of_ones_own_are_followed_where_it_is_asked_for(linked: Path) -> None:
    with pytest.raises(InvalidInput, match=r"leads out of .*data by a link; .*\?links=true"):
        data.load(f"folder:{linked}")
    found = data.load(f"folder:{linked}?links=true")
    assert found.hash == data.load(f"folder:{linked.parent}/store").hash
    assert len(found.read([0, 1], None).images) == 2


def test_a_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "store", 12)
    (tmp_path / "data").symlink_to(tmp_path / "store")
    assert data.load(f"folder:{tmp_path}/data").hash == data.load(f"folder:{tmp_path}/store").hash
    # And a link within the folder stays in it.
    (tmp_path / "store" / "red" / "again.png").symlink_to(next((tmp_path / "store" / "blue").iterdir()))
    assert len(data.load(f"folder:{tmp_path}/data")) == len(data.load(f"folder:{tmp_path}/store"))


def test_links_allow_no_way_out_by_name(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "store", 6)
    image = next((tmp_path / "store" / "red").iterdir())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text(f"image,caption\n../store/red/{image.name},red\n")
    for tail in ("", "?links=true"):
        with pytest.raises(InvalidInput, match="is outside of"):
            data.load(f"csv:{tmp_path}/data/x.csv{tail}")
    assert len(data.load(f"csv:{tmp_path}/data/x.csv@{tmp_path}/store/red")) == 1


def test_settings_follow_a_name(tmp_path: Path) -> None:
    place = tiny.write_folder(tmp_path / "what?keep=1", 6)
    # A question mark of a folder that is there is a part of its name.
    assert data.load(f"folder:{place}").keep == 1.0  # type: ignore[attr-defined]
    assert data.load(f"folder:{place}?keep=0.5").keep == 0.5  # type: ignore[attr-defined]
    with pytest.raises(UnknownName, match="'kep'; did you mean keep"):
        data.load(f"folder:{place}?kep=0.5")


def test_the_folders_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    (tmp_path / "im").mkdir()
    assert folders(f"{tmp_path}/x.json#test") == (tmp_path,)
    assert folders(f"{tmp_path}/x.json@{tmp_path}/im#test") == (tmp_path, tmp_path / "im")
    assert folders(f"{tmp_path}/im#test") == (tmp_path / "im",)


def test_neighbors_with_a_longer_name_are_outside(tmp_path: Path) -> None:
    for name in ("data", "database"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    (tmp_path / "data" / "2.png").symlink_to(tmp_path / "database" / "1.png")
    with pytest.raises(InvalidInput, match="outside"):
        refuse_outside([tmp_path / "database" / "1.png"], [tmp_path / "data"])
    with pytest.raises(InvalidInput, match="by a link"):
        refuse_links([tmp_path / "data" / "1.png", tmp_path / "data" / "2.png"], [tmp_path / "data"])
    refuse_links([tmp_path / "data" / "1.png"], [tmp_path / "data"])
