"""What is written appears whole, under a name that nobody can foresee, and through no link."""

import os
from pathlib import Path

import pytest

from secondlook import drafts
from secondlook.drafts import leads_out, write_whole


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "run.json").symlink_to(outside)
    write_whole(tmp_path / "run.json", b"new")
    assert outside.read_bytes() == b"mine"
    assert not (tmp_path / "run.json").is_symlink() and (tmp_path / "run.json").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "run.json"]


def test_a_draft_is_opened_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts.secrets, "token_hex", lambda _: "foreseen")
    outside = tmp_path / "outside"
    (tmp_path / ".foreseen.part").symlink_to(outside)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "run.json", b"new")
    assert not outside.exists() and not (tmp_path / "run.json").exists()


def test_no_two_drafts_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    real = os.replace
    monkeypatch.setattr(drafts.os, "replace", lambda draft, path: (names.append(draft.name), real(draft, path)))
    for _ in range(3):
        write_whole(tmp_path / "x", b"")
    assert len(set(names)) == 3 and all(len(name) >= 22 for name in names)


def test_what_cannot_be_moved_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_link_that_leads_out_is_found_and_one_that_stays_is_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "deep").mkdir(parents=True)
    (run / "deep" / "a").write_text("a")
    (run / "same").symlink_to(run / "deep" / "a")
    (run / "round").symlink_to(run / "round")
    assert leads_out(run) is None
    # A run may itself be a link, to a larger disk.
    (tmp_path / "link").symlink_to(run)
    assert leads_out(tmp_path / "link") is None
    (run / "deep" / "out").symlink_to(tmp_path)
    assert leads_out(run) == run / "deep" / "out"
    assert leads_out(tmp_path / "nowhere") is None
