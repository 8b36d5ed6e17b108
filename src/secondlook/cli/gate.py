"""``--gate``, ``--junit`` and ``--summary`` of ``secondlook audit`` and ``report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secondlook.audit.gate import Gate
    from secondlook.schema import Audit

Gates = Annotated[
    list[str] | None,
    typer.Option("--gate", help='A bound to keep, "consensus.adaptive.original_top1>=0.4"; repeatable.'),
]
JUnit = Annotated[Path | None, typer.Option(help="Write the gates as a JUnit file.")]
Summary = Annotated[
    Path | None, typer.Option(help="Append gates and tables as Markdown here; $GITHUB_STEP_SUMMARY where it is set.")
]


def parsed(gates: list[str] | None) -> list[Gate]:
    """The gates of a command line, read before anything runs."""
    from secondlook.audit.gate import Gate

    return [Gate.parse(text) for text in gates or []]


def hold(result: Audit, gates: list[Gate], junit: Path | None, summary: Path | None) -> None:
    """Holds gates against an audit and says what came of it; ends the command where one is not held."""
    from secondlook.audit import gate
    from secondlook.drafts import write_atomic
    from secondlook.terminal import Terminal

    found = gate.check_gates(result, gates)
    console = Terminal(highlight=False, markup=False, emoji=False)
    for each in found:
        console.print(f"{each.outcome.name:<10} {each.gate.text}  {each.sentence}", soft_wrap=True)
    if junit is not None:
        write_atomic(junit, gate.junit(result, found).encode())
    named = os.environ.get("GITHUB_STEP_SUMMARY") if gates else None
    place = summary or (Path(named) if named else None)
    if place is not None:
        _append(place, gate.summary(result, found))
    if status := gate.status(found):
        raise typer.Exit(status)


def _append(place: Path, text: str) -> None:
    from secondlook.errors import InvalidInput, refusal

    try:
        with open(place, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InvalidInput(f"--summary {place} cannot be written: {refusal(error)}") from None
