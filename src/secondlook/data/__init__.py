"""Images and their labels or captions by name: ``FAMILY:REST``, streamed from where they lie."""

from __future__ import annotations

from typing import Any

from secondlook import registry
from secondlook.data.base import Source
from secondlook.errors import InvalidInput, UnknownName


def load(name: str, **settings: Any) -> Source:
    """The source under ``FAMILY:REST``, say ``scenes:test`` or ``folder:PATH``.

    Args:
        name: the family, and what it makes of the rest: a path, or a name that it lists.
        settings: other fields of the family, such as ``keep`` or ``prompt``.

    Raises:
        UnknownName: no such family, setting, or name in it; the nearest are offered.
        InvalidInput: the name has no rest, or what lies there is not in the family's layout.
    """
    family, colon, rest = name.partition(":")
    if not colon and family not in registry.names("data"):
        raise UnknownName("data", name, _spellings())
    if not rest:
        example = next(iter(listed(family)), "PATH")
        raise InvalidInput(f"data {name!r} names a family alone; write {family}:{example}")
    source: Source = registry.build("data", family, {"name": rest, **settings}).load()
    return source


def listed(family: str) -> dict[str, str]:
    """The sources that a family can name without being told, with a line each."""
    cls: Any = registry.find("data", family)
    sources: dict[str, str] = cls.listed()
    return sources


def _spellings() -> list[str]:
    families = registry.names("data")
    return [f"{family}:{rest}" for family in families for rest in listed(family) or ["PATH"]]
