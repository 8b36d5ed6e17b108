"""Words of a caption without the marks around them, and the words that are left alone."""

from __future__ import annotations

import tomllib
import unicodedata
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Word(NamedTuple):
    """A word as white space parts it.

    Attributes:
        head: punctuation and symbols before it.
        core: what can be replaced; empty where the word is nothing but marks.
        tail: punctuation and symbols behind it.
    """

    head: str
    core: str
    tail: str


@cache
def stop_words() -> frozenset[str]:
    """Function words and marks, in lower case."""
    table = tomllib.loads(files(__package__).joinpath("stopwords.toml").read_text("utf-8"))
    return frozenset(table["words"].split()) | frozenset(table["marks"].split())


def part(word: str) -> Word:
    """A word and the marks around it; symbols such as emoji count as marks.

    Example:
        >>> part("“cat,”")
        Word(head='“', core='cat', tail=',”')
    """
    inside = [place for place, c in enumerate(word) if unicodedata.category(c)[0] not in "PSC"]
    if not inside:
        return Word(word, "", "")
    first, last = inside[0], inside[-1] + 1
    return Word(word[:first], word[first:last], word[last:])
