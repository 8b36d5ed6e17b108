"""Data stays in the folder that the user has named, whatever its annotations or links say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from secondlook.data.annotations import parse
from secondlook.data.decoding import refuse_irregular
from secondlook.errors import InvalidInput


def folders(name: str) -> tuple[Path, ...]:
    """The folders that the files of ``PATH``, ``FILE``, or ``FILE@FOLDER#SPLIT`` may lie in."""
    place = parse(name)
    own = place.file if place.file.is_dir() else place.file.parent
    return (own,) if place.images is None else (own, place.images)


def refuse_outside(files: Sequence[Path], inside: Sequence[Path]) -> None:
    """Refuses files that a table names by ``../`` or a path of their own; nothing is opened.

    Raises:
        InvalidInput: one is in none of the folders, or is no regular file.
    """
    roots = [Path(os.path.abspath(folder)) for folder in inside]
    for path in files:
        written = Path(os.path.abspath(path))
        if not any(written.is_relative_to(root) for root in roots):
            raise InvalidInput(
                f"{path} is outside of {inside[-1]}, and data may name files in its own folder alone; "
                "put it there, or say where the images are: FILE@FOLDER"
            )
        refuse_irregular(path)


def refuse_links(files: Sequence[Path], inside: Sequence[Path], named: bool = True) -> None:
    """Refuses links, of files or of the folders that they are in, that lead out of the data.

    Args:
        files: what would be read.
        inside: the folders that all of them have to be in.
        named: whether they were asked for by a name of data, in which links can be allowed.

    Raises:
        InvalidInput: one does.
    """
    roots = [Path(os.path.realpath(folder)) for folder in inside]
    real: dict[Path, Path] = {}
    for path in files:
        parent = real.setdefault(path.parent, Path(os.path.realpath(path.parent)))
        found = Path(os.path.realpath(path)) if path.is_symlink() else parent
        if not any(found.is_relative_to(root) for root in roots):
            raise InvalidInput(
                f"{path} leads out of {inside[-1]} by a link; put the file itself there"
                f"{', or end the name in ?links=true if the links are your own' if named else ''}"
            )
