"""The section on diagnoses: each defense once, a row for each manner, and the verdict beside that of the defense."""

import re
from typing import Any

import pytest

from secondlook.audit.report import markdown
from secondlook.audit.report.diagnosis import Diagnosed, diagnosed
from secondlook.audit.report.matrix import blocks, verdicts
from secondlook.audit.report.page import html
from secondlook.schema import Audit, Cell, Diagnosis
from tests.audit.report import conftest
from tests.audit.report.conftest import cell, headline
from tests.audit.report.test_page import parsed
from tests.audit.report.test_text import shown


def audit(*cells: Cell) -> Audit:
    return Audit(study="d", title="", provenance={}, cells=list(cells), headline=[headline(list(cells))])


def knowing(found: Diagnosis, **changes: Any) -> Cell:
    return cell("adaptive", 0.3, 0.2, diagnosis=found, **changes)


def of(*cells: Cell) -> list[Diagnosed]:
    found = diagnosed(blocks(audit(cell("clean", 0, 0.9), *cells)))
    return [each for _, some in found for each in some]


def section(page: str) -> str:
    start = page.index('<section aria-labelledby="diagnosis">')
    return page[start : page.index("</section>", start) + len("</section>")]


def row(page: str, name: str) -> list[str]:
    (found,) = re.findall(rf'<tr><th scope="row">{name}<span.*?</tr>', section(page), re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", "", each).split()) for each in re.findall(r"<td.*?</td>", found, re.DOTALL)]


def test_a_row_has_what_its_manner_did(audit: Audit) -> None:
    page = html(audit, [])
    assert row(page, "bare") == ["12 % [2, 47]", "40 % [31, 50]", "0.61", "1", "0 %", "–", "–"]
    assert row(page, "as-is") == ["88 % [53, 98]", "10 % [6, 17]", "0.00", "1.7e-15", "100 %", "-0.30", "–"]
    assert row(page, "queries") == ["50 % [22, 78]", "–", "0.20", "–", "–", "–", "–"]
    assert row(page, "gate taken away") == ["could not run: nothing is ever rejected"]


def test_the_verdict_and_what_speaks_for_it_stand_above_the_rows(audit: Audit) -> None:
    said = " ".join(" ".join(parsed(section(html(audit, []))).text).split())
    assert "consensus scenes:vae ✕ masked" in said
    assert "7 of 8 samples; the gradient as it is: 1 (p = 0.016)" in said
    assert (
        "changes by 17 per pixel unit, and by 3e-14 as the defense's own gradient says, which hides it on 100%" in said
    )


def test_further_searches_follow_their_manner_and_what_could_not_run_is_last() -> None:
    (found,) = of(knowing(conftest.diagnosed()))
    names = [manner.name for manner in found.manners]
    assert names == ["bare", "bare, targeted margin", "as-is", "queries", "gate taken away"]


def test_rows_that_share_a_diagnosis_share_a_table_and_the_one_that_counts_who_was_first_is_told() -> None:
    made = conftest.diagnosed()
    plain = {
        name: each.model_copy(update={"first": None})
        for name, each in made.manners.items()
        if name != "bare, targeted margin"
    }
    other = knowing(made.model_copy(update={"manners": plain}), id="other", attack="pgd")
    (found,) = of(other, knowing(made))
    assert [row.cell.attack for row in found.rows] == ["illusion", "pgd"]
    assert found.found.manners["bare"].first is not None
    assert len(of(knowing(made), knowing(made.model_copy(update={"n": 9}), id="other"))) == 2


def test_of_several_budgets_the_largest_is_shown() -> None:
    weak, strong = conftest.diagnosed(verdict="no masking found"), conftest.diagnosed()
    (found,) = of(knowing(weak, eps=1 / 255), knowing(strong, eps=4 / 255))
    assert found.found.verdict == "masked"


def test_without_a_diagnosis_there_is_no_section(photographs: Audit) -> None:
    read = parsed(html(photographs, []))
    assert "diagnosis" not in read.ids and "#diagnosis" not in read.addresses
    assert "Diagnosis" not in markdown(photographs) + shown(photographs, 100)


@pytest.mark.parametrize("status", ["shown", "withheld"])
def test_the_gravest_verdict_stands_beside_that_of_the_defense(status: str) -> None:
    good = conftest.diagnosed(verdict="no masking found", sentence="Nothing says so.")
    rows = [cell("clean", 0, 0.9), knowing(good), knowing(conftest.diagnosed(), id="other", attack="pgd")]
    made = audit(*rows).model_copy(update={"headline": [headline(rows, status=status, reasons=["loss rises"])]})
    (verdict,) = verdicts(made)
    assert verdict.diagnosis is not None and verdict.diagnosis.verdict == "masked"
    told = "Diagnosis of 8 samples: masked. The gradient through this defense does not show where it fails."
    page = " ".join(" ".join(parsed(html(made, [])).text).split()).replace(" :", ":").replace(" .", ".")
    for text in (" ".join(shown(made, 100).split()), markdown(made), page):
        assert text.count(told) == 1
