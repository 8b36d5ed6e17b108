"""What was published beside what is left: rings and dots, their order, the table, and the page from JSON alone."""

import re
from typing import Any

import pytest

from secondlook.audit.claims import card_of
from secondlook.audit.report import figure_svg, markdown
from secondlook.audit.report.claims import CAPTION, card_said, comparisons, line_cells, picture
from secondlook.audit.report.page import html
from secondlook.schema import Audit, Cell, ClaimCard, Claimed, Kept, PublishedFigure
from tests.audit.report.conftest import HOSTILE, cell, headline, share
from tests.audit.report.test_page import parsed
from tests.audit.report.test_text import shown

WIDE = (10.0, 410.0)
"""Where 0 and 100 % stand."""


def place(value: float) -> float:
    return WIDE[0] + value * (WIDE[1] - WIDE[0])


def defended(name: str, card: ClaimCard | None, **left: float) -> tuple[list[Cell], Claimed]:
    """Rows of a defense, and what is claimed of it."""
    kept = {known.replace("_", "-"): share(value) for known, value in left.items()}
    settings = {"defense": {"name": name}, "attack": {}}
    rows = [cell("clean", 0, 0.9, defense=name, settings=settings)]
    rows += [cell(known, 0.5, metric.value, defense=name, settings=settings) for known, metric in kept.items()]
    worst = min(kept.values(), key=lambda metric: metric.value)
    budget = Kept(threat=rows[-1].threat, goal="targeted", n=100, kept=kept, worst=worst, verdict="masked")
    about: dict[str, Any] = {"task": rows[0].task, "model": rows[0].model, "defense": name, "row": rows[0].id}
    cost = {"forwards": 4.0, "backwards": 2.0}
    return rows, Claimed(**about, **cost, card=card, clean=rows[0].metrics["original_top1"], budgets=[budget])


def card(**figure: Any) -> ClaimCard:
    figures = (PublishedFigure(source="summary", **figure),)
    return ClaimCard(paper="P", built="after", about="the abstract", figures=figures)


@pytest.fixture(scope="module")
def judged() -> Audit:
    parts = [
        defended("undefended", None, adaptive=0.05, black_box=0.3),
        defended("first", card(robust=72.6, data="ImageNet", n=1000), oblivious=0.6, black_box=0.3, adaptive=0.1),
        defended(HOSTILE, card(gain=(7, 12), over=HOSTILE), oblivious=0.7, black_box=0.5, adaptive=0.4),
    ]
    cells = [row for rows, _ in parts for row in rows]
    told = [headline(rows) for rows, _ in parts]
    return Audit(study="s", title="", provenance={}, cells=cells, headline=told, claims=[claim for _, claim in parts])


def circles(drawn: str, kind: str) -> list[float]:
    return [float(x) for x in re.findall(rf'<circle class="{kind}" cx="([^"]*)"', drawn)]


def test_rings_and_dots_stand_at_their_shares(judged: Audit) -> None:
    (found,) = comparisons(judged)
    drawn = str(picture(found))
    # What leaves most is first; nobody can know more of a bare model than the model.
    assert [line.name for line in found.lines] == [HOSTILE, "first", "undefended"]
    assert circles(drawn, "dot k-oblivious") == pytest.approx([place(x) for x in (0.7, 0.6, 0.05)])
    assert circles(drawn, "dot k-adaptive") == pytest.approx([place(x) for x in (0.4, 0.1, 0.05)])
    assert circles(drawn, "ring") == pytest.approx([place(0.726)])
    assert "dot k-black-box" not in drawn and "nan" not in drawn.lower()


def test_the_table_has_all_of_them_side_by_side(judged: Audit) -> None:
    (found,) = comparisons(judged)
    assert found.known == ["clean", "oblivious", "black-box", "adaptive"]
    _, first, bare = found.lines
    assert [each.partition(" [")[0] for each in line_cells(found, first)] == [
        "first (after)",
        "72.6 % (ImageNet)",
        "90 %",
        "60 %",
        "30 %",
        "10 %",
        "4 F + 2 B",
        "masked",
    ]
    assert bare.said == "" and bare.card is None
    assert "72.6 % (ImageNet)" in markdown(judged) and "+7 to +12 points over" in markdown(judged)


@pytest.mark.parametrize("width", [80, 100])
def test_the_console_has_room_for_it(judged: Audit, width: int) -> None:
    said = shown(judged, width)
    assert max(map(len, said.splitlines())) <= width and "4 F + 2 B" in " ".join(said.split())


def test_the_page_and_the_figure_are_made_of_the_result_alone(judged: Audit) -> None:
    again = Audit.model_validate_json(judged.model_dump_json(by_alias=True))
    page = html(again, [])
    assert page == html(judged, []) and figure_svg(again) == figure_svg(judged)
    assert 'class="ring"' in figure_svg(again)
    read = parsed(page)
    assert "claims" in read.ids and "#claims" in read.addresses and "<script>alert" not in page
    said = " ".join(" ".join(read.text).split())
    assert " ".join(CAPTION.split()) in said and "built: after the paper. the abstract" in said


def test_an_audit_without_claims_says_nothing_of_them(audit: Audit) -> None:
    page = html(audit, [])
    assert "claims" not in parsed(page).ids and CAPTION not in page and CAPTION not in shown(audit, 100)


def test_a_card_is_told_in_lines() -> None:
    found = card_of("clipure-cos")
    assert found is not None
    said = "\n".join(card_said(found))
    assert said.startswith("CLIPure-Cos · ICLR 2025 · arXiv 2502.18176")
    assert "claim: 72.6 % (ImageNet, ViT-L/14, 4/255)" in said and "claim: 91.1 % (CIFAR-10)" in said
    unknown = card_of("tte")
    assert unknown is not None and "claim: no claim known" in "\n".join(card_said(unknown))
