"""Two runs are compared on the same samples, by tests that keep what they promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest

import secondlook as sl
from secondlook.audit.comparison import compare, holm, mcnemar
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.schema import Audit
from tests.cli.test_cli import Ended, secondlook

__all__ = ["secondlook"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same 24 scenes at 2/255 and at 8/255 with one name for both, on two models, and with another seed."""
    place = tmp_path_factory.mktemp("runs")
    made = [("scenes:classifier", 0), ("scenes:classifier-at", 0), ("scenes:classifier", 1)]
    for at, (model, seed) in enumerate(made):
        found = sl.evaluate(
            model,
            "scenes:test",
            attacks=["fgsm"],
            defenses=["undefended", "jpeg"],
            samples=24,
            seed=seed,
            eps=8 / 255,
            progress=False,
        )
        found.save(place / str(at))
    return [place / str(at) for at in range(3)]


def test_a_hardened_model_is_seen_to_be_better(runs: list[Path]) -> None:
    found = compare(runs[0], runs[1])
    attacked = next(row for row in found.rows if "undefended" in row.row and "fgsm" in row.row)
    assert (
        attacked.n == 24 and attacked.second > attacked.first and attacked.low <= attacked.difference <= attacked.high
    )
    assert attacked.p == pytest.approx(
        binomtest(attacked.only_first, attacked.only_first + attacked.only_second).pvalue
    )
    assert round(24 * attacked.difference) == attacked.only_second - attacked.only_first
    assert attacked.differs == (attacked.adjusted <= 0.05 and not attacked.failed)
    mirrored = next(row for row in compare(runs[1], runs[0]).rows if row.row == attacked.row)
    assert (mirrored.difference, mirrored.p) == (-attacked.difference, attacked.p)
    assert len(found.to_pandas()) == len(found.rows)


def test_a_run_is_no_better_than_itself(runs: list[Path]) -> None:
    found = compare(runs[0], runs[0])
    assert all(row.p == 1 and row.difference == 0 for row in found.rows) and not found.left_out
    assert found.sentence.startswith("No difference")


def test_two_defenses_of_one_run(runs: list[Path]) -> None:
    found = compare(runs[0], runs[0], ("undefended", "jpeg"))
    assert found.rows and (found.first, found.second) == ("undefended", "jpeg")
    with pytest.raises(InvalidInput, match=r"no defense 'jpg'; it has jpeg, undefended"):
        compare(runs[0], runs[0], ("undefended", "jpg"))


def test_what_cannot_be_paired_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="differ in their seed"):
        compare(runs[0], runs[2])
    other = tmp_path / "other"
    other.mkdir()
    text = (runs[0] / "audit.json").read_text()
    (other / "audit.json").write_text(re.sub(r'"data": ?"\w+"', '"data":"0123"', text))
    with pytest.raises(InvalidInput, match="data that they evaluate"):
        compare(runs[0], other)
    (other / "audit.json").write_text(text)
    with pytest.raises(InvalidInput, match="no sample in common"):
        compare(runs[0], other)
    with pytest.raises(InvalidInput, match="no run directory"):
        compare(runs[0], tmp_path / "nothing")
    with pytest.raises(BrokenRun):
        compare(runs[0], tmp_path)
    with pytest.raises(InvalidInput, match="int is no run"):
        compare(runs[0], 3)  # type: ignore[arg-type]


def test_nothing_is_concluded_from_a_row_that_failed_a_check(runs: list[Path], tmp_path: Path) -> None:
    audit = Audit.model_validate_json((runs[1] / "audit.json").read_text())
    failed = sl.compare(runs[0], audit.of_run(runs[1]))
    assert all(row.failed == ("enough samples",) or not row.failed for row in failed.rows)
    assert not any(row.differs for row in failed.rows if row.failed)
    assert ("withheld: enough samples" in failed.markdown()) == any(row.failed for row in failed.rows)


def test_the_method_of_holm_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(0, 0.2, size=6)
        rejected = set()
        for rank, at in enumerate(np.argsort(p)):
            if p[at] > 0.05 / (6 - rank):
                break
            rejected.add(int(at))
        assert {at for at, each in enumerate(holm(p.tolist())) if each <= 0.05} == rejected


def test_of_a_thousand_pairs_without_a_difference_few_are_called_different() -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.random((1000, 60)) < 0.6 for _ in range(2))
    wrong = sum(mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) <= 0.05 for a, b in zip(one, two, strict=True))
    assert wrong <= binom.ppf(0.99, 1000, 0.05)
    assert mcnemar(0, 0) == 1.0


def test_the_command_shows_what_python_does(secondlook: Callable[..., Ended], runs: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "compared.html"
    ended = secondlook("compare", runs[0], runs[1], "--markdown", "--html", page)
    assert ended.status == 0 and ended.out == compare(runs[0], runs[1]).markdown()
    assert "<table>" in page.read_text()
    assert secondlook("compare", runs[0], "--defense", "jpeg", "--against", "undefended").status == 0
    for words in ((), ("--defense", "jpeg")):
        ended = secondlook("compare", runs[0], *words)
        assert ended.status == 2 and len(ended.err.strip().splitlines()) == 1
