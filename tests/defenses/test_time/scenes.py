"""Some scenes and a zero-shot classifier of them, for the tests of test-time defenses."""

from __future__ import annotations

from functools import cache

from secondlook.data import load as load_data
from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys

COUNT = 8
X = load_data("scenes:test").read(range(COUNT), None).images
KEYS = Keys.of(0, range(COUNT))
CLASSES = ("red circle", "blue circle", "green square", "red square", "yellow triangle", "blue triangle")


@cache
def clip(name: str = "scenes:clip") -> ZeroShot:
    """An embedder of the embedded world with a few of its classes."""
    return ZeroShot(load(name), CLASSES, "a picture of a {}")
