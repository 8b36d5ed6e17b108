"""Commands to the terminal do not reach it, wherever they stand; colors do."""

import io

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from secondlook.terminal import Terminal, printable

COMMANDS = "\x1b]0;owned\x07\x1b[2Ja\x9b31mb\x00\x7f\u202ec\r\x08"


@pytest.mark.parametrize("wrapped", [str, Text, lambda text: Panel(Text(text)), Text.assemble])
def test_text_is_printed_without_its_commands(wrapped: object) -> None:
    held = io.StringIO()
    console = Terminal(file=held, force_terminal=True, width=80, highlight=False)
    console.print(wrapped(COMMANDS), markup=False)  # type: ignore[operator]
    table = Table(COMMANDS)
    table.add_row(Text(COMMANDS, style="bold red"))
    console.print(table)
    assert not set(held.getvalue()) & set("\x07\x9b\x00\x7f\u202e\r\x08")
    assert "\x1b]" not in held.getvalue() and "\x1b[2J" not in held.getvalue()
    assert "\x1b[1;31m" in held.getvalue()


def test_what_is_no_command_stays() -> None:
    text = "grün\tひ\nA\u0301 \u2192 \u200d"
    assert printable(text) == text


class Closed(io.StringIO):
    """A pipe at whose end nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_who_has_read_enough_is_no_end_of_the_program() -> None:
    """Else a plug-in would be blamed for it: no verb ends the program by itself."""
    with pytest.raises(BrokenPipeError):
        Terminal(file=Closed()).print("much")
