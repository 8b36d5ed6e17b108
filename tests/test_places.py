"""Folders of this machine, and how they are told to others."""

from pathlib import Path
from typing import Any

import pytest

from secondlook import places
from secondlook.audit.study import parse
from secondlook.places import anonymous, at_home, everywhere


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user called alice, who works in a folder of hers."""
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr(places.Path, "cwd", lambda: Path("/home/alice/work"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hf:/home/alice/clip?dtype=bf16", "hf:~/clip?dtype=bf16"),
        ("csv:/home/alice/x.csv@/home/alice/im#test", "csv:~/x.csv@~/im#test"),
        ("/home/alice", "~"),
        ("/home/alicent/x", "/home/alicent/x"),
        ("scenes:clip, 8/255", "scenes:clip, 8/255"),
    ],
)
def test_the_home_folder_is_a_tilde(text: str, told: str) -> None:
    assert at_home(text) == told


def test_a_study_is_stored_without_the_home_folder() -> None:
    table = {"name": "s", "models": ["hf:/home/alice/clip"], "task": {"data": "folder:/home/alice/cats"}}
    study = parse(table, "here")
    assert study.models == ["hf:~/clip"] and study.task == {"data": "folder:~/cats"}
    assert parse(study.model_dump(), "again") == study


STUDY = {
    "models": ["hf:/home/alice/work/clip", "local:/scratch/alice/w/vae", "scenes:clip", "hf:http://x/y"],
    "task": {"data": "csv:/data/a b/x.csv@/data/a b/im#test"},
    "threat": {"eps": ["8/255"]},
}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hf:/home/alice/work/clip on /home/alice/x", "hf:clip on ~/x"),
        ("local:/scratch/alice/w/vae holds", r"local:[0-9a-f]{8}/vae holds"),
        ("/data/a b/im/1.png", r"[0-9a-f]{8}/im/1.png"),
        ("eps 8/255, http://x/y and scenes:clip", "eps 8/255, http://x/y and scenes:clip"),
        ("of /scratch/alice", r"of [0-9a-f]{8}"),
    ],
)
def test_what_is_shared_names_no_folder(text: str, told: str) -> None:
    change = anonymous(STUDY, "secondlook audit x.toml --out=/scratch/alice")
    pattern = told if "[0-9" in told else told.replace(".", r"\.")
    import re

    assert re.fullmatch(pattern, change(text)), change(text)


def test_two_folders_stay_two(monkeypatch: pytest.MonkeyPatch) -> None:
    change = anonymous({"models": ["hf:/a/clip", "hf:/b/clip"]}, "")
    assert change("hf:/a/clip") != change("hf:/b/clip")


def test_keys_are_told_too_and_pictures_stay() -> None:
    content: dict[str, Any] = {"/x": ["/x", ("/x", 1, None)], "picture": "iVBORw0/x"}
    assert everywhere(content, lambda text: text.replace("/x", "X")) == {
        "X": ["X", ["X", 1, None]],
        "picture": "iVBORw0/x",
    }
