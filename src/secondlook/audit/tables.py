"""The tables of a study: checked key by key, and swept where a value is a list."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secondlook.errors import InvalidInput

Table = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


class Manner(BaseModel):
    """How an attacker looks at a victim that it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: int = Field(1, ge=1)
    """Fresh looks of a randomised victim in each step."""
    gradient: Literal["full", "bpda"] = "full"
    """Through the purifier, or past it."""
    objective: Literal["cosine", "votes"] = "cosine"
    """Align the embedding, or win the votes."""
    instead: Table = {}
    """Settings of the defence as an adaptive attacker believes them, where they are others."""


def manner(table: Table, where: str) -> Manner:
    """Checks ``draws``, ``gradient``, ``objective`` and ``instead``.

    Raises:
        InvalidInput: a value does not fit.
    """
    return checked(Manner, table, where)


def sweep(table: Table) -> Iterator[Table]:
    """One table for each combination of the values that are lists.

    Raises:
        InvalidInput: a list is empty.
    """
    for key, value in table.items():
        if value == []:
            raise InvalidInput(f"{key} = [] sweeps over nothing; give a value or take the key away")
    options = [value if isinstance(value, list) else [value] for value in table.values()]
    for values in itertools.product(*options):
        yield dict(zip(table, values, strict=True))


def believing_sweep(given: Table, believing: bool) -> Iterator[Table]:
    """Every combination of an attack's settings, and of those in which an attacker believes.

    Raises:
        InvalidInput: a list is empty, or ``instead`` is no table.
    """
    for table in sweep(given):
        beliefs = table.pop("instead", {}) if believing else {}
        table.pop("instead", None)
        if not isinstance(beliefs, dict):
            raise InvalidInput(f"instead = {beliefs!r} is no table; write {{ samples = 3 }}, say")
        for instead in sweep(beliefs):
            yield {**table, "instead": instead}


def checked(kind: type[M], table: Table, where: str) -> M:
    """A table as ``kind``.

    Raises:
        InvalidInput: a key is unknown (the nearest is offered) or a value does not fit.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {_explained(error, kind)}") from None


def _explained(error: ValidationError, kind: type[BaseModel]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        reason = first["msg"].removeprefix("Value error, ")
        return f"{key} = {first['input']!r}: {reason}" if key else reason
    known = _fields(kind, first["loc"])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"


def _fields(kind: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    """The keys that there are at a place."""
    for part in where[:-1]:
        inner = kind.model_fields[str(part)].annotation
        kind = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else kind
    return list(kind.model_fields)
