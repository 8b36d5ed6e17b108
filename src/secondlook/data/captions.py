"""Captions as texts: brought to a reference's form, compared, and one chosen for each image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from secondlook.errors import InvalidInput

_DROPPED: Final = str.maketrans("", "", ",.'!?\"()*#:;~")


def normalized(text: str, words: int = 30) -> str:
    """A caption in the form that ALBEF, SGA and Co-Attack hand to their models.

    Small letters, without punctuation, hyphens and slashes as blanks, at most ``words`` words.
    Faithful to SGA's code (Lu et al. 2023), so that its figures can be had again: other white space
    than a blank survives where it stands alone, and so do signs such as ``&``.

    Example:
        >>> normalized("A well-kept  dog, isn't it?", words=4)
        'a well kept dog'

    Raises:
        InvalidInput: ``words`` is below 1.
    """
    if words < 1:
        raise InvalidInput(f"words={words}; keep one or more words of a caption")
    text = text.lower().translate(_DROPPED).replace("-", " ").replace("/", " ")
    text = re.sub(r"\s{2,}", " ", text.replace("<person>", "person"))
    return " ".join(text.rstrip("\n").strip(" ").split(" ")[:words])


def same(text: str) -> str:
    """What two captions share that say the same: case and full stops at the end do not count.

    Example:
        >>> same("The airport is large .") == same("the airport is large")
        True
    """
    return text.casefold().strip().rstrip(" .")


def groups(texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The positions of the texts that say the same (``same``), in order of first appearance."""
    found: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        found.setdefault(same(text), []).append(position)
    return tuple(tuple(group) for group in found.values())


def own(captions: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """For each image, by name, its first caption whose words no earlier image's choice has.

    Two images with the same words would be one text to an embedder.

    Raises:
        InvalidInput: an image has no such caption.
    """
    taken: set[str] = set()
    return tuple(_first_free(name, texts, taken) for name, texts in captions.items())


def _first_free(name: str, texts: Sequence[str], taken: set[str]) -> str:
    for text in texts:
        words = " ".join(re.findall(r"\w+", text.casefold()))
        if words and words not in taken:
            taken.add(words)
            return text
    raise InvalidInput(f"image {name} has no caption that an earlier image does not have; write it one of its own")
