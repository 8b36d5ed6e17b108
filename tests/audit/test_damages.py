"""A damaged run ends with the same figures, or with a line that names the file and a fix that works."""

import re
import shutil
from pathlib import Path

import pytest

from secondlook.audit.api import run_study
from secondlook.audit.study import Study
from secondlook.errors import BrokenRun, SecondlookError
from tests.audit.conftest import EVERY
from tests.audit.damages import DAMAGES
from tests.audit.deaths import State, state
from tests.audit.test_deaths import small

FIX = re.compile(
    r"^(?P<path>\S+\.jsonl), line (?P<line>\d+), .*delete the line, and the same command computes it again$"
)


def mended(study: Study, folder: Path, whole: State) -> list[str]:
    """What was told until the same command came to its end; each line that it named is deleted."""
    told: list[str] = []
    while len(told) < 9:
        try:
            found = state(folder, run_study(study, folder))
        except SecondlookError as error:
            told.append(str(error))
            assert str(folder) in told[-1], told
            fix = FIX.match(told[-1])
            if fix is None:
                return told
            path = Path(fix["path"])
            lines = path.read_bytes().splitlines(keepends=True)
            del lines[int(fix["line"]) - 1]
            path.write_bytes(b"".join(lines))
        else:
            assert found == whole
            return told
    raise AssertionError(f"no end of it: {told}")


@pytest.mark.parametrize("first", range(len(EVERY)), ids=EVERY)
def test_a_damage_is_mended_or_told_and_never_silent(
    first: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each damage on one task, in turn; ``benchmarks/bench_deaths.py`` does all of them to every task."""
    study, sound = small(EVERY[first], request), tmp_path / "sound"
    whole = state(sound, run_study(study, sound))
    assert len(DAMAGES) == 85
    for name, damage in list(DAMAGES.items())[first :: len(EVERY)]:
        folder = tmp_path / re.sub(r"\W+", "-", name)
        shutil.copytree(sound, folder)
        damage(folder)
        told = mended(study, folder, whole)
        assert len(told) <= 1, (name, told)


@pytest.mark.parametrize("task", ["classification", "retrieval"])
def test_a_file_that_is_remade_changes_nothing(task: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """One is torn, and one is that of another chunk: neither is to be deleted by anybody."""
    study, folder = small(task, request), tmp_path / "run"
    whole = state(folder, run_study(study, folder))
    torn, other, *_ = sorted((folder / "adversarial").rglob("*.safetensors"))
    other.write_bytes(torn.read_bytes())
    torn.write_bytes(torn.read_bytes()[:-1])
    lines = (folder / "records.jsonl").read_bytes()
    assert state(folder, run_study(study, folder)) == whole
    # The same again: nothing is written twice.
    assert (folder / "records.jsonl").read_bytes() == lines


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    study = small("classification", request)
    for folder, message in (
        (tmp_path / ("a" * 300), "File name too long; the file system takes no name so long"),
        (tmp_path / "file" / "run", "Not a directory; a part of its path is a file"),
    ):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(BrokenRun, match=message):
            run_study(study, folder)
