"""Files that appear whole or not at all, and are written through nobody's link."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from secondlook.errors import BrokenRun, refusal


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move: a kill or a full disk leaves the old one or the new one.

    Its draft lies beside it, under a name that nobody can foresee, and is opened only where nothing
    is. Where ``path`` is a link, the link is replaced and what it leads to is left alone.

    Raises:
        OSError: the file cannot be written.
    """
    if not path.name:  # "." and "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # "x" is O_CREAT with O_EXCL, which opens nothing that is there, nor through a link.
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """The same in a folder that is made where there is none; what the system refuses is a sentence.

    Raises:
        BrokenRun: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise BrokenRun(f"cannot write {path}: {refusal(error)}") from None


def remove_drafts(folder: Path) -> None:
    """Removes what kills in the middle of :func:`write_whole` have left, in all of a folder."""
    for draft in folder.rglob(".*.part"):
        with suppress(OSError):
            draft.unlink()


def leads_out(folder: Path) -> Path | None:
    """The first link below a folder that leads out of it; None where there is none."""
    root = Path(os.path.realpath(folder))
    for place, inner, files in os.walk(folder):
        for name in sorted((*inner, *files)):
            path = Path(place, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                return path
    return None
