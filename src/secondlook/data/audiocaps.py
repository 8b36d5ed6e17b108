"""AudioCaps, and sounds captioned in its table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from secondlook.data.annotations import Place, parse
from secondlook.data.base import Family
from secondlook.data.captions import same
from secondlook.data.files import Line, table
from secondlook.data.sounds import Sounds, find
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "audiocaps")
@dataclass(frozen=True, kw_only=True)
class AudioCaps(Family):
    """Captioned sounds (AudioCaps, Kim et al. 2019): ``audiocaps:FILE.csv@FOLDER``.

    The table is as published, ``audiocap_id,youtube_id,start_time,caption``, or has ``youtube_id``
    and ``caption`` alone, as that of the adversarial illusions. A sound is called as its
    ``youtube_id``, as ``youtube_id_start_time`` or as ``audiocap_id``; without ``@FOLDER`` it lies
    in ``audio/`` or ``raw/`` beside the table, or beside it. Lines of one sound are put together.
    The class of a sound is its first caption; sounds whose first captions say the same share it.

    Attributes:
        missing: what becomes of lines whose sound is not there (many have left YouTube): an
            ``error``, or ``skip`` them.
    """

    missing: Literal["error", "skip"] = "error"

    def load(self) -> Sounds:
        """Reads the table and finds its sounds.

        Raises:
            InvalidInput: the table is broken, or a sound is missing.
        """
        place = parse(self.name)
        clips = [clip for clip in _clips(place) if clip.path or self.missing == "error"]
        for clip in clips:
            if clip.path is None:
                raise InvalidInput(
                    f"{clip.where}: no sound {clip.name}.wav; add it, drop its lines, or set missing='skip'"
                )
        shared = [path for path, times in Counter(c.path for c in clips).items() if times > 1]
        if shared:
            raise InvalidInput(
                f"{place.file} has several starts for {shared[0]}; call its sounds youtube_id_start_time.wav"
            )
        if not clips:
            raise InvalidInput(f"no sound of {place.file} is there; name their folder: FILE@FOLDER")
        keys = list(dict.fromkeys(same(clip.captions[0]) for clip in clips))
        first = {same(clip.captions[0]): clip.captions[0] for clip in reversed(clips)}
        return Sounds(
            ids=tuple(clip.name for clip in clips),
            classes=tuple(first[key] for key in keys),
            paths=tuple(clip.path for clip in clips if clip.path),
            truth=tuple(keys.index(same(clip.captions[0])) for clip in clips),
            texts=tuple(caption for clip in clips for caption in clip.captions),
            owner=tuple(row for row, clip in enumerate(clips) for _ in clip.captions),
        )


class _Clip(NamedTuple):
    where: str
    name: str
    path: Path | None
    captions: tuple[str, ...]


def _clips(place: Place) -> Iterator[_Clip]:
    folder = place.images or next(
        (place.file.parent / f for f in ("audio", "raw") if (place.file.parent / f).is_dir()), place.file.parent
    )
    found = {path.stem: path for path in find(folder).values()}
    clips: dict[str, list[Line]] = {}
    for line in table(place.file, _columns(place.file)):
        # The same video may give several sounds; where it starts tells them apart.
        start = line.values.get("start_time")
        name = line.values["youtube_id"] + (f"_{start}" if start else "")
        clips.setdefault(name, []).append(line)
    for name, group in clips.items():
        names = [name, group[0].values["youtube_id"], *_numbers(group)]
        path = next((found[stem] for stem in names if stem in found), None)
        captions = tuple(line.values["caption"] for line in group)
        yield _Clip(group[0].where, name, path, captions)


def _columns(path: Path) -> tuple[str, ...]:
    """Those of the published columns that the table has; ``table`` says what else is wrong."""
    known = ("audiocap_id", "youtube_id", "start_time", "caption")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError):
        header = []
    return tuple(c for c in known if c in header or c in ("youtube_id", "caption"))


def _numbers(group: list[Line]) -> list[str]:
    values: list[Mapping[str, str]] = [line.values for line in group]
    return [value["audiocap_id"] for value in values if "audiocap_id" in value]
