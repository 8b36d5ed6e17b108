"""Models by name: ``FAMILY:REST``, one adapter file a family."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from secondlook import registry
from secondlook.errors import InvalidInput, UnknownName, checked_name, telling_of_files
from secondlook.models.base import Embedder, Purifier
from secondlook.models.logits import LogitClassifier
from secondlook.models.runtime.engine import Engine, EngineSettings, checkpointed
from secondlook.variables import filled, untold


def load(name: str) -> Any:
    """The model under ``FAMILY:REST``, say ``scenes:clip``; its capabilities are its class.

    Settings may follow, of the family or of any
    (:class:`~secondlook.models.runtime.engine.EngineSettings`):
    ``hf:OWNER/NAME?resolution=native&dtype=bf16``. ``${NAME}`` in it stands for a variable of the
    environment; the model goes by the name as it is written.

    Raises:
        UnknownName: no such family, setting, or model in it; the nearest names are offered.
        InvalidInput: the name has no family, or a setting no value.
    """
    family, colon, rest = checked_name("model", name).partition(":")
    if not colon:
        known = [f"{f}:{model}" for f in registry.names("model") for model in listed(f) or ("…",)]
        raise UnknownName("model", name, known, [f"{family}:…" for family in registry.names("model")])
    if not rest:
        raise InvalidInput(f"model {name!r} names a family alone; write {family}:NAME")
    rest, _, tail = rest.partition("?")
    given = [_setting(name, part) for part in tail.split("&") if part]
    settings = dict(given)
    if len(settings) < len(given):
        raise InvalidInput(f"model {name!r} has a setting twice; write each once")
    return configured(family, {**settings, "name": rest})


def _setting(name: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals:
        raise InvalidInput(f"model {name!r}: setting {part!r} has no value; write {part}=VALUE")
    return key, value


def listed(family: str) -> dict[str, str]:
    """The models that a family knows by name, with a line each."""
    models: dict[str, str] = registry.find("model", family).listed()  # type: ignore[attr-defined]
    return models


_OURS = tuple(f.name for f in fields(EngineSettings))


def configured(family: str, config: Mapping[str, str]) -> Any:
    """The model of a family under its own settings and under those of its engine.

    Raises:
        UnknownName: no such family, or neither has a setting of that name.
        InvalidInput: a value does not fit, or the model has no encoder to run so.
    """
    cls = registry.find("model", family)
    known = [key for key in registry.settings(cls) if key != "name"]
    for key in config:
        if key not in (*known, *_OURS, "name"):
            raise UnknownName(f"setting of a model {family}:…", key, (*known, *_OURS))
    # A family may have a setting of its own by one of these names.
    ours = {key: config[key] for key in config if key in _OURS and key not in known}
    manner = _manner(ours)
    own = {key: value for key, value in config.items() if key not in ours}
    with untold(" ".join(own.values())), telling_of_files(f"model {family}:{reprlib.repr(own['name'])}"):
        model = registry.build("model", family, {key: filled(value) for key, value in own.items()}).load()
    if filled(own["name"]) != own["name"]:
        model.name = model.name.replace(filled(own["name"]), own["name"])
    return model if manner == EngineSettings() else _under(model, manner)


def _manner(given: Mapping[str, str]) -> EngineSettings:
    try:
        return TypeAdapter(EngineSettings).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{key}={first['input']!r}: {first['msg']}") from None


def _under(model: Any, manner: EngineSettings) -> Any:
    if not isinstance(model, Embedder | LogitClassifier | Purifier):
        raise InvalidInput(
            f"{getattr(model, 'name', model)} takes no {manner}; embedders, purifiers and "
            "classifiers from images to logits do"
        )
    if manner.compile and isinstance(model, Purifier):
        raise InvalidInput(f"{model.name} is a purifier, which is not compiled; leave it out")
    model.engine = Engine(manner)
    if manner.checkpoint:
        checkpointed(model.modules, model.name)
    model.name += f"{'&' if '?' in model.name else '?'}{manner}"
    return model
