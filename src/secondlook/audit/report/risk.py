"""Risk against coverage: how many accepted answers are wrong, were more or fewer accepted."""

from __future__ import annotations

from markupsafe import Markup

from secondlook.audit.report.curves import SHARES
from secondlook.audit.report.frame import HEIGHT, LEFT, RIGHT, WIDTH, frame
from secondlook.audit.report.svg import Scale, Spot, board, path, tag
from secondlook.audit.report.tables import Group, Row
from secondlook.audit.report.words import percent

ACROSS = Scale(low=0, high=1, start=LEFT, end=RIGHT)
_TICKS = {0.0: "0", 0.5: "50", 1.0: "100 %"}


def worth(group: Group) -> bool:
    """Whether the defence has a suspicion that tells inputs apart, and answers were asked for."""
    spreads = [
        cell.metrics["suspicion"].sd
        for cell in group.cells
        if cell.risk is not None and "suspicion" in cell.metrics
    ]
    return any(spreads)


def picture(group: Group) -> Markup:
    """A line for each row, and a dot where the defence itself draws the line.

    Of several budgets only the largest is drawn, beside no attack at all.
    """
    eps = max(cell.threat.eps for cell in group.cells)
    rows = [
        row for row in group.rows
        if row.cell.risk is not None and row.cell.threat.eps in (0.0, eps)
    ]  # fmt: skip
    told = "; ".join(f"{row.name}: {_figures(row)}" for row in rows)
    return board(
        WIDTH, HEIGHT, f"Wrong answers among the accepted, by the share accepted. {told}.",
        frame(ACROSS, _TICKS, "coverage: accepted inputs"), *(_line(row) for row in rows),
        *(_dot(row) for row in rows if "selective_accuracy" in row.cell.metrics),
    )  # fmt: skip


def _line(row: Row) -> Markup:
    risk = row.cell.risk
    assert risk is not None, "a row without risks has no line"
    spots = [Spot(ACROSS(x), SHARES(y)) for x, y in zip(risk.coverage, risk.risk, strict=True)]
    return tag("path", class_=f"line k-{row.cell.knowledge}", d=path(spots))


def _dot(row: Row) -> Markup:
    accepted, right = (row.cell.metrics[name].value for name in ("coverage", "selective_accuracy"))
    return tag(
        "circle", tag("title", f"{row.name}: {_figures(row)}"),
        class_=f"dot k-{row.cell.knowledge}", cx=ACROSS(accepted), cy=SHARES(1 - right), r=4.2,
    )  # fmt: skip


def _figures(row: Row) -> str:
    metrics, n = row.cell.metrics, row.cell.n
    if "selective_accuracy" not in metrics:
        return "accepts nothing"
    wrong = percent(1 - metrics["selective_accuracy"].value, n)
    return f"accepts {percent(metrics['coverage'].value, n)}, {wrong} of that wrong"
