"""The page of results: what is in the repository is what its results give, and says no more."""

import re
from pathlib import Path

import pytest

from experiments.results import DOCS, LARGEST, distill, keep, kinds_missed, page, sections, split, written
from secondlook.audit.api import run_study
from secondlook.audit.finish import read_audit
from secondlook.audit.report import markdown
from secondlook.audit.study import parse, shipped
from secondlook.schema import Audit, Detection, Flagged, Metric
from tests.audit.rows import cell

KEPT = sorted((DOCS / "results").glob("*.json"))


def test_the_page_in_the_repository_is_what_its_results_give() -> None:
    text, figures = page(DOCS / "results")
    assert text == (DOCS / "results.md").read_text(encoding="utf-8")
    assert figures
    for name, drawn in figures.items():
        assert drawn == (DOCS / "results" / name).read_text(encoding="utf-8"), name


def test_every_result_has_a_section_and_every_section_a_study() -> None:
    studies = [section.study for section in sections(DOCS / "results")]
    assert len(studies) == len(set(studies))
    assert {file.stem for file in KEPT} <= set(studies)
    # Whose model and data that is, its user says.
    assert set(studies) == set(shipped()) - {"own", "as-deployed"}


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_kept_results_are_small_and_distilled(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.encode()) <= LARGEST
    assert written(distill(Audit.model_validate_json(text))) == text


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_nothing_is_concluded_from_what_is_withheld(file: Path) -> None:
    audit = Audit.model_validate_json(file.read_text(encoding="utf-8"))
    withheld = [
        audit.model_copy(
            update={
                "headline": [
                    h.model_copy(update={"status": "withheld", "reasons": ["no gradients"]}) for h in audit.headline
                ]
            }
        )
    ]
    verdicts, _ = split(markdown(withheld[0]))
    shared = ["- every withheld headline: no gradients"] if len(audit.headline) > 1 else []
    assert verdicts[: len(shared)] == shared and len(verdicts) == len(shared) + len(audit.headline)
    for verdict in verdicts[len(shared) :]:
        said, _, _ = verdict.partition(". Diagnosis of")  # which says of gradients, not of figures
        assert said.endswith("withheld" if shared else "withheld: no gradients")
        assert not re.search(r"\d+ %|\\\[\d", verdict)


def test_texts_of_sections_hold_no_interval_that_a_run_would_change() -> None:
    for section in sections(DOCS / "results"):
        assert not re.search(r"\[\d+(\.\d+)?, \d+(\.\d+)?\]", section.text), section.study


def test_what_a_detector_misses_is_told_by_kind_of_input() -> None:
    def kind(value: str, flagged: float) -> Flagged:
        return Flagged(attribute="shape", value=value, n=20, flagged=Metric(value=flagged, low=flagged, high=flagged))

    kinds = [kind(str(i), i / 10) for i in range(10)]
    found = Detection(rejected=Metric(value=0.5, low=0.4, high=0.6), by_attribute=kinds, calibrated={})
    rows = [cell(known, detection=found) for known in ("clean", "adaptive")]
    audit = Audit(study="s", title="", provenance={}, cells=rows, headline=[])
    clean, attacked = distill(audit).cells
    assert clean.detection and attacked.detection and clean.detection.by_attribute == []
    assert [each.value for each in attacked.detection.by_attribute] == ["0", "1", "2", "9", "8", "7"]
    (line,) = (line for line in kinds_missed(audit) if "shape" in line)
    assert "shape 0 100 % of 20, shape 1 90 % of 20" in line and "shape 9 10 % of 20" in line


def test_what_is_kept_says_the_same_as_the_run(tmp_path: Path) -> None:
    study = parse(
        {
            "name": "default",
            "task": {"name": "zeroshot", "samples": 6},
            "batch": 6,
            "examples": 0,
            "attack": {"name": "illusion", "steps": 3},
            "adaptive": {"steps": 2},
            "defenses": [{"name": "undefended"}, {"name": "jpeg"}],
        },
        "a test",
    )
    run_study(study, tmp_path / "run")
    whole = read_audit(tmp_path / "run")
    kept = Audit.model_validate_json(keep(tmp_path / "run", tmp_path).read_text(encoding="utf-8"))
    assert split(markdown(kept)) == split(markdown(whole))
    assert len(written(kept)) < len((tmp_path / "run" / "audit.json").read_text()) / 2
