"""The errors that a user may see, each naming the value, the field and the fix."""

from __future__ import annotations

import difflib
import errno
import os
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

_SAME: Final = "run the same command again; what is finished is safe"
_FIXES: Final = {
    errno.EACCES: "give this user the right to it (chmod, chown), or name another place",
    errno.EPERM: "give this user the right to it (chmod, chown), or name another place",
    errno.EROFS: "name a place that can be written to",
    errno.ENOSPC: f"make room there, and {_SAME}",
    errno.EFBIG: f"the file system or `ulimit -f` allows no file so large; raise it, and {_SAME}",
    errno.ENOTDIR: "a part of its path is a file and no folder; name another place, or move that file away",
    errno.EEXIST: "something else lies there; move it away, or name another place",
    errno.EISDIR: "a folder lies where a file belongs; move it away, or name another place",
    errno.ENAMETOOLONG: "the file system takes no name so long; write a shorter one",
    errno.ELOOP: "its links go round in a circle; name the place itself",
    errno.ENOENT: "it is not there; look at how it is written, or make it",
    errno.EMFILE: f"raise `ulimit -n` or close other programs, and {_SAME}",
    errno.ENFILE: f"close other programs, and {_SAME}",
    errno.EIO: "the disk fails; copy what can still be read to another one",
    errno.EBUSY: f"another program holds it; end that, and {_SAME}",
}
if hasattr(errno, "EDQUOT"):  # Windows has no quotas of this kind
    _FIXES[errno.EDQUOT] = f"the quota of this user is used up; make room, and {_SAME}"


class SecondlookError(Exception):
    """Base of all errors that are the input's fault and not a defect of the package."""


class InvalidInput(SecondlookError, ValueError):
    """A value, tensor, image or file that cannot be used as it is."""


class UnknownName(InvalidInput, KeyError):
    """A name that nothing is registered under; the message offers the nearest ones.

    Args:
        kind: what it should be a name of.
        name: the name.
        known: all names that there are.
        whole: what is listed in any case, families of names, say.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], whole: Iterable[str] = ()) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"there is: {', '.join(names) or 'none'}"
        every = f" There is: {told}" if near and (told := ", ".join(whole)) else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}{every}")

    def __str__(self) -> str:
        return str(self.args[0])


class BrokenThreat(SecondlookError, AssertionError):
    """An attack returned something outside its threat model: a defect of that attack."""


class BrokenRun(SecondlookError):
    """A run directory that cannot be continued; the message says what to do with it."""


def checked_name(kind: str, name: object) -> str:
    """A name of a model or of data, as a text that a system takes.

    Raises:
        InvalidInput: it is no text, or has a NUL in it.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"{kind} {reprlib.repr(name)} is a {type(name).__name__}; write its name, FAMILY:NAME")
    if "\0" in name:
        raise InvalidInput(f"{kind} {reprlib.repr(name)} has a NUL in its name; write it without")
    return name


@contextmanager
def telling_of_files(what: str) -> Iterator[None]:
    """What the system refuses within the block, such as a name that is too long, is told in a sentence.

    Raises:
        InvalidInput: it refused something; ``what`` is what was read.
    """
    try:
        yield
    except OSError as error:
        place = "" if error.filename is None else f": {reprlib.repr(str(error.filename))}"
        raise InvalidInput(f"{what} cannot be read{place}: {refusal(error)}") from error


def refusal(error: OSError) -> str:
    """Why the system has refused a file, and what to do about it: a sentence for each kind.

    Example:
        >>> refusal(OSError(errno.ENAMETOOLONG, "File name too long"))
        'File name too long; the file system takes no name so long; write a shorter one'
    """
    number = error.errno or 0
    why = error.strerror or (os.strerror(number) if number else str(error) or type(error).__name__)
    return f"{why}; {_FIXES.get(number, f'mend that, and {_SAME}')}"
