"""How folders of this machine are written where others read them: reports, cards, provenance."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from secondlook.variables import unfilled

_ABSOLUTE: Final = re.compile(r"""(?:^|(?<=[:=@]))/(?!/)[^?#@"',\]\n]+""")
"""A path from the root on, alone or in a name: ``hf:/data/clip?dtype=bf16``, ``--out=/tmp/x``."""
_PICTURE: Final = "iVBOR"
"""What every PNG in base64 begins with; nothing in it is a path."""


def at_home(text: str) -> str:
    """``text`` with ``~`` for the user's home folder, which every name of a model or of data understands.

    Example:
        >>> at_home(f"hf:{Path.home()}/clip")
        'hf:~/clip'
    """
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=/|$)", "~", text) if home != "/" else text


def everywhere(content: Any, change: Callable[[str], str]) -> Any:
    """Plain values with each text in them changed, keys too; pictures stay as they are."""
    if isinstance(content, str):
        return content if content.startswith(_PICTURE) else change(content)
    if isinstance(content, dict):
        return {everywhere(key, change): everywhere(value, change) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [everywhere(value, change) for value in content]
    return content


def anonymous(study: Any, command: str) -> Callable[[str], str]:
    """What takes the folders of this machine, as a study and a command name them, out of a text.

    A path below the working folder becomes relative, one below the home folder begins with ``~``, of
    any other the hash of its folder and its last part stay, and a variable's value becomes
    ``${NAME}`` again.
    """
    names = [*_texts(study), *_words(command)]
    paths = {found.rstrip("/ ") for name in names for found in _ABSOLUTE.findall(name)} - {""}
    short = {path: _short(path) for path in sorted(paths, key=len, reverse=True)}
    said = " ".join(names)

    def change(text: str) -> str:
        text = unfilled(text, said)
        for path, instead in short.items():
            text = text.replace(path, instead)
        return at_home(text)

    return change


def _short(path: str) -> str:
    here, home = Path.cwd(), Path.home()
    # From above the home folder a relative path would say whose it is.
    if Path(path).is_relative_to(here) and not home.is_relative_to(here):
        return os.path.relpath(path, here)
    if Path(path).is_relative_to(home):
        return at_home(path)
    folder, last = os.path.split(path)
    kept = "" if last in (home.name, _user()) else f"/{last}"
    return f"{hashlib.sha256((folder if kept else path).encode()).hexdigest()[:8]}{kept}"


def _user() -> str:
    try:
        return getpass.getuser()
    # A container may run as a user without a name.
    except (KeyError, OSError):
        return ""


def _texts(content: Any) -> Iterator[str]:
    """All texts of plain values."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list | tuple):
        parts: Iterable[Any] = content.values() if isinstance(content, dict) else content
        for part in parts:
            yield from _texts(part)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()
