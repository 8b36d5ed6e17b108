"""Captions for photographs that have a class and no words: templates around names of the class."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any


def captions(classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """All captions of each class: every template with every name of it.

    A class without a list of names goes by its own, underscores written as blanks.
    """
    table = _table()
    known = [name.replace("_", " ").lower() for name in classes]
    spoken = [table["names"].get(name, [name]) for name in known]
    return tuple(
        tuple(template.format(name) for template in table["templates"] for name in names)
        for names in spoken
    )


def vocabulary(captions: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All words of the captions, sorted."""
    texts = " ".join(text for own in captions for text in own)
    return tuple(sorted(set(re.findall(r"[^\W_]+", texts.lower()))))


def _table() -> dict[str, Any]:
    text = files("secondlook.scenes.training").joinpath("photo_captions.toml").read_text("utf-8")
    return tomllib.loads(text)
