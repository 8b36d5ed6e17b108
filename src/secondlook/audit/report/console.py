"""The report on the console: verdicts first, then the table, then what the health checks say."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from secondlook.audit.report.tables import Block, Group, Row, blocks
from secondlook.audit.report.verdict import EMBEDDED, Verdict, embedded, verdicts
from secondlook.audit.report.words import (
    NOTHING,
    carried,
    ends,
    is_share,
    percent,
    plainly,
    times,
    title,
)
from secondlook.audit.schema import Audit, Status

_ROOMY = 100
_STYLES: dict[Status, str] = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_KNOWLEDGE = {"clean": "dim", "oblivious": "blue", "transfer": "magenta", "adaptive": "bright_red"}


def render(audit: Audit, console: Console) -> None:
    """Prints an audit; from 100 columns on with every column, below with the chief ones."""
    console.print(Text(audit.title or audit.study, style="bold"), Text(""), sep="\n")
    for verdict in verdicts(audit):
        console.print(_verdict(verdict))
    for block in blocks(audit):
        console.print(Text(""), _table(block, console.width >= _ROOMY), sep="\n")
        for row in block.rows:
            _troubles(row, block, console)
    if embedded(audit):
        console.print(Text(f"\n{EMBEDDED}", style="dim"))


def _verdict(verdict: Verdict) -> Text:
    head, _, rest = verdict.sentence.removeprefix(verdict.name).partition(": ")
    line = Text.assemble(("● ", "red" if verdict.withheld else "dim"), (verdict.name, "bold"), head)
    return line.append(f": {rest}", style="bold red" if verdict.withheld else "")


def _table(block: Block, roomy: bool) -> Table:
    caption = [block.task, block.model, block.budget]
    table = Table(
        title=Text(" · ".join(part for part in caption if part)), title_justify="left",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
    )  # fmt: skip
    table.add_column("defence\n  attacker", overflow="fold", ratio=1)
    headers = [_header(metric) for metric in _metrics(block, roomy)]
    for header in [*headers, "n", *_costs(block, roomy)]:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("health", no_wrap=True)
    for group in block.groups:
        _add(table, group, block, roomy)
    return table


def _header(metric: str) -> str:
    unit = ", %" if is_share(metric) else ""
    return title(metric).replace(" ", "\n", 1) + unit


def _costs(block: Block, roomy: bool) -> tuple[str, ...]:
    """Headers of what a defence costs; three outcomes leave no room for them below 100 columns."""
    if roomy:
        return ("forw./\nimage", "over-\nhead")
    return () if block.goal == "untargeted" else ("over-\nhead",)


def _metrics(block: Block, roomy: bool) -> tuple[str, ...]:
    """Untargeted the outcomes, whose shares make one; targeted the chief ranks."""
    first, second, third, *_ = block.shown
    return (first, second, third) if roomy or block.goal == "untargeted" else (first, third)


def _add(table: Table, group: Group, block: Block, roomy: bool) -> None:
    metrics, costs = _metrics(block, roomy), len(_costs(block, roomy))
    lost = " (withheld)" if group.withheld else ""
    table.add_row(Text(group.name + lost, style="bold red" if lost else "bold"))
    for i, row in enumerate(group.rows):
        cell = row.cell
        forwards = Text(f"{cell.ledger.forwards / cell.n:.1f}" if cell.n else NOTHING)
        spent = [forwards, Text(times(cell.ledger.overhead))]
        table.add_row(
            Padding(Text(row.name, style=_KNOWLEDGE.get(cell.knowledge, "")), (0, 0, 0, 2)),
            *(_figure(row, metric, roomy) for metric in metrics), Text(str(cell.n)),
            *spent[len(spent) - costs :], _health(row),
            end_section=i == len(group.rows) - 1,
        )  # fmt: skip


def _figure(row: Row, metric: str, roomy: bool) -> Text:
    if metric not in row.cell.metrics:
        return Text(NOTHING, style="dim")
    figure, n = row.cell.metrics[metric], row.cell.n
    style = "strike" if row.status == "fail" else ""
    if is_share(metric):
        value = percent(figure.value, n).removesuffix(" %")
        interval = ends(figure, carried(n) if roomy else 0)
    else:
        value, interval = plainly(metric, figure, n)
    return Text.assemble((value, style), (f" {interval}", "dim"))


def _health(row: Row) -> Text:
    return Text(row.status.upper(), style=_STYLES[row.status])


def _troubles(row: Row, block: Block, console: Console) -> None:
    group = next(group for group in block.groups if row in group.rows)
    for check in row.troubles:
        line = Text(f"{check.status.upper()} ", style=_STYLES[check.status])
        line.append(f"{group.name}, {row.name}: {check.check}: {check.detail}", style="default")
        console.print(line)
