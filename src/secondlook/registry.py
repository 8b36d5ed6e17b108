"""The one list of what there is: attacks, defenses, model families and tasks, by name."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from secondlook.bounds import bounded, check
from secondlook.errors import InvalidInput, UnknownName

Kind = Literal["attack", "pair attack", "defense", "method", "model", "data", "task"]
T = TypeVar("T", bound=type)

_PACKAGES: dict[Kind, tuple[str, ...]] = {
    "attack": ("secondlook.attacks",),
    "pair attack": ("secondlook.attacks.text", "secondlook.attacks.joint"),
    "defense": ("secondlook.defenses", "secondlook.defenses.test_time"),
    "method": ("secondlook.hardening",),
    "model": ("secondlook.models.families", "secondlook.scenes"),
    "data": ("secondlook.data", "secondlook.scenes"),
    "task": ("secondlook.tasks",),
}
_FAMILIES: tuple[Kind, ...] = ("model", "data")
"""Kinds whose names are those of families, of which all are told where one is unknown."""
_entries: dict[Kind, dict[str, type]] = {kind: {} for kind in _PACKAGES}


def register(kind: Kind, name: str) -> Callable[[T], T]:
    """Puts a frozen, keyword-only dataclass under ``name``; its fields are its configuration.

    Numbers, choices and flags among them are checked whenever the class is made, by their types; see
    :mod:`secondlook.bounds`.

    Raises:
        InvalidInput: the class is no dataclass, or the name belongs to another class.
    """

    def enter(cls: T) -> T:
        if not dataclasses.is_dataclass(cls):
            raise InvalidInput(f"{cls.__name__} is no dataclass; put @dataclass below @register")
        taken = _entries[kind].get(name)
        if taken is not None and _place(taken) != _place(cls):
            raise InvalidInput(f"{kind} {name!r} is {taken.__qualname__} already; choose a name")
        _entries[kind][name] = cls
        cls.registered_name = name  # type: ignore[attr-defined]
        return bounded(cls)

    return enter


def _place(cls: type) -> tuple[str, str]:
    """Where a class is written; it stays the same when its module is loaded again."""
    return cls.__module__, cls.__qualname__


def _load(kind: Kind) -> None:
    """Imports every module of the packages of ``kind``, and the plug-ins that are installed."""
    for name in _PACKAGES[kind]:
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{name}.{module.name}")
    for plugin in entry_points(group="secondlook.plugins"):
        plugin.load()


def names(kind: Kind) -> list[str]:
    """All names of a kind, in order."""
    _load(kind)
    return sorted(_entries[kind])


def find(kind: Kind, name: str) -> type:
    """The class under ``name``.

    Raises:
        UnknownName: there is none; the message offers the nearest names.
        InvalidInput: it is no text.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"{kind} = {name!r} is no name; write a text, such as {names(kind)[0]!r}")
    if name not in _entries[kind]:
        _load(kind)
    if name not in _entries[kind]:
        families = [f"{each}:…" for each in sorted(_entries[kind])] if kind in _FAMILIES else ()
        raise UnknownName(kind, name, _entries[kind], families)
    return _entries[kind][name]


def summary(kind: Kind, name: str) -> str:
    """The first sentence of the docstring of ``name``."""
    text = (find(kind, name).__doc__ or "").strip()
    return " ".join(text.split("\n\n")[0].split())


def settings(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields that a user may set: all but those that are marked as given at run time."""
    return {f.name: f for f in dataclasses.fields(cls) if f.init and not f.metadata.get("runtime")}


def build(kind: Kind, name: str, config: Mapping[str, Any], **runtime: Any) -> Any:
    """An instance from a user's configuration: strings are parsed to each field's type.

    Raises:
        UnknownName: ``name``, or a key of ``config``, is unknown.
        InvalidInput: a value does not fit its field.
    """
    cls = find(kind, name)
    fields = settings(cls)
    for key in config:
        if key not in fields:
            raise UnknownName(f"field of {kind} {name!r}:", key, fields)
    values = {key: _parse(cls, name, key, value) for key, value in config.items()}
    return cls(**values, **runtime)


def _parse(cls: type, name: str, key: str, value: object) -> Any:
    from typing import get_type_hints

    if isinstance(value, bool):
        check(cls, {key: value})
    hint = get_type_hints(cls, include_extras=True)[key]
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"{name}.{key}={value!r}: {reason}") from None


def describe(instance: Any) -> dict[str, Any]:
    """Name and settings of an instance, as plain values: its row in a report, its cache key."""
    config = {key: getattr(instance, key) for key in settings(type(instance))}
    return {"name": instance.registered_name, **config}


def digest(value: object) -> str:
    """A short, stable hash of a plain value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
