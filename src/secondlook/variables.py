"""Variables of the environment in the names of models and data: ``folder:${PICTURES}/cats``.

A study can so name data without saying where it lies. They are filled in where a model or a set is
opened, and nowhere else: what is stored and shown is the name as it was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from secondlook.errors import InvalidInput

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_TELLING = 8
"""Characters of a value from which on an error that repeats it would tell it."""


def filled(name: str) -> str:
    """A name with the value of each ``${NAME}`` in its place; ``$NAME`` is left as it is.

    Raises:
        InvalidInput: a variable is not set.
    """
    return _VARIABLE.sub(lambda found: _value(found[1], name), name)


def _value(variable: str, name: str) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise InvalidInput(f"{name!r} reads the variable {variable}, which is not set; set it to a folder") from None


@contextmanager
def untold(name: str) -> Iterator[None]:
    """What is refused within the block is told without the values of the variables in ``name``."""
    try:
        yield
    except InvalidInput as error:
        error.args = (unfilled(str(error), name), *error.args[1:])
        raise


def unfilled(text: str, name: str) -> str:
    """``text`` with ``${NAME}`` again, wherever the value of a variable in ``name`` stands."""
    for variable in _VARIABLE.findall(name):
        if len(value := os.environ.get(variable, "")) >= _TELLING:
            text = text.replace(value, f"${{{variable}}}")
    return text
