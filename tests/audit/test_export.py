"""What other programs read of a run is what it holds."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import secondlook as sl
from secondlook.audit.export import bibtex, export, latex
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.schema import Audit
from tests.cli.test_cli import Ended, secondlook

__all__ = ["secondlook"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = sl.evaluate(
        "scenes:clip",
        "scenes:test",
        attacks=["illusion"],
        defenses=["undefended", "jpeg"],
        knowledge=("clean", "oblivious"),
        samples=8,
        eps=4 / 255,
        progress=False,
    )
    return found.save(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def audit(run: Path) -> Audit:
    return Audit.model_validate_json((run / "audit.json").read_text())


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_records_have_a_line_for_each_sample_of_each_row(run: Path, audit: Audit, tmp_path: Path, kind: str) -> None:
    export(run, tmp_path / f"records.{kind}")
    frame = (pd.read_parquet if kind == "parquet" else pd.read_csv)(tmp_path / f"records.{kind}")
    assert len(frame) == sum(cell.n for cell in audit.cells)
    for cell in audit.cells:
        rows = frame[frame["cell"] == cell.id]
        assert set(rows["defense"]) == {cell.defense} and set(rows["knowledge"]) == {cell.knowledge}
        assert rows["original_top1"].mean() == pytest.approx(cell.metrics["original_top1"].value)
        assert (rows["outcome"] == "correct").sum() == cell.outcomes.correct


def test_tables_are_latex(audit: Audit) -> None:
    text = latex(audit)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") >= 1
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(audit.cells)
    assert len({line.count("&") for line in body}) == 1 and all(line.endswith(r"\\") for line in body)
    assert "%" not in text.replace(r"\%", "").replace("% ", "") and "∞" not in text


def test_what_was_used_is_cited(audit: Audit) -> None:
    text = bibtex(audit)
    assert "eprint = {2308.11804}" in text and "illusion" in text
    assert text.count("@misc{") == text.count("archivePrefix")


def test_the_ending_says_what_is_written(run: Path, tmp_path: Path, secondlook: Callable[..., Ended]) -> None:
    for name in ("table.tex", "table.md", "used.bib"):
        assert secondlook("export", run, tmp_path / "out" / name).status == 0
        assert (tmp_path / "out" / name).read_text()
    with pytest.raises(InvalidInput, match=r"ends in \.doc"):
        export(run, tmp_path / "table.doc")
    with pytest.raises(BrokenRun):
        export(tmp_path, tmp_path / "table.tex")
