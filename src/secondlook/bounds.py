"""Bounds of a setting's number: declared once, at its type, and checked wherever it is built.

A dataclass under ``@register`` writes ``steps: Count = 100``, and every way to build it, from a
study, a flag or in Python, refuses what is out of bounds. Without any declaration a number must
still be one: finite, whole where the type says so, and no ``true``.
"""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache, wraps
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from secondlook.errors import InvalidInput

T = TypeVar("T", bound=type)


class Bounds(NamedTuple):
    """The range of a number.

    Attributes:
        low: the least value.
        high: the largest.
        above: whether ``low`` itself is out of the range.
        unit: what the number counts, where the range does not say it.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    unit: str = ""

    def __contains__(self, value: object) -> bool:
        """Whether a number is in the range; NaN is not."""
        assert isinstance(value, int | float)
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            words = f"a number above {self.low:g}" if self.above else f"{self.low:g} or more"
        else:
            words = f"a number {'above' if self.above else 'from'} {self.low:g} {'up ' * self.above}to {self.high:g}"
        return f"{words}, {self.unit}" if self.unit else words


Count = Annotated[int, Bounds(1)]
"""A whole number from 1."""
Natural = Annotated[int, Bounds(0)]
"""A whole number from 0."""
Share = Annotated[float, Bounds(0, 1)]
"""A part of a whole, or a chance."""
Part = Annotated[float, Bounds(0, 1, above=True)]
"""A share that is not nothing."""
Weight = Annotated[float, Bounds(0)]
"""A number that is not negative."""
Positive = Annotated[float, Bounds(0, above=True)]
"""A number above 0."""


class _Number(NamedTuple):
    """What a field's type says of its number."""

    whole: bool
    several: bool
    bounds: Bounds


def bounded(cls: T) -> T:
    """The dataclass, whose fields are checked before it is made.

    Raises:
        InvalidInput: the class is made with a number out of its bounds.
    """
    made: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @wraps(made)
    def checked(self: Any, *args: Any, **given: Any) -> None:
        check(type(self), given)
        made(self, *args, **given)

    cls.__init__ = checked  # type: ignore[misc]
    return cls


def check(cls: type, given: Mapping[str, Any]) -> None:
    """Refuses numbers that a class does not take; a field's own default is always taken.

    Raises:
        InvalidInput: the message names field, value and range.
    """
    numbers, defaults = _numbers(cls)
    for field, value in given.items():
        number = numbers.get(field)
        if number is None or value is None or value is defaults[field]:
            continue
        for one in value if number.several and isinstance(value, tuple | list) else (value,):
            _check(field, one, number)


def _check(field: str, value: Any, number: _Number) -> None:
    if isinstance(value, bool | str):
        raise InvalidInput(f"{field}={value!r} is no number; write {_words(number)}")
    try:
        found = operator.index(value) if number.whole else float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"{field}={value!r}; write {_words(number)}") from None
    if not math.isfinite(found) or found not in number.bounds:
        raise InvalidInput(f"{field}={value:g}; write {_words(number)}")


def _words(number: _Number) -> str:
    if number.bounds == Bounds():
        return "a whole number" if number.whole else "a finite number"
    return str(number.bounds)


@cache
def _numbers(cls: type) -> tuple[Mapping[str, _Number], Mapping[str, Any]]:
    """The numbers among a dataclass' fields, and the defaults of all."""
    hints = get_type_hints(cls, include_extras=True)
    found = {field.name: _number(hints[field.name]) for field in fields(cls)}
    numbers = {name: number for name, number in found.items() if number is not None}
    return numbers, {field.name: field.default for field in fields(cls)}


def _number(hint: Any, bounds: Bounds = Bounds()) -> _Number | None:  # noqa: B008
    """The number that a type is, or that a union with None or a tuple is of."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        declared = [extra for extra in inner[1:] if isinstance(extra, Bounds)]
        return _number(inner[0], declared[-1] if declared else bounds)
    if origin in (Union, types.UnionType):
        kept = [each for each in inner if each is not type(None)]
        return _number(kept[0], bounds) if len(kept) == 1 else None
    if origin is tuple and inner[1:] == (Ellipsis,):
        number = _number(inner[0], bounds)
        return number and number._replace(several=True)
    return _Number(hint is int, False, bounds) if hint in (int, float) else None
