"""Files that appear whole or not at all, and are written through nobody's link."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move: a kill or a full disk leaves the old one or the new one.

    Its draft lies beside it, under a name that nobody can foresee, and is opened only where nothing
    is. Where ``path`` is a link, the link is replaced and what it leads to is left alone.

    Raises:
        OSError: the file cannot be written.
    """
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


def leads_out(folder: Path) -> Path | None:
    """The first link below a folder that leads out of it; None where there is none."""
    root = Path(os.path.realpath(folder))
    for place, inner, files in os.walk(folder):
        for name in sorted((*inner, *files)):
            path = Path(place, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                return path
    return None
