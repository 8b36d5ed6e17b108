"""The parquet files of a dataset: which there are, and that none of them is missing."""

from __future__ import annotations

import re
from pathlib import Path

from secondlook.data.decoding import reason
from secondlook.errors import InvalidInput

_NAME = re.compile(r"(?P<split>.+?)(-(?P<part>\d{5})-of-(?P<parts>\d{5})(-[0-9a-f]+)?)?\.parquet")


def shards(place: Path, split: str) -> list[Path]:
    """The files of a split, ``SPLIT-00000-of-00002.parquet`` and so on, or ``SPLIT.parquet``.

    Args:
        place: one file, or a folder with files in it or in ``data/`` there.
        split: which; may be empty where there is only one.

    Raises:
        InvalidInput: there are no such files, several splits to choose from, or a part is missing.
    """
    if place.is_file():
        return [place]
    found = _by_split(place)
    if not found:
        raise InvalidInput(f"no .parquet files in {place} or {place}/data; name a folder with some")
    names = ", ".join(sorted(found))
    if split and split not in found:
        raise InvalidInput(f"{place} has no split {split!r}; it has {names}")
    if not split and len(found) > 1:
        raise InvalidInput(f"{place} has the splits {names}; add one of them: #{min(found)}")
    files = found[split or min(found)]
    _check_whole(files)
    return files


def _by_split(place: Path) -> dict[str, list[Path]]:
    try:
        folder = place / "data" if (place / "data").is_dir() else place
        files = sorted(path for path in folder.iterdir() if path.suffix == ".parquet")
    except OSError as error:
        raise InvalidInput(
            f"{place} cannot be read as a folder ({reason(error)}); name one that is there"
        ) from error
    found: dict[str, list[Path]] = {}
    for path in files:
        match = _NAME.fullmatch(path.name)
        found.setdefault(match["split"] if match else path.stem, []).append(path)
    return found


def _check_whole(files: list[Path]) -> None:
    """A part that was not loaded would leave its images out without a word."""
    parts = [match for path in files if (match := _NAME.fullmatch(path.name)) and match["part"]]
    if not parts:
        return
    have, whole = sorted(int(match["part"]) for match in parts), int(parts[0]["parts"])
    if have != list(range(whole)) or len(parts) != len(files):
        raise InvalidInput(
            f"{files[0].parent}: {len(files)} of {whole} parts of {parts[0]['split']!r} are there; "
            "load the others"
        )
