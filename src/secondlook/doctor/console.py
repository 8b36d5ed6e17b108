"""An examination on the console: a line for each check, and the mend below what is wrong."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from secondlook.doctor.outcome import Status
from secondlook.doctor.schema import Examination, Finding

_STYLES: dict[Status, str] = {
    "pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim",
}  # fmt: skip


def render(found: Examination, console: Console) -> None:
    """Prints all findings, then their number."""
    height, width = found.resolution
    console.print(Text.assemble((found.model, "bold"), f", {found.kind}, at {height}x{width}"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for finding in found.findings:
        style = _STYLES[finding.status]
        table.add_row(
            Text(finding.status.upper(), style=style), Text(finding.check), _told(finding)
        )
    console.print(table)
    counted = Counter(finding.status for finding in found.findings)
    told = [f"{counted[status]} {status}" for status in _STYLES if counted[status]]
    console.print(Text(", ".join(told), style=_STYLES["fail" if found.failed else "pass"]))


def _told(finding: Finding) -> Text:
    text = Text(finding.measured, style="dim" if finding.status == "skip" else "")
    return text.append(f"\n→ {finding.mend}", style="bold") if finding.mend else text
