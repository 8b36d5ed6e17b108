"""The console shows the figures as computed, at any width, and no name is taken for markup."""

import io

import pytest
from rich.console import Console

from secondlook.audit.report.console import render
from secondlook.audit.report.verdict import EMBEDDED
from secondlook.audit.schema import Audit


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
    first = text.index("an attacker who knows the defence reaches the target on 63 % of images")
    assert first < text.index("over- ")
    assert "consensus scenes:ae: withheld: loss rises: the loss fell on 31 of 100" in text
    assert "consensus scenes:ae (withheld)" in text


def test_troubles_are_told_under_the_table(audit: Audit) -> None:
    text = shown(audit, 100)
    assert "FAIL consensus scenes:ae, adaptive: loss rises: the loss fell" in text
    assert "WARN consensus scenes:diffusion, adaptive: enough samples: n = 100" in text


def test_names_are_not_markup(audit: Audit) -> None:
    assert "[red]'x" in shown(audit, 160)


def test_only_the_embedded_world_is_called_so(audit: Audit, photographs: Audit) -> None:
    assert EMBEDDED in " ".join(shown(audit, 100).split())
    assert "embedded" not in shown(photographs, 100)


def test_what_is_not_a_number_is_a_dash(audit: Audit) -> None:
    text = shown(audit, 160)
    assert "– [0, 100]" in text
    assert "nan" not in text
