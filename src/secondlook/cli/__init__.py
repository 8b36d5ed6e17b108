"""The command line: one verb a function; nothing heavy is imported before a verb runs."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from secondlook.cli.audit import audit, merge, report
from secondlook.cli.catalog import attacks, defenses, models, studies
from secondlook.cli.compare import compare
from secondlook.cli.doctor import doctor
from secondlook.cli.export import export
from secondlook.cli.guard import guard
from secondlook.cli.harden import harden
from secondlook.cli.images import attack, purify
from secondlook.cli.rescore import rescore
from secondlook.cli.serve import serve
from secondlook.cli.train import train

app = typer.Typer(
    help="Attack, defend and measure multimodal models: no defense number without the attack that knows the defense.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_VERBS = (
    audit,
    report,
    compare,
    export,
    merge,
    rescore,
    attack,
    purify,
    guard,
    serve,
    doctor,
    models,
    attacks,
    defenses,
    studies,
    train,
    harden,
)


def _refusing_exits(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb in which code of a model, a plug-in or a data set ends nothing.

    No verb calls ``sys.exit`` itself, so whoever does is such code: unnoticed, its status would be
    the command's, and 0 would say that all is well.
    """

    @wraps(verb)
    def run(*given: Any, **named: Any) -> None:
        try:
            verb(*given, **named)
        except (SystemExit, GeneratorExit) as stop:
            from secondlook.errors import InvalidInput

            how = f"sys.exit({stop.code!r})" if isinstance(stop, SystemExit) else "GeneratorExit"
            raise InvalidInput(
                f"code of a model, a plug-in or a data set ended the program by {how}, and nothing was finished; "
                "let it raise an error instead"
            ) from stop

    return run


for _verb in _VERBS:
    app.command()(_refusing_exits(_verb))


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"secondlook {version('secondlook')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Attack, defend and measure multimodal models: no defense number without the attack that knows the defense."""


_LONGEST = 1000
"""Letters of a message; some libraries list all that they know."""
_SIGNALS = ("SIGTERM", "SIGHUP")
"""What a batch system, a shutdown or a terminal that closes sends; Windows has no SIGHUP."""


class _Stopped(BaseException):
    """A signal has come; nothing on the way out takes it for an error.

    Attributes:
        status: of the command, as shells have it.
    """

    def __init__(self, number: int) -> None:
        self.status = 128 + number


def main() -> None:
    """Runs the command line; an error of the input or of the system is one line, and exit status 2.

    A console whose encoding lacks a character shows ``?`` in its place. A signal ends it as Ctrl-C
    does: with a line, and status 128 + n.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    interrupted = 128 + signal.SIGINT
    try:
        with _stoppable():
            app(prog_name="secondlook")
    except (KeyboardInterrupt, SystemExit, _Stopped) as stop:
        # Typer has turned the interruption of a verb into an exit already.
        status = stop.status if isinstance(stop, _Stopped) else getattr(stop, "code", interrupted)
        if isinstance(stop, SystemExit) and status != interrupted:
            raise
        _say("interrupted; the same command goes on where this one stopped")
        sys.exit(status)
    except BrokenPipeError:
        # Whoever has read enough, as ``| head`` has, is told nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        _say(f"error: {_told(error)}")
        sys.exit(2)


def _told(error: Exception) -> str:
    """What a user is told; a defect is none of theirs, and goes on."""
    from secondlook.errors import SecondlookError, refusal

    if isinstance(error, SecondlookError):
        cause = error.__cause__
        place = None if cause is None else _own_code(cause)
        return str(error) if place is None else f"{place}: {error}"
    if (place := _own_code(error)) is not None:
        return f"{place}: {type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return f"cannot use {error.filename or 'a file'}: {refusal(error)}"
    raise error


@contextmanager
def _stoppable() -> Iterator[None]:
    """Within the block the signals that end a process end it in good order, unless they are ignored, as by nohup."""
    held = {}
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            held[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, before in held.items():
            signal.signal(number, before)


def _stop(number: int, frame: object) -> None:
    # The next one ends it at once.
    signal.signal(number, signal.SIG_DFL)
    raise _Stopped(number)


def _own_code(error: BaseException) -> str | None:
    """The line of a user's own code, named by ``python:`` or ``plugins``, in which an error arose; else None.

    A library that it calls may have raised it, but nothing of this package.
    """
    family = sys.modules.get("secondlook.models.families.python")
    ours, place = Path(__file__).parents[1], None
    if family is None:
        return None
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = Path(frame.f_code.co_filename)
        if ours in file.parents:
            place = None
        elif family.is_own(file):
            place = f"{file.name}, line {line}"
    return place


def _say(text: str) -> None:
    """One line on standard error, whatever a library's message is like."""
    from secondlook.terminal import Terminal

    line = " ".join(text.split())
    shown = line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"
    # A terminal that was closed hears nothing any more.
    with suppress(OSError):
        Terminal(stderr=True, soft_wrap=True).print(shown, style="red", markup=False, highlight=False)
