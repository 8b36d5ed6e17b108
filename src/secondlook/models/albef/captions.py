"""Captions as ALBEF was trained on them: lower case, without most punctuation, 30 words."""

from __future__ import annotations

import re

WORDS = 30
"""Words of a caption, and tokens of a row, that are read."""


def cleaned(text: str) -> str:
    """``text`` as the published loader cleans it.

    Example:
        >>> cleaned("A man's well-worn hat, (left).")
        'a mans well worn hat left'
    """
    text = re.sub(r"[,.'!?\"()*#:;~]", "", text.lower())
    text = re.sub(r"[-/]", " ", text).replace("<person>", "person")
    return " ".join(text.split()[:WORDS])
