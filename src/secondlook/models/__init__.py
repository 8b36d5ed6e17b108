"""Models by name: ``FAMILY:REST``, one adapter file a family."""

from __future__ import annotations

from typing import Any

from secondlook import registry
from secondlook.errors import InvalidInput, UnknownName


def load(name: str) -> Any:
    """The model under ``FAMILY:REST``, say ``scenes:clip``; its capabilities are its class.

    Raises:
        UnknownName: no such family, or no such model in it; the nearest names are offered.
        InvalidInput: the name has no family.
    """
    family, colon, rest = name.partition(":")
    if not colon:
        known = [f"{f}:{model}" for f in registry.names("model") for model in listed(f)]
        raise UnknownName("model", name, known)
    if not rest:
        raise InvalidInput(f"model {name!r} names a family alone; write {family}:NAME")
    return registry.build("model", family, {"name": rest}).load()


def listed(family: str) -> dict[str, str]:
    """The models that a family can name without being told, with a line each."""
    models: dict[str, str] = registry.find("model", family).listed()  # type: ignore[attr-defined]
    return models
