"""Captions of one's own as texts: read, divided, and numbered for a language model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secondlook.data import load
from secondlook.data.files import lines, table
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys

FLOOR = 3
"""How often a word must come to be one of the vocabulary."""
_HELD_OUT = 20


@dataclass(frozen=True, kw_only=True)
class CaptionTexts:
    """Captions, and the images that they are of.

    Attributes:
        texts: one a caption.
        images: for each the name of its image; the caption itself where none is named.
    """

    texts: tuple[str, ...]
    images: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def keep(self, wanted: Sequence[bool]) -> CaptionTexts:
        """Some of them."""
        rows = [row for row, want in enumerate(wanted) if want]
        return CaptionTexts(
            texts=tuple(self.texts[row] for row in rows),
            images=tuple(self.images[row] for row in rows),
        )


def read(name: str) -> CaptionTexts:
    """Captions by name: a file of captions, or any data with captions.

    Args:
        name: a text file with a caption a line, a table with the columns ``image,caption``, or
            ``FAMILY:REST``. Images need not be there.

    Raises:
        InvalidInput: there is no such file, or it or the data has no captions.
        UnknownName: there is no such family.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _file(path)
    if ":" not in name:
        raise InvalidInput(
            f"there is no file {name}; name a text file with a caption a line, a table with "
            "image,caption, or data with captions, such as flickr8k:FOLDER"
        )
    source = load(name).captioned()
    return CaptionTexts(
        texts=tuple(source.texts), images=tuple(source.ids[row] for row in source.owner)
    )


def _file(path: Path) -> CaptionTexts:
    first = lines(path, "a caption a line, or a table with image,caption")[0].values["text"]
    if {"image", "caption"} <= {name.strip() for name in first.split(",")}:
        rows = [line.values for line in table(path, ("image", "caption"))]
        return CaptionTexts(
            texts=tuple(row["caption"] for row in rows), images=tuple(row["image"] for row in rows)
        )
    texts = tuple(line.values["text"] for line in lines(path, "a caption a line"))
    return CaptionTexts(texts=texts, images=texts)


def without(told: CaptionTexts, others: CaptionTexts) -> CaptionTexts:
    """``told`` without the images of ``others``, and without captions that say what theirs do."""
    images, said = set(others.images), {plain(text) for text in others.texts}
    pairs = zip(told.images, told.texts, strict=True)
    return told.keep([image not in images and plain(text) not in said for image, text in pairs])


def apart(told: CaptionTexts, seed: int) -> CaptionTexts:
    """The captions of every twentieth image, drawn by its name."""
    names = list(dict.fromkeys(told.images))
    order = Keys.of(seed, names).fold("held out").order()
    chosen = {names[row] for row in order[: max(1, len(names) // _HELD_OUT)]}
    return told.keep([image in chosen for image in told.images])


def plain(text: str) -> str:
    """The words of a text, as the tokenizer splits them."""
    return " ".join(_words(text))


def vocabulary(texts: Sequence[str], floor: int = FLOOR) -> tuple[str, ...]:
    """The words that come ``floor`` times or more, sorted.

    Raises:
        InvalidInput: there is none.
    """
    times = Counter(word for text in texts for word in _words(text))
    found = tuple(sorted(word for word, count in times.items() if count >= floor))
    if not found:
        raise InvalidInput(
            f"no word comes {floor} times or more in {len(texts)} captions; give more captions"
        )
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
