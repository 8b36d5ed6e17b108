"""``secondlook compare``: two runs on the same samples, or two defenses of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secondlook.audit.comparison import Comparison


def compare(
    first: Annotated[Path, typer.Argument(help="A run directory.")],
    second: Annotated[
        Path | None, typer.Argument(help="Another on the same samples; the first again where none is named.")
    ] = None,
    defense: Annotated[str | None, typer.Option(help="Rows of this defense in the first run …")] = None,
    against: Annotated[str | None, typer.Option(help="… with those of this defense in the second.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the table as a page as well.")] = None,
) -> None:
    """Compare two runs sample by sample: exact McNemar, a paired bootstrap, Holm over all rows.

    For example: ``secondlook compare runs/before runs/after``, or
    ``secondlook compare runs/default --defense jpeg --against "consensus scenes:vae"``.
    """
    from secondlook.audit.comparison import compare as compared
    from secondlook.errors import InvalidInput

    if (defense is None) != (against is None):
        raise InvalidInput("--defense and --against belong together; name both, or none to compare all rows")
    if second is None and defense is None:
        raise InvalidInput("secondlook compare takes two runs, or one with --defense and --against")
    found = compared(first, second or first, None if defense is None or against is None else (defense, against))
    if html is not None:
        _write(html, found)
    _show(found, markdown)


def _show(found: Comparison, markdown: bool) -> None:
    from rich.table import Table

    from secondlook.terminal import Terminal, printable

    if markdown:
        typer.echo(printable(found.markdown()), nl=False)
        return
    title, *rest = found.lines()
    table = Table(box=None, pad_edge=False)
    for at, each in enumerate(title):
        table.add_column(each, justify="left" if at < 2 else "right", overflow="fold")
    for line in rest:
        table.add_row(*line)
    console = Terminal(highlight=False, markup=False, emoji=False)
    console.print(table)
    for each in found.left_out:
        console.print(f"not compared: {each}")
    console.print(found.sentence, soft_wrap=True)


def _write(path: Path, found: Comparison) -> None:
    from importlib.resources import files

    from secondlook.drafts import write_atomic

    style = files("secondlook.audit.report").joinpath("page.css").read_text(encoding="utf-8")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>compared</title><style>{style}</style>'
    page = f"{head}<main>{found._repr_html_()}</main></html>"
    write_atomic(path, page.encode("utf-8", "replace"))
