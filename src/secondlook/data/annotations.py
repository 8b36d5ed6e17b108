"""Captions in a file beside their images: reading JSON, and finding the images it names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from secondlook.data.base import part_of
from secondlook.data.captioned import CaptionedFiles, Entry, Labels, unique
from secondlook.data.decoding import reason, refuse_irregular
from secondlook.errors import InvalidInput

Record = dict[str, Any]


class Place(NamedTuple):
    """``FILE@FOLDER#SPLIT`` in its parts.

    Attributes:
        file: the annotations.
        images: where the images are; None to look for them beside the file.
        split: the part of the set that is wanted; "" for all of it.
    """

    file: Path
    images: Path | None
    split: str


def parse(name: str) -> Place:
    """A name in its parts; ``@`` and ``#`` in the path of what exists are a part of the path."""
    whole, split = part_of(name)
    if whole.is_file():
        return Place(whole, None, split)
    for at in (at for at in range(len(name) - 1, 0, -1) if name[at] == "@"):
        file, (images, split) = Path(name[:at]).expanduser(), part_of(name[at + 1 :])
        if file.is_file() or (file.is_dir() and images.is_dir()):
            return Place(file, images, split)
    outer, _, split = name.partition("#")
    before, at_sign, folder = outer.rpartition("@")
    if whole.exists() or not at_sign:
        return Place(*((whole, None) if whole.exists() else (Path(outer).expanduser(), None)), split)
    return Place(Path(before).expanduser(), Path(folder).expanduser(), split)


def parsed(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InvalidInput: it cannot be read, is no UTF-8 or no JSON.
    """
    return _value(str(path), _text(path))


def records(path: Path) -> Iterator[tuple[str, Record]]:
    """The objects of a JSON-lines file, with where each stands.

    Raises:
        InvalidInput: it cannot be read, or a line is no JSON object.
    """
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            where = f"{path} line {number}"
            yield where, _object(where, _value(where, line))


def members(value: Any, where: str) -> Iterator[tuple[str, Record]]:
    """The objects of a JSON list, with where each stands.

    Raises:
        InvalidInput: it is no list of objects.
    """
    if not isinstance(value, list):
        raise InvalidInput(f"{where} is {_kind(value)} and no list; it must be [{{...}}, ...]")
    for position, item in enumerate(value):
        yield f"{where}[{position}]", _object(f"{where}[{position}]", item)


def text(record: Record, key: str, where: str) -> str:
    """The text under ``key``, without the blanks around it.

    Raises:
        InvalidInput: there is none, or it is empty or no text.
    """
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        found = "nothing" if value is None else repr(value)
        raise InvalidInput(f"{where}: {key!r} is {found}; write the text, or take the entry away")
    return value.strip()


def several(values: Any, key: str, where: str) -> tuple[str, ...]:
    """One text or more from a list of texts.

    Raises:
        InvalidInput: it is no list, is empty, or holds something else than texts.
    """
    if not isinstance(values, list) or not values:
        raise InvalidInput(f"{where}: {key!r} must be a list of one text or more, not {values!r}")
    return tuple(text({key: value}, key, where) for value in values)


def located(names: Sequence[str], place: Place, folders: Sequence[str] = ()) -> tuple[Path, ...] | None:
    """The files of the images; None where not one of them is there.

    They are looked for in ``place.images``, else beside the annotations and in ``images/`` and
    ``folders`` there, under the names as written and without their folders.

    Raises:
        InvalidInput: some are there and others not, or none is in the folder that was named.
    """
    beside = place.file.parent
    roots = [place.images] if place.images else [beside / f for f in ("", "images", "Images", *folders)]
    found: tuple[Path, ...] = ()
    lost: list[str] = list(names)
    for root in roots:
        for paths in ([root / n for n in names], [root / Path(n).name for n in names]):
            missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
            if len(missing) < len(lost) or not missing:
                found, lost = tuple(paths), missing
            if not missing:
                return found
    if len(lost) < len(names) or place.images:
        looked = place.images or f"{beside} or {beside}/images"
        raise InvalidInput(
            f"{place.file} names image {lost[0]}, which is not in {looked} "
            f"({len(lost)} of {len(names)} are missing); add them or take their entries away"
        )
    return None


def assemble(
    entries: Sequence[Entry],
    place: Place,
    *,
    folders: Sequence[str] = (),
    keep: float = 1.0,
    labels: Labels | None = None,
) -> CaptionedFiles:
    """A source over the images that annotations name, with or without their files.

    Raises:
        InvalidInput: as ``unique`` and ``located`` raise it.
    """
    title = f"{place.file}#{place.split}" if place.split else str(place.file)
    unique(entries, title)
    return CaptionedFiles(
        ids=tuple(entry.image for entry in entries),
        texts=tuple(caption for entry in entries for caption in entry.captions),
        owner=tuple(row for row, entry in enumerate(entries) for _ in entry.captions),
        paths=located([entry.image for entry in entries], place, folders),
        place=title,
        keep=keep,
        labels=labels,
    )


def _text(path: Path) -> str:
    refuse_irregular(path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read ({reason(error)}); name a JSON file in UTF-8") from error


def _value(where: str, content: str) -> Any:
    try:
        return json.loads(content)
    # Lists within lists without end exhaust the parser's stack.
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is no JSON ({error}); write it anew or load it again") from error


def _object(where: str, value: Any) -> Record:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is {_kind(value)} and no object; write {{...}}")
    return value


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a text", type(None): "null"}
    return names.get(type(value), "a number")
