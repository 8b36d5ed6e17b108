"""What reaches the terminal: text, and no command to it that came along in a name or a title."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_COMMANDS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but for the tab and the line feed, and what turns the direction of writing."""


def printable(text: str) -> str:
    r"""``text`` without control characters, so that a terminal takes it for nothing but text.

    Example:
        >>> printable("cat\x1b]0;owned\x07\tdog\n")
        'cat]0;owned\tdog\n'
    """
    return _COMMANDS.sub("", text)


class Terminal(Console):
    """A console of rich that prints its own colors, and of all that it is handed the text alone."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, each without control characters of its own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def on_broken_pipe(self) -> None:
        """Nobody reads on: the command is told so, where a plain console would end the program."""
        raise BrokenPipeError
