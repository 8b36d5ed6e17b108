"""The end of a run: its result is read again, its page made anew, and what is broken is told."""

import json
import re
from pathlib import Path

import pytest

from secondlook.audit import finish
from secondlook.audit.api import run_study
from secondlook.errors import BrokenRun
from tests.audit.conftest import Make, Run, Whole


def test_a_result_of_another_schema_is_told(whole: Whole, tmp_path: Path) -> None:
    content = json.loads((whole.folder / "audit.json").read_text(encoding="utf-8"))
    del content["cells"][0]["outcomes"]
    (tmp_path / "audit.json").write_text(json.dumps(content))
    with pytest.raises(BrokenRun, match=r"does not fit this version \(1 fields\)"):
        finish.read_audit(tmp_path)
    (tmp_path / "audit.json").write_text('{"schema": 1, "ce')
    with pytest.raises(BrokenRun, match=r"audit\.json is no JSON; run `secondlook audit` again"):
        finish.read_audit(tmp_path)


def test_a_broken_gallery_is_told(whole: Whole, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_bytes((whole.folder / "audit.json").read_bytes())
    assert finish.write_page(tmp_path).exists()
    (tmp_path / "gallery.json").write_text('[{"sample": ')
    with pytest.raises(BrokenRun, match=r"gallery\.json is no gallery; run the audit again"):
        finish.write_page(tmp_path)


def test_a_page_is_made_again_as_it_was(any_study: Make, ran: Run) -> None:
    folder, audit = ran(any_study())
    page = (folder / "report.html").read_text(encoding="utf-8")
    (folder / "report.html").unlink()
    assert finish.write_page(folder).read_text(encoding="utf-8") == page
    assert finish.read_audit(folder).model_dump_json() == audit.model_dump_json()


@pytest.mark.parametrize(
    ("what", "name", "again"),
    [
        ("examples", "gallery.json", "the same `secondlook audit` makes it again"),
        ("html", "report.html", "`secondlook report .*` makes it again"),
    ],
)
@pytest.mark.parametrize("error", [ValueError("a picture of no size"), BrokenRun("no room"), OSError(28, "full")])
def test_what_only_shows_a_result_never_loses_it(
    classification: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    name: str,
    again: str,
    error: Exception,
) -> None:
    def failing(*args: object) -> None:
        raise error

    monkeypatch.setattr(finish, what, failing)
    study = classification(knowledge=["clean"], task={**classification().task, "samples": 6})
    audit = run_study(study, tmp_path)
    assert finish.read_audit(tmp_path).cells == audit.cells
    assert not (tmp_path / name).exists()
    assert re.search(rf"{name} was not made: .*The result is safe in audit\.json, and {again}", caplog.text), (
        caplog.text
    )
    monkeypatch.undo()
    run_study(study, tmp_path)
    assert (tmp_path / name).exists()


def test_a_name_that_is_no_utf_8_loses_no_result(classification: Make, tmp_path: Path) -> None:
    study = classification(knowledge=["clean"], task={**classification().task, "samples": 2})
    made = run_study(study, tmp_path / "run", command="secondlook audit --out \udcff")
    assert made.provenance["command"] == "secondlook audit --out \\udcff"
    assert finish.read_audit(tmp_path / "run").provenance["command"] == made.provenance["command"]
