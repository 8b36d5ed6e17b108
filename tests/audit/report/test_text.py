"""The console shows the figures as computed, at any width, and no name is taken for markup."""

import io
import re
import sys
from xml.etree import ElementTree

import pytest
from rich.console import Console

from secondlook.audit.report import figure_svg, markdown
from secondlook.audit.report.curves import panels
from secondlook.audit.report.matrix import blocks, opening, verdicts
from secondlook.audit.report.text import compact_html, render
from secondlook.errors import InvalidInput
from secondlook.scenes.source import CAVEAT
from secondlook.schema import Audit, Check, Metric
from tests.audit.report.test_page import parsed


def shown(audit: Audit, width: int) -> str:
    file = io.StringIO()
    render(audit, Console(file=file, width=width, color_system=None))
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_lines_fit(audit: Audit, width: int) -> None:
    assert max(map(len, shown(audit, width).splitlines())) <= width


@pytest.mark.parametrize(("width", "columns"), [(80, 2), (100, 3)])
def test_rows_hold_the_figures_of_their_cell(audit: Audit, width: int, columns: int) -> None:
    lines = shown(audit, width).splitlines()
    start = lines.index(next(line for line in lines if line.strip() == "consensus scenes:vae"))
    (row,) = [line for line in lines[start : start + 5] if "adaptive" in line]
    figures = ["63 [53, 72]", "68 [58, 76]", "21 [14, 30]"]
    wanted = figures if columns == 3 else [figures[0], figures[2]]
    places = [row.index(figure) for figure in wanted]
    assert places == sorted(places)
    assert row.split()[-3:] == ["100", "12×", "PASS"] if columns == 2 else "11.0" in row


def test_verdicts_come_first_and_the_withheld_says_why(audit: Audit) -> None:
    text = " ".join(shown(audit, 100).split())
    first = text.index("an attacker who knows the defense reaches the target on 63 % of images")
    assert first < text.index("over- ")
    assert "consensus scenes:ae: withheld: loss rises: the loss fell on 31 of 100" in text
    assert "consensus scenes:ae (withheld)" in text


def test_troubles_are_told_under_the_table(audit: Audit) -> None:
    text = shown(audit, 100)
    plain = " ".join(text.split())
    assert "FAIL loss rises: the loss fell" in plain and "(consensus scenes:ae, adaptive)" in plain
    assert "WARN enough samples" in plain, plain


def test_what_withholds_every_headline_is_told_once(make_cell, make_headline) -> None:
    few = Check(check="enough samples", status="fail", detail="n = 4; take n = 100 or more")
    flat = Check(check="loss rises", status="fail", detail="it fell")
    cells = [
        [make_cell(known, 0.5, 0.5, defense=name, health=checks) for known in ("clean", "oblivious", "adaptive")]
        for name, checks in (("jpeg", [few]), ("noise", [few, flat]))
    ]
    reasons = [[f"{known}: {c.reason}" for known in ("oblivious", "adaptive") for c in row[0].health] for row in cells]
    lines = [make_headline(row, status="withheld", reasons=why) for row, why in zip(cells, reasons, strict=True)]
    made = Audit(study="s", title="", provenance={}, cells=sum(cells, []), headline=lines)
    for text in (" ".join(shown(made, 160).split()), markdown(made), compact_html(made)):
        assert text.count("take n = 100 or more") == 1, text
        assert text.index("every withheld headline: enough samples failed") < text.index("jpeg: withheld")
        assert text.count("noise: withheld: loss rises failed: it fell (oblivious, adaptive)") == 1
    shorter = made.model_copy(update={"headline": lines[:1]})
    assert "jpeg: withheld: enough samples failed: n = 4;" in shown(shorter, 160)
    cells[0][0].health.clear()
    assert shown(made, 400).count("take n = 100 or more") == 2  # which rows they are stands below the table


def test_a_warning_of_every_verdict_is_no_part_of_each(make_cell, make_headline) -> None:
    few = Check(check="enough samples", status="warn", detail="n = 60; take n = 100 or more")
    cells = [
        [make_cell(known, 0.5, 0.5, defense=name, health=[few]) for known in ("clean", "adaptive")]
        for name in ("jpeg", "noise")
    ]
    lines = [make_headline(row) for row in cells]
    made = Audit(study="s", title="", provenance={}, cells=sum(cells, []), headline=lines)
    assert shown(made, 160).count("enough samples") == 1
    assert shown(made.model_copy(update={"headline": lines[:1]}), 160).count("enough samples") == 2


def test_one_check_is_one_line_with_its_rows(make_cell) -> None:
    check = Check(check="enough samples", status="fail", detail="n = 4; take n = 100 or more")
    cells = [make_cell("adaptive", 0.5, 0.5, steps=steps, health=[check]) for steps in range(1, 8)]
    made = Audit(study="s", title="", provenance={}, cells=cells, headline=[])
    text = shown(made, 200)
    assert text.count("enough samples") == 1 and "take n = 100 or more (all 7 rows)" in text
    cells[0] = make_cell("adaptive", 0.5, 0.5, steps=1, health=[])
    text = shown(made.model_copy(update={"cells": cells}), 400)
    assert text.count("enough samples") == 1 and "; 2 more)" in text


def test_the_first_line_says_whether_a_defense_holds(audit: Audit, make_cell) -> None:
    said = opening(audit)
    assert shown(audit, 160).splitlines()[2] == said
    shares = [each.worst_original_top1.value for each in audit.headline if each.status == "shown"]
    assert said.startswith("No defense here holds: the best, ") and f"leaves {100 * max(shares):.0f} % right of" in said
    none = Metric(value=0.0, low=0.0, high=0.3)
    fallen = [each.model_copy(update={"worst_original_top1": none}) for each in audit.headline]
    assert (
        opening(audit.model_copy(update={"headline": fallen})) == "No defense here holds: none leaves an answer right."
    )
    held = [each.model_copy(update={"worst_original_top1": each.clean_original_top1}) for each in audit.headline]
    assert "holds best: it leaves" in opening(audit.model_copy(update={"headline": held}))
    lost = [each.model_copy(update={"status": "withheld", "reasons": ["x"]}) for each in audit.headline]
    assert opening(audit.model_copy(update={"headline": lost})).startswith("No verdict")
    assert opening(audit.model_copy(update={"headline": []})) == ""


def test_a_verdict_has_both_numbers_the_cost_and_the_attack(audit: Audit) -> None:
    (vae,) = [verdict for verdict in verdicts(audit) if verdict.name == "consensus scenes:vae"][:1]
    assert "63 % of images" in vae.sentence and "; still right: " in vae.sentence
    assert "12× the time of the bare model" in vae.aside and "attacked by illusion" in vae.aside


def test_names_are_not_markup(audit: Audit) -> None:
    assert "[red]'x" in shown(audit, 160)


def test_only_the_embedded_world_is_called_so(audit: Audit, photographs: Audit) -> None:
    assert CAVEAT in " ".join(shown(audit, 100).split())
    assert "embedded" not in shown(photographs, 100)


def test_what_is_not_a_number_is_a_dash(audit: Audit) -> None:
    text = shown(audit, 160)
    assert "– [0, 100]" in text
    assert "nan" not in text


def test_markdown_has_headlines_tables_and_the_rest_folded(audit: Audit) -> None:
    text = markdown(audit)
    lines = text.splitlines()
    assert lines[0] == "## Illusions and consensus in the embedded world"
    assert "- consensus scenes:vae: an attacker who knows the defense reaches the target" in text
    (row,) = [
        line for line in lines if line.startswith("| consensus scenes:vae | adaptive | 63 ") and "12 %" not in line
    ][:1]
    assert "63 % \\[53, 72\\]" in row and row.endswith("| 100 | PASS |")
    assert text.count("<details>") == text.count("</details>") > 0
    headers = [line.count("|") for line in lines if line.startswith("| defense")]
    assert {line.count("|") - line.count("\\|") for line in lines if line[:1] == "|"} == set(headers)


def test_markdown_takes_no_name_for_markup(audit: Audit) -> None:
    text = markdown(audit)
    assert "<script>" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_result_shows_itself(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    audit.show()
    assert "consensus scenes:vae" in capsys.readouterr().out
    shown = audit._repr_html_()
    assert parsed(shown).open == [] and "<script>" not in shown
    assert "an attacker who knows the defense reaches the target on 63 %" in shown
    assert shown.count("<tr>") == len(audit.cells) + len(blocks(audit))
    assert shown.count('<div style="overflow-x:auto"><table>') == len(blocks(audit))
    assert all(f"<b>{block.task} · {block.model}" in shown for block in blocks(audit))


def test_a_frame_has_a_line_for_each_row(audit: Audit) -> None:
    pytest.importorskip("pandas")
    frame = audit.to_pandas()
    assert len(frame) == len(audit.cells)
    row = frame[(frame.defense == "consensus scenes:vae") & (frame.knowledge == "adaptive")].iloc[0]
    assert (row.target_top1, row.n, row.eps) == (0.63, 100, 8 / 255)
    assert row.target_top1_low < 0.63 < row.target_top1_high


def test_without_pandas_the_error_says_what_to_install(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidInput, match=r'pip install "secondlook\[pandas\]"'):
        audit.to_pandas()


def test_a_figure_stands_by_itself(audit: Audit, make_cell) -> None:
    drawn = figure_svg(audit)
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(--adaptive)" in drawn
    assert not re.search(r"<script|@import|url\((?!#)", drawn)
    assert drawn.count('role="img"') == sum(len(panel.columns) for panel in panels(audit.cells))
    bare = audit.model_copy(update={"cells": [make_cell("clean", 0, 1)], "headline": []})
    assert "correct" in figure_svg(bare) and "o-correct" in figure_svg(bare)


def test_a_long_table_is_folded(make_cell) -> None:
    rows = [make_cell("adaptive", 0.5, 0.5, steps=steps) for steps in range(1, 23)]
    for count, folded in ((20, False), (21, True)):
        made = Audit(study="s", title="", provenance={}, cells=rows[:count], headline=[])
        text = markdown(made)
        summary = f"<details><summary>zeroshot scenes:test · scenes:clip · L∞ 8/255: {count} rows"
        assert (summary in text) == folded


def test_the_first_line_takes_of_each_defense_the_goal_that_leaves_least(audit: Audit) -> None:
    """An attacker who wants any wrong answer is one, too; a withheld goal leaves the defense out."""
    defended = [line for line in audit.headline if line.defense != "undefended"]
    least = Metric(value=0.01, low=0.0, high=0.03)
    other = [
        line.model_copy(update={"goal": "untargeted", "worst_original_top1": least, "status": "shown", "reasons": []})
        for line in defended
    ]
    said = opening(audit.model_copy(update={"headline": [*audit.headline, *other]}))
    assert "leaves 1 % right of" in said or "leaves 1.0 % right of" in said
    lost = [line.model_copy(update={"status": "withheld", "reasons": ["few"]}) for line in other]
    assert opening(audit.model_copy(update={"headline": [*defended, *lost]})).startswith("No verdict")
