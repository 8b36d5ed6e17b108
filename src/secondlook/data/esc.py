"""ESC-50 and ESC-10: five-second sounds of everyday things."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from secondlook.data.base import Family, part_of
from secondlook.data.decoding import reason
from secondlook.data.files import Line, table
from secondlook.data.sounds import Sounds, find
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "esc50")
@dataclass(frozen=True, kw_only=True)
class Esc50(Family):
    """ESC-50 (Piczak 2015): ``esc50:FOLDER``, or ``esc50:FOLDER#5`` for one of its five folds.

    As published: ``audio/*.wav``, and ``meta/esc50.csv`` (``filename,fold,target,category``).

    Attributes:
        prompt: makes a text of a class name.
    """

    prompt: str = "the sound of {}"

    def load(self) -> Sounds:
        """Reads the table and finds its sounds.

        Raises:
            InvalidInput: the table is broken or names a sound twice, a sound is missing, a class
                has two names, or there is no such fold.
        """
        folder, fold = part_of(self.name)
        path = folder / "meta" / "esc50.csv"
        found = table(path, ("filename", "fold", "target", "category"))
        folds = sorted({line.values["fold"] for line in found})
        if fold and fold not in folds:
            raise InvalidInput(f"{path} has no fold {fold!r}; it has {', '.join(folds)}")
        files = find(folder / "audio")
        chosen = [line for line in found if not fold or line.values["fold"] == fold]
        clips = [_clip(line, files) for line in chosen]
        return _sounds(clips, self.prompt)


@register("data", "esc10")
@dataclass(frozen=True, kw_only=True)
class Esc10(Family):
    """ESC-10 (Piczak 2015): ``esc10:FOLDER``, sounds under the names of their classes.

    As published, ``001 - Dog bark/1-30226-A.ogg``, or flat, ``001_Dog-bark__1-30226-A.ogg``.
    Reading ``.ogg`` needs the extra ``audio``.

    Attributes:
        prompt: makes a text of a class name.
    """

    prompt: str = "the sound of {}"

    def load(self) -> Sounds:
        """Lists the sounds.

        Raises:
            InvalidInput: there are none, or a name is in neither form.
        """
        try:
            folders = sorted(path for path in self.path.iterdir() if path.is_dir())
        except OSError as error:
            raise InvalidInput(
                f"{self.path} cannot be read as a folder ({reason(error)}); name one that is there"
            ) from error
        named = [path for path in folders if re.match(r"\d+ - ", path.name)]
        files = [file for folder in named or [self.path] for file in find(folder).values()]
        return _sounds([_named(file, bool(named)) for file in files], self.prompt)


class _Clip(NamedTuple):
    where: str
    name: str
    path: Path
    number: int
    category: str


def _clip(line: Line, files: dict[str, Path]) -> _Clip:
    name, number = line.values["filename"], line.values["target"]
    if name not in files:
        raise InvalidInput(f"{line.where}: no sound audio/{name}; add it or drop the line")
    if not number.isdecimal():
        raise InvalidInput(f"{line.where}: target={number!r} is no number; count from 0")
    category = line.values["category"].replace("_", " ")
    return _Clip(line.where, name, files[name], int(number), category)


def _named(path: Path, foldered: bool) -> _Clip:
    form = r"(\d+) - (.+)" if foldered else r"(\d+)_(.+?)__.+"
    found = re.fullmatch(form, path.parent.name if foldered else path.stem)
    if not found:
        raise InvalidInput(
            f"{path} does not say its class; call it 001_Dog-bark__{path.name}, or put it into a "
            "folder '001 - Dog bark'"
        )
    name = f"{path.parent.name}/{path.name}" if foldered else path.name
    category = found[2].replace("-", " ").lower()
    return _Clip(str(path), name, path, int(found[1]), category)


def _sounds(clips: list[_Clip], prompt: str) -> Sounds:
    names: dict[int, str] = {}
    seen: set[str] = set()
    for clip in clips:
        if clip.name in seen:
            raise InvalidInput(f"{clip.where} lists {clip.name} again; keep one of its lines")
        seen.add(clip.name)
        if names.setdefault(clip.number, clip.category) != clip.category:
            raise InvalidInput(
                f"{clip.where} calls class {clip.number} {clip.category!r}, an earlier one "
                f"{names[clip.number]!r}; give it one name"
            )
    order = sorted(names)
    return Sounds(
        ids=tuple(clip.name for clip in clips),
        classes=tuple(names[number] for number in order),
        paths=tuple(clip.path for clip in clips),
        truth=tuple(order.index(clip.number) for clip in clips),
        prompt=prompt,
    )
