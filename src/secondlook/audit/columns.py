"""Records held by columns: those of one row of the matrix share their names and many words."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast, overload

from secondlook.schema import SampleRecord

_Column: TypeAlias = "array[int] | array[float] | list[Any]"
_ABSENT: Final = object()


class Rows(Sequence[SampleRecord]):
    """Records, one for each sample; a dozen times smaller than a list of them.

    A record is made anew each time that it is asked for. Of two records of one sample the later
    one counts.

    Example:
        >>> rows = Rows()
        >>> rows.add({"sample": "b", "eta": 0.5})
        >>> rows.add({"sample": "a", "eta": None})
        >>> rows.ordered()[0]
        {'sample': 'a', 'eta': None}
    """

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._columns: dict[str, _Column] = {}
        self._order: Sequence[int] = ()

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes in one more record, or another one of a sample."""
        sample = sys.intern(record["sample"])
        before = len(self._place)
        place = self._place.setdefault(sample, before)
        # In the order of the record, which a set would lose.
        for name in [name for name in record if name not in self._columns]:
            self._columns[name] = [_ABSENT] * before if before else _kind(record[name])
        for name in self._columns:
            self._put(name, place, record.get(name, _ABSENT))
        self._order = range(len(self._place))

    def ordered(self) -> Rows:
        """The same, in the order of the samples' names."""
        self._order = array("q", (self._place[name] for name in sorted(self._place)))
        return self

    def _put(self, name: str, place: int, value: Any) -> None:
        value = sys.intern(value) if isinstance(value, str) else value
        column = self._columns[name]
        if not _fits(column, value):
            column = self._columns[name] = list(_values(column))
        value = float("nan") if value is None and isinstance(column, array) else value
        if place == len(column):
            column.append(value)
        else:
            column[place] = value

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> SampleRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[SampleRecord]: ...

    def __getitem__(self, index: int | slice) -> SampleRecord | list[SampleRecord]:
        if isinstance(index, slice):
            return [self._record(place) for place in self._order[index]]
        return self._record(self._order[index])

    def __iter__(self) -> Iterator[SampleRecord]:
        return map(self._record, self._order)

    def _record(self, place: int) -> SampleRecord:
        found = {name: column[place] for name, column in self._columns.items()}
        # NaN alone is not itself; JSON has none, so that it can stand for null.
        kept = {name: None if value != value else value for name, value in found.items() if value is not _ABSENT}
        return cast(SampleRecord, kept)


def _kind(value: Any) -> _Column:
    if type(value) is int:
        return array("q")
    return array("d") if value is None or type(value) is float else []


def _fits(column: _Column, value: Any) -> bool:
    if isinstance(column, list):
        return True
    return type(value) is int if column.typecode == "q" else value is None or type(value) is float


def _values(column: _Column) -> Iterator[Any]:
    return (None if value != value else value for value in column)
