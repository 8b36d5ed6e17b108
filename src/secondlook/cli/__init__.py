"""The command line: one verb a function; nothing heavy is imported before a verb runs."""

from __future__ import annotations

import io
import sys

import typer

from secondlook.cli.audit import audit, merge, report
from secondlook.cli.catalog import attacks, defenses, models, studies
from secondlook.cli.doctor import doctor
from secondlook.cli.harden import harden
from secondlook.cli.images import attack, purify
from secondlook.cli.rescore import rescore
from secondlook.cli.train import train

app = typer.Typer(
    help="Attack, defend and measure multimodal models: no defense number without the attack that knows the defense.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_VERBS = (audit, report, merge, rescore, attack, purify, doctor, models, attacks, defenses, studies, train, harden)
for _verb in _VERBS:
    app.command()(_verb)


INTERRUPTED = 130
"""Exit status of a command that Ctrl-C has stopped, as shells have it."""


def main() -> None:
    """Runs the command line; an error of the input is one line, and exit status 2.

    A console whose encoding lacks a character shows ``?`` in its place.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="secondlook")
    except (KeyboardInterrupt, SystemExit) as stop:
        # Typer has turned the interruption of a verb into an exit already.
        if getattr(stop, "code", INTERRUPTED) == INTERRUPTED:
            _say("interrupted; the same command goes on where this one stopped")
            sys.exit(INTERRUPTED)
        raise
    except Exception as error:
        from secondlook.errors import SecondlookError

        if not isinstance(error, SecondlookError):
            raise
        _say(f"error: {error}")
        sys.exit(2)


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, soft_wrap=True).print(text, style="red", markup=False, highlight=False)
