"""The errors that a user may see, each naming the value, the field and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SecondlookError(Exception):
    """Base of all errors that are the input's fault and not a defect of the package."""


class InvalidInput(SecondlookError, ValueError):
    """A value, tensor, image or file that cannot be used as it is."""


class UnknownName(InvalidInput, KeyError):
    """A name that nothing is registered under; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"there is: {', '.join(names)}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")

    def __str__(self) -> str:
        return str(self.args[0])


class BrokenThreat(SecondlookError, AssertionError):
    """An attack returned something outside its threat model: a defect of that attack."""


class BrokenRun(SecondlookError):
    """A run directory that cannot be continued; the message says what to do with it."""
