"""Captioned photographs in the published layout of Flickr8k."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secondlook.data.decoding import reason
from secondlook.data.family import Family
from secondlook.data.files import Files, pictures, table
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "flickr8k")
@dataclass(frozen=True, kw_only=True)
class Flickr8k(Family):
    """Captioned photographs: ``flickr8k:PATH``, or ``flickr8k:PATH#test`` for those of test.txt.

    The folder holds ``captions.txt`` (CSV, ``image,caption``, several lines per image), the
    images in ``images/`` or beside it, and for ``#NAME`` a list ``NAME.txt``, an image a line.
    Each image is a class of its own, and its text is its first caption whose words are not those
    of an earlier image's text.

    Attributes:
        keep: centre crop, as a share of the short side.
    """

    keep: float = 0.9

    def load(self) -> Files:
        """Pairs images with captions.

        Raises:
            InvalidInput: a caption without its image, an image without a caption of its own, an
                image listed twice, or no such list.
        """
        place, _, subset = self.name.partition("#")
        folder = Path(place).expanduser()
        files = pictures(folder)
        captions = _captions(folder / "captions.txt")
        names = _listed(folder, subset) if subset else [*captions, *sorted(files.keys() - captions)]
        for name in names:
            _check_pair(name, name in captions, name in files)
        return Files(
            ids=tuple(names),
            classes=_distinct({name: captions[name] for name in names}),
            paths=tuple(files[name] for name in names),
            truth=tuple(range(len(names))),
            keep=self.keep,
        )


def _captions(path: Path) -> dict[str, list[str]]:
    """The captions of each image, both in the order of the file."""
    captions: dict[str, list[str]] = {}
    for line in table(path, ("image", "caption")):
        captions.setdefault(line.values["image"], []).append(line.values["caption"])
    return captions


def _listed(folder: Path, subset: str) -> list[str]:
    path = folder / f"{subset}.txt"
    try:
        names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path} cannot be read ({reason(error)}); #{subset} wants that list, an image a line"
        ) from error
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice or not names:
        what = f"lists {twice[0]} twice" if twice else "is empty"
        raise InvalidInput(f"{path} {what}; list each image once, a line each")
    return names


def _check_pair(name: str, captioned: bool, filed: bool) -> None:
    if not captioned:
        raise InvalidInput(f"image {name} has no line in captions.txt; caption it or remove it")
    if not filed:
        raise InvalidInput(f"image {name} has captions but no file; add it or remove its lines")


def _distinct(captions: dict[str, list[str]]) -> tuple[str, ...]:
    """One caption per image, no two of the same words: those would be one text to an embedder."""
    taken: set[str] = set()
    return tuple(_first_free(name, texts, taken) for name, texts in captions.items())


def _first_free(name: str, texts: Sequence[str], taken: set[str]) -> str:
    for text in texts:
        words = " ".join(re.findall(r"\w+", text.casefold()))
        if words and words not in taken:
            taken.add(words)
            return text
    raise InvalidInput(
        f"image {name} has no caption that an earlier image does not bear; write it one of its own"
    )
