"""Models by name: ``FAMILY:REST``, one adapter file a family."""

from __future__ import annotations

from typing import Any

from secondlook import registry
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.tuning import tuned


def load(name: str) -> Any:
    """The model under ``FAMILY:REST``, say ``scenes:clip``; its capabilities are its class.

    Settings may follow, of the family or of any (:class:`~secondlook.models.engine.Manner`):
    ``hf:OWNER/NAME?resolution=native&dtype=bf16``.

    Raises:
        UnknownName: no such family, setting, or model in it; the nearest names are offered.
        InvalidInput: the name has no family, or a setting no value.
    """
    family, colon, rest = name.partition(":")
    if not colon:
        known = [f"{f}:{model}" for f in registry.names("model") for model in listed(f)]
        raise UnknownName("model", name, known)
    if not rest:
        raise InvalidInput(f"model {name!r} names a family alone; write {family}:NAME")
    rest, _, tail = rest.partition("?")
    settings = dict(_setting(name, part) for part in tail.split("&") if part)
    return tuned(family, {**settings, "name": rest})


def _setting(name: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals:
        raise InvalidInput(f"model {name!r}: setting {part!r} has no value; write {part}=VALUE")
    return key, value


def listed(family: str) -> dict[str, str]:
    """The models that a family can name without being told, with a line each."""
    models: dict[str, str] = registry.find("model", family).listed()  # type: ignore[attr-defined]
    return models
