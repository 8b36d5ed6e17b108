"""Settings behind a model's name that are the same for every family: how its encoder is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from secondlook import registry
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Embedder, Purifier
from secondlook.models.checkpointing import checkpointed
from secondlook.models.engine import Engine, Manner
from secondlook.models.logits import LogitClassifier

_OURS = tuple(f.name for f in fields(Manner))


def tuned(family: str, config: Mapping[str, str]) -> Any:
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
    model = registry.build("model", family, own).load()
    return model if manner == Manner() else _under(model, manner)


def _manner(given: Mapping[str, str]) -> Manner:
    try:
        return TypeAdapter(Manner).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{key}={first['input']!r}: {first['msg']}") from None


def _under(model: Any, manner: Manner) -> Any:
    if not isinstance(model, Embedder | LogitClassifier | Purifier):
        raise InvalidInput(
            f"{getattr(model, 'name', model)} takes no {manner}; embedders, purifiers and "
            "classifiers from images to logits do"
        )
    if manner.compile and isinstance(model, Purifier):
        raise InvalidInput(f"{model.name} is a purifier, which is not compiled; leave it away")
    model.engine = Engine(manner)
    if manner.checkpoint:
        checkpointed(model.modules, model.name)
    model.name += f"{'&' if '?' in model.name else '?'}{manner}"
    return model
