"""Bounds of a setting: declared once, at its type, and checked wherever it is built.

A dataclass under ``@register`` writes ``steps: Count = 100``, and every way to build it, from a
study, a flag or in Python, refuses what is out of bounds. Without any declaration a number must
still be one: finite, whole where the type says so, and no ``true``. Of a ``Literal`` the value must
be one, and a ``bool`` must be ``True`` or ``False``.
"""

from __future__ import annotations

import math
import operator
import reprlib
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache, wraps
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from secondlook.errors import InvalidInput

T = TypeVar("T", bound=type)

LARGEST = 2**63 - 1
"""Of whole numbers: what a file, a tensor and another program hold."""


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
    bounds: Bounds = Bounds()

    def __str__(self) -> str:
        """What is to be written."""
        if self.bounds == Bounds():
            return "a whole number" if self.whole else "a finite number"
        return str(self.bounds)

    def refuse(self, field: str, value: Any) -> None:
        """Raises where ``value`` is no such number."""
        if isinstance(value, bool | str):
            raise InvalidInput(f"{field}={value!r} is no number; write {self}")
        try:
            found = operator.index(value) if self.whole else float(value)
        except (TypeError, ValueError, OverflowError):
            raise InvalidInput(f"{field}={reprlib.repr(value)}; write {self}") from None
        if self.whole and abs(found) > LARGEST:
            raise InvalidInput(f"{field}={reprlib.repr(found)}; write a whole number of 63 bits or fewer")
        if not math.isfinite(found) or found not in self.bounds:
            raise InvalidInput(f"{field}={value:g}; write {self}")


class _Choice(NamedTuple):
    """The values that a field's type names."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        """What is to be written."""
        *others, last = map(repr, self.values)
        return f"{', '.join(others)} or {last}" if others else last

    def refuse(self, field: str, value: Any) -> None:
        """Raises where ``value`` is none of them; 1 is not ``True``."""
        if not any(isinstance(value, bool) == isinstance(one, bool) and _equal(value, one) for one in self.values):
            raise InvalidInput(f"{field}={value!r}; write {self}")


def _equal(value: Any, one: Any) -> bool:
    return isinstance(value, type(one)) and bool(value == one)


class _Setting(NamedTuple):
    """What a field's type says of its values."""

    kind: _Number | _Choice
    several: bool = False
    optional: bool = False

    def refuse(self, field: str, value: Any) -> None:
        """Raises where a value does not fit."""
        if value is None and self.optional:
            return
        if self.several and not isinstance(value, tuple | list):
            raise InvalidInput(f"{field}={value!r} is no tuple; write a tuple, each {self.kind}")
        for one in value if self.several else (value,):
            self.kind.refuse(field, one)


def bounded(cls: T) -> T:
    """The dataclass, whose fields are checked before it is made.

    Raises:
        InvalidInput: the class is made with a value out of its bounds.
    """
    made: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @wraps(made)
    def checked(self: Any, *args: Any, **given: Any) -> None:
        check(type(self), given)
        made(self, *args, **given)

    cls.__init__ = checked  # type: ignore[misc]
    return cls


def check(cls: type, given: Mapping[str, Any]) -> None:
    """Refuses values that a class does not take; a field's own default is always taken.

    Raises:
        InvalidInput: the message names field, value, and range or choice.
    """
    settings, defaults = _settings(cls)
    for field, value in given.items():
        if field in settings and value is not defaults[field]:
            settings[field].refuse(field, value)


def natural(field: str, value: Any) -> int:
    """A whole number from 0, such as a seed, as Python's own.

    Raises:
        InvalidInput: it is none; the message names the field.
    """
    _Number(True, Bounds(0)).refuse(field, value)
    return operator.index(value)


@cache
def _settings(cls: type) -> tuple[Mapping[str, _Setting], Mapping[str, Any]]:
    """What there is to check of a dataclass' fields, and the defaults of all."""
    hints = get_type_hints(cls, include_extras=True)
    found = {field.name: _setting(hints[field.name]) for field in fields(cls)}
    settings = {name: setting for name, setting in found.items() if setting is not None}
    return settings, {field.name: field.default for field in fields(cls)}


def _setting(hint: Any, bounds: Bounds = Bounds()) -> _Setting | None:  # noqa: B008
    """What a type says of numbers or choices, alone, in a union with None, or several in a tuple."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        declared = [extra for extra in inner[1:] if isinstance(extra, Bounds)]
        return _setting(inner[0], declared[-1] if declared else bounds)
    if origin in (Union, types.UnionType):
        kept = [each for each in inner if each is not type(None)]
        one = _setting(kept[0], bounds) if len(kept) == 1 else None
        return one and one._replace(optional=True)
    if origin is tuple and inner[1:] == (Ellipsis,):
        one = _setting(inner[0], bounds)
        return one and one._replace(several=True)
    if origin is Literal:
        return _Setting(_Choice(inner))
    if hint is bool:
        return _Setting(_Choice((True, False)))
    return _Setting(_Number(hint is int, bounds)) if hint in (int, float) else None
