"""A stored set against a model on the console: where it comes from, and a line for each figure."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from secondlook.audit.replay import Rescored
from secondlook.audit.report.words import measure, search_order, title


def render(found: Rescored, model: str, console: Console) -> None:
    """Prints provenance and figures."""
    console.print(
        Text.assemble((str(found.about.get("set", "stored set")), "bold"), f" on {model}")
    )
    for name, value in found.about.items():
        if name != "set":
            console.print(Text.assemble((f"{name}: ", "dim"), str(value)))
    table = Table(box=None, pad_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("of", justify="right")
    most = max(found.denominators.values(), default=0)
    for name in sorted(found.metrics, key=search_order):
        n = found.denominators.get(name)
        figure = measure(name, found.metrics[name], most if n is None else n)
        table.add_row(title(name), figure, "" if n is None else str(n))
    console.print(Text(""), table, sep="\n")
