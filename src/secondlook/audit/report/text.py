"""The report as text: on the console, and as Markdown with its tables folded away."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from markupsafe import escape
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from secondlook.audit.report.claims import CAPTION, Comparison, comparisons, headers, line_cells
from secondlook.audit.report.matrix import (
    Block,
    Group,
    Row,
    Trouble,
    Verdict,
    blocks,
    caveats,
    everywhere,
    foreign,
    grouped,
    opening,
    verdicts,
    withheld_alike,
)
from secondlook.audit.report.words import NOTHING, carried, diagnosed, ends, measure, percent, plainly, times
from secondlook.audit.rescore import Rescored
from secondlook.schema import Audit, Status
from secondlook.tasks.view import Column, view_of

_ROOMY = 100
_LONG = 20
"""Rows of a table that is not folded."""
_STYLES: dict[Status, str] = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_KNOWLEDGE = {
    "clean": "dim",
    "oblivious": "blue",
    "transfer": "magenta",
    "black-box": "green",
    "adaptive": "bright_red",
}


def render(audit: Audit, console: Console) -> None:
    """Prints an audit; from 100 columns on with every column, below with the chief ones."""
    console.print(Text(audit.title or audit.study, style="bold"), Text(""), sep="\n")
    if said := opening(audit):
        console.print(Text(said, style="bold"), Text(""), sep="\n")
    found = verdicts(audit)
    alike, warned = withheld_alike(found), everywhere(found)
    for reason in alike:
        console.print(Text(_of_all(reason), style="bold red"))
    for verdict in found:
        console.print(_verdict(verdict, alike))
        aside = verdict.beside([check.check for check in warned])
        if aside and not verdict.withheld:
            console.print(Padding(Text(aside, style="dim"), (0, 0, 0, 2)))
        if verdict.diagnosis:
            style = "dim" if verdict.diagnosis.verdict == "no masking found" else "yellow"
            console.print(Padding(Text(diagnosed(verdict.diagnosis), style=style), (0, 0, 0, 2)))
    for block in blocks(audit):
        console.print(Text(""), _table(block, console.width >= _ROOMY), sep="\n")
        for trouble in grouped(block):
            if trouble.reason not in alike or len(trouble.rows) < len(block.rows):
                console.print(_trouble(trouble, len(block.rows)))
    for comparison in comparisons(audit):
        console.print(Text(""), _claims(comparison, console.width >= _ROOMY), sep="\n")
    for note in _notes(audit):
        console.print(Text(f"\n{note}", style="dim"))


def _notes(audit: Audit) -> list[str]:
    """What has to be said of all figures."""
    return [
        *([CAPTION] if audit.claims else []),
        *caveats(audit),
        *(f"The task {task} is not installed here: its figures are shown as they are." for task in foreign(audit)),
    ]


def _of_all(reason: str) -> str:
    """A reason that is told once, in front of the verdicts."""
    return f"every withheld headline: {reason}"


def _verdict(verdict: Verdict, alike: Collection[str]) -> Text:
    head, _, rest = verdict.said(alike).removeprefix(verdict.name).partition(": ")
    line = Text.assemble(("● ", "red" if verdict.withheld else "dim"), (verdict.name, "bold"), head)
    return line.append(f": {rest}", style="bold red" if verdict.withheld else "")


def _table(block: Block, roomy: bool) -> Table:
    caption = [block.task, block.model, block.budget]
    table = Table(
        title=Text(" · ".join(part for part in caption if part)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("defense\n  attacker", overflow="fold", ratio=1)
    headers = [_header(column) for column in block.chief(roomy)]
    for header in [*headers, "n", *_costs(block, roomy)]:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("health", no_wrap=True)
    for group in block.groups:
        _add(table, group, block, roomy)
    return table


def _header(column: Column) -> str:
    unit = ", %" if column.unit == "share" else ""
    return column.title.replace(" ", "\n", 1) + unit


def _costs(block: Block, roomy: bool) -> tuple[str, ...]:
    """Headers of what a defense costs; three figures leave no room for them below 100 columns."""
    if roomy:
        return ("forw./\nimage", "over-\nhead")
    return () if len(block.chief(roomy)) > 2 else ("over-\nhead",)


def _add(table: Table, group: Group, block: Block, roomy: bool) -> None:
    columns, costs = block.chief(roomy), len(_costs(block, roomy))
    lost = " (withheld)" if group.withheld else ""
    table.add_row(Text(group.name + lost, style="bold red" if lost else "bold"))
    for i, row in enumerate(group.rows):
        cell = row.cell
        forwards = Text(f"{cell.ledger.forwards / cell.n:.1f}" if cell.n else NOTHING)
        spent = [forwards, Text(times(cell.ledger.overhead))]
        table.add_row(
            Padding(Text(row.name, style=_KNOWLEDGE.get(cell.knowledge, "")), (0, 0, 0, 2)),
            *(_figure(row, column, roomy) for column in columns),
            Text(str(cell.n)),
            *spent[len(spent) - costs :],
            _health(row),
            end_section=i == len(group.rows) - 1,
        )


def _figure(row: Row, column: Column, roomy: bool) -> Text:
    if column.metric not in row.cell.metrics:
        return Text(NOTHING, style="dim")
    figure, n = row.cell.metrics[column.metric], row.cell.n
    style = "strike" if row.status == "fail" else ""
    if column.unit == "share":
        value = percent(figure.value, n).removesuffix(" %")
        interval = ends(figure, carried(n) if roomy else 0)
    else:
        value, interval = plainly(column, figure, n)
    return Text.assemble((value, style), (f" {interval}", "dim"))


def _health(row: Row) -> Text:
    return Text(row.status.upper(), style=_STYLES[row.status])


def _claims(comparison: Comparison, roomy: bool) -> Table:
    """What was published of each defense beside what is left of it."""
    title = Text(f"Claimed, and left here · {comparison.title}")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in headers(comparison):
        table.add_column(name, style=_KNOWLEDGE.get(name, ""), overflow="fold", no_wrap=name == "passes")
    for line in comparison.lines:
        table.add_row(*map(Text, line_cells(comparison, line, brief=not roomy)))
    return table


def _trouble(trouble: Trouble, of: int) -> Text:
    """One line for a kind of check: what it says of the first of its rows, and which they are."""
    line = Text(f"{trouble.status.upper()} ", style=_STYLES[trouble.status])
    line.append(f"{trouble.check}: {trouble.detail}", style="default")
    return line.append(f" ({trouble.where(of)})", style="dim")


def render_rescored(found: Rescored, model: str, task: str, console: Console) -> None:
    """Prints a stored set against a model: where it comes from, and a line for each figure."""
    console.print(Text.assemble((str(found.about.get("set", "stored set")), "bold"), f" on {model}"))
    for name, value in found.about.items():
        if name != "set":
            console.print(Text.assemble((f"{name}: ", "dim"), str(value)))
    table = Table(box=None, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("of", justify="right")
    most = max(found.denominators.values(), default=0)
    for column in _in_order(task, found):
        n = found.denominators.get(column.metric)
        figure = measure(column, found.metrics[column.metric], most if n is None else n)
        table.add_row(column.title, figure, "" if n is None else str(n))
    console.print(Text(""), table, sep="\n")


def _in_order(task: str, found: Rescored) -> list[Column]:
    """The task's own columns in its order, then the others."""
    view = view_of(task)
    own = [column for column in view.columns if column.metric in found.metrics]
    named = {column.metric for column in own}
    return [*own, *(view.column(name) for name in sorted(found.metrics) if name not in named)]


def markdown(audit: Audit) -> str:
    """Headlines, then the tables, long ones and those of further figures folded; for GitHub.

    What comes from outside is escaped.
    """
    lines = [f"## {_plain(audit.title or audit.study)}", ""]
    lines += [_plain(said), ""] if (said := opening(audit)) else []
    lines += [f"- {_plain(line)}" for line in _verdict_lines(audit)]
    lines += [line for note in _notes(audit) for line in ("", f"> {_plain(note)}")]
    for comparison in comparisons(audit):
        lines += ["", f"**Claimed, and left here: {_plain(comparison.title)}**", "", *_claims_rows(comparison)]
    for block in blocks(audit):
        lines += ["", *_markdown_block(block)]
    return "\n".join(lines) + "\n"


def _verdict_lines(audit: Audit) -> list[str]:
    """What is told of all that are withheld, and each verdict in a sentence, with its diagnosis."""
    found = verdicts(audit)
    alike = withheld_alike(found)
    told = (
        f"{verdict.said(alike)}. {diagnosed(verdict.diagnosis)}" if verdict.diagnosis else verdict.said(alike)
        for verdict in found
    )
    return [*map(_of_all, alike), *told]


def _markdown_block(block: Block) -> Iterator[str]:
    title = " · ".join(part for part in (block.task, block.model, block.budget) if part)
    if len(block.rows) <= _LONG:
        yield from (f"**{_plain(title)}**", "", *_rows(block, block.columns))
    else:
        yield from _folded(f"{title}: {len(block.rows)} rows", _rows(block, block.columns))
    for name, _, columns in [*block.tables, ("All other figures", "", block.details)]:
        if columns:
            yield from ("", *_folded(name, _rows(block, columns)))


def _folded(summary: str, lines: Iterable[str]) -> Iterator[str]:
    yield from (f"<details><summary>{escape(' '.join(summary.split()))}</summary>", "", *lines, "", "</details>")


def _rows(block: Block, columns: Sequence[Column]) -> Iterator[str]:
    names = ["defense", "attacker", *(column.title for column in columns), "n", "health"]
    yield f"| {' | '.join(map(_plain, names))} |"
    yield f"|{'---|' * 2}{'---:|' * (len(columns) + 1)}---|"
    for cells in table_cells(block, columns):
        yield f"| {' | '.join(map(_plain, cells))} |"


def _claims_rows(comparison: Comparison) -> Iterator[str]:
    yield f"| {' | '.join(map(_plain, headers(comparison)))} |"
    yield f"|{'---|' * len(headers(comparison))}"
    for line in comparison.lines:
        yield f"| {' | '.join(map(_plain, line_cells(comparison, line)))} |"


def _measured(row: Row, column: Column) -> str:
    metric = row.cell.metrics.get(column.metric)
    return NOTHING if metric is None else measure(column, metric, row.cell.n)


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing but text."""
    escaped = str(escape(" ".join(text.split())))
    for mark in "\\`*_|[]":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped


def compact_html(audit: Audit) -> str:
    """The headlines and the main table as a fragment of HTML, for notebooks."""
    said = "".join(f"<li>{escape(line)}</li>" for line in _verdict_lines(audit))
    tables = "".join(map(_html_block, blocks(audit)))
    return (
        f"<div><b>{escape(audit.title or audit.study)}</b><p>{escape(opening(audit))}</p><ul>{said}</ul>{tables}</div>"
    )


def _html_block(block: Block) -> str:
    """A table under its title, which scrolls by itself; a long one can be folded away."""
    title = escape(" · ".join(part for part in (block.task, block.model, block.budget) if part))
    table = f'<div style="overflow-x:auto">{_html_table(block)}</div>'
    if len(block.rows) <= _LONG:
        return f"<p><b>{title}</b></p>{table}"
    return f"<details open><summary><b>{title}</b>: {len(block.rows)} rows</summary>{table}</details>"


def _html_table(block: Block) -> str:
    names = ["defense", "attacker", *(column.title for column in block.columns), "n", "health"]
    head = "".join(_html_cell(name, "col", at) for at, name in enumerate(names))
    body = "".join(
        f"<tr>{''.join(_html_cell(text, 'row' if at < 2 else '', at) for at, text in enumerate(cells))}</tr>"
        for cells in table_cells(block, block.columns)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(text: str, scope: str, at: int) -> str:
    """A cell, or the header of a ``scope``; the two names that a row begins with stand on the left."""
    side = ' style="text-align:left"' if at < 2 else ""
    return f'<th scope="{scope}"{side}>{escape(text)}</th>' if scope else f"<td>{escape(text)}</td>"


def table_cells(block: Block, columns: Sequence[Column]) -> Iterator[list[str]]:
    """The rows of a table in words, defense after defense."""
    for group in block.groups:
        for row in group.rows:
            figures = [_measured(row, column) for column in columns]
            yield [group.name, row.name, *figures, str(row.cell.n), row.status.upper()]
