"""What a check of one row is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from secondlook.schema import Cell, Check, SampleRecord, Status
from secondlook.statistics import Interval

Rows: TypeAlias = Sequence[SampleRecord]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a row beside its records.

    Attributes:
        probe: how the row's attack did with nothing to hold it back; None where it was not tried.
        aims: how the row's attack did on a few samples with another aim, by what is other.
        diagnosed: what each manner of attacking the defense does by itself, as the ledger has it;
            None where it was not tried.
        replays: whether the row's attack also shows the defense what fools the bare model.
        reached: the samples on which the row has reached what the probe is after; None takes
            those of its records that say ``success``.
        inspection: what an inspection of the defense and its model before the run has found.
        hashes: of the models, by name.
        stochastic: whether the defense says that its decisions differ.
        chance: the share that guessing gets right; None where the task knows none.
        certified: of each clean input of the row's model the class and the radius that are certified.
        bare: right of the undefended model on clean inputs, with its interval; None where no row has it.
    """

    probe: Mapping[str, Any] | None = None
    aims: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    diagnosed: Mapping[str, Any] | None = None
    replays: bool = False
    reached: frozenset[str] | None = None
    inspection: Mapping[str, Any] | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    stochastic: bool = False
    chance: float | None = None
    certified: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    bare: Interval | None = None


class Row(NamedTuple):
    """One row of the matrix, its records, and what is known beside them."""

    cell: Cell
    records: Rows
    evidence: Evidence


RowCheck: TypeAlias = Callable[[Row], Iterator[Check]]


def more(lead: float) -> str:
    """A difference of two shares in words.

    Example:
        >>> more(0.031), more(-0.02), more(-0.0001)
        ('3.1 points more', '2.0 points fewer', 'as many')
    """
    points = round(100 * lead, 1)
    return f"{abs(points)} points {'more' if points > 0 else 'fewer'}" if points else "as many"


def graded(value: float, warn: float, fail: float) -> Status:
    """A status: ``pass`` up to ``warn``, ``fail`` above ``fail``."""
    return "fail" if value > fail else "warn" if value > warn else "pass"
