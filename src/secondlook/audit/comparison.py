"""Two runs on the same samples, row by row: which is better, by how much, and how sure that is.

The samples of two rows are paired. Whether they differ is the exact test of McNemar (Psychometrika 12, 1947) on the
samples of which only one row is right; by how much, a bootstrap over the samples, of which each is an image; and that
many rows are compared at once is paid for by the method of Holm (Scandinavian Journal of Statistics 6, 1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest

from secondlook import statistics
from secondlook.audit.finish import read_audit
from secondlook.audit.report.matrix import attacker_name, defense_name
from secondlook.audit.report.words import budget
from secondlook.audit.store import Records
from secondlook.errors import InvalidInput
from secondlook.schema import Audit, Cell

LEVEL: Final = 0.05
"""The chance that any row is called different where none is."""

Shares = Mapping[str, float]
"""Of each sample whether it is right, 1 or 0."""
Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One row of both runs.

    Attributes:
        row: what it is: task, model, defense, attacker and budget.
        figure: ``correct``; ``accepted wrong``, where something is rejected; or ``reached``, the attacker's goal.
        n: samples that both have.
        first, second: the shares in the first and in the second run.
        difference: second less first, with the bootstrap's interval ``low`` to ``high`` of 95 %.
        only_first, only_second: samples of which the figure holds in one run alone.
        p: of McNemar's exact test.
        adjusted: p for all rows together (Holm).
        failed: checks that either row has failed; nothing is concluded from such a row.
    """

    row: str
    figure: str
    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float
    adjusted: float
    failed: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the two runs differ here, at a level of 5 % for all rows together."""
        return self.adjusted <= LEVEL and not self.failed


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs beside one another; a notebook shows it as a table.

    Attributes:
        first, second: names of the runs.
        rows: what was compared.
        left_out: rows that only one run has, or that cannot be told apart, in words.
    """

    first: str
    second: str
    rows: tuple[Compared, ...]
    left_out: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What was found, in one line."""
        apart = [row for row in self.rows if row.differs]
        if not apart:
            of = f"{len(self.rows)} figures"
            return f"No difference between {self.first} and {self.second} is larger than chance ({of})."
        up = sum(row.difference > 0 for row in apart)
        return (
            f"{len(apart)} of {len(self.rows)} figures differ by more than chance: {up} higher in {self.second}, "
            f"{len(apart) - up} lower."
        )

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a line for each figure of each row.

        Raises:
            InvalidInput: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise InvalidInput('pandas is not installed; run: pip install "secondlook[pandas]"') from None
        return DataFrame([{**asdict(row), "differs": row.differs} for row in self.rows])

    def lines(self) -> Iterator[tuple[str, ...]]:
        """The table: a line for each figure, after the titles."""
        yield ("row", "figure", "n", self.first, self.second, "difference", "only one", "p (Holm)")
        for row in self.rows:
            points = f"{100 * row.difference:+.0f} [{100 * row.low:+.0f}, {100 * row.high:+.0f}]"
            shares = (f"{100 * row.first:.0f} %", f"{100 * row.second:.0f} %")
            alone = f"{row.only_first} / {row.only_second}"
            sure = (
                f"withheld: {', '.join(row.failed)}"
                if row.failed
                else f"{row.adjusted:.2g}{' *' if row.differs else ''}"
            )
            yield (row.row, row.figure, str(row.n), *shares, points, alone, sure)

    def markdown(self) -> str:
        """The sentence, and the table as Markdown."""
        title, *rest = ([each.replace("|", "\\|") for each in line] for line in self.lines())
        table = [title, ["---", "---", *["--:"] * (len(title) - 2)], *rest]
        out = "".join(f"\n- not compared: {each}" for each in self.left_out)
        return f"{self.sentence}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in table) + f"\n{out}"

    def _repr_html_(self) -> str:
        title, *rest = self.lines()
        head = "".join(f"<th>{escape(each)}</th>" for each in title)
        body = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in line) + "</tr>" for line in rest)
        out = "".join(f"<li>not compared: {escape(each)}</li>" for each in self.left_out)
        return f"<p>{escape(self.sentence)}</p><table><tr>{head}</tr>{body}</table><ul>{out}</ul>"


def compare(
    first: Audit | Path | str, second: Audit | Path | str, defenses: tuple[str, str] | None = None
) -> Comparison:
    """Compares two runs on the samples that both have.

    Rows are paired that are called the same; the model is left out of the name where each run has one and they differ.

    Args:
        first: a run directory, or what ``sl.evaluate`` has returned.
        second: another; the same one to compare two defenses of it.
        defenses: compares the rows of the one defense in the first run with those of the other in the second.

    Raises:
        InvalidInput: the runs are on different data, have no row or sample in common, or no such defense.
        BrokenRun: there is no finished run.

    Example:
        ``sl.compare("runs/before", "runs/after").markdown()``
    """
    one, two = _Side.of(first), _Side.of(second)
    _refuse_apart(one, two)
    names = ["", ""] if defenses is None else list(defenses)
    scope = len(one.models) == len(two.models) == 1 and one.models != two.models
    left, right = (side.named(name, scope, defenses is not None) for side, name in zip((one, two), names, strict=True))
    found = [
        figure for key in left if key in right for figure in _figures(" · ".join(key), left[key], right[key], one, two)
    ]
    if not found:
        raise InvalidInput(
            f"{one.name} and {two.name} have no row in common; they have {_some(left)} and {_some(right)}"
        )
    alone = [f"{' · '.join(key)} ({one.name} alone)" for key in left if key not in right]
    alone += [f"{' · '.join(key)} ({two.name} alone)" for key in right if key not in left]
    labels = (one.name, two.name) if defenses is None else (names[0], names[1])
    return Comparison(first=labels[0], second=labels[1], rows=tuple(_holm(found)), left_out=tuple(alone))


@dataclass(frozen=True)
class _Side:
    """One of the two runs."""

    name: str
    audit: Audit
    samples: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @classmethod
    def of(cls, given: Audit | Path | str) -> _Side:
        if not isinstance(given, Audit | Path | str):
            raise InvalidInput(f"{type(given).__name__} is no run; give a run directory, or what sl.evaluate returned")
        folder = given.run if isinstance(given, Audit) else Path(given)
        if folder is None or not folder.is_dir():
            raise InvalidInput(f"{folder or 'the run that made this audit'} is no run directory, or is gone")
        audit = given if isinstance(given, Audit) else read_audit(folder)
        known = {cell.id for cell in audit.cells}
        samples: dict[str, dict[str, Mapping[str, Any]]] = {}
        for record in Records(folder / "records.jsonl"):
            if record["cell"] in known:
                samples.setdefault(record["cell"], {})[record["sample"]] = record
        return cls(audit.study if isinstance(given, Audit) else str(given), audit, samples)

    @property
    def models(self) -> set[str]:
        return {cell.model for cell in self.audit.cells}

    def named(self, defense: str, any_model: bool, any_defense: bool) -> dict[Key, Cell]:
        """Rows by what they are called; of those that are called the same, none."""
        found: dict[Key, list[Cell]] = {}
        for cell in self.audit.cells:
            shown = defense_name(cell, self.audit.cells)
            if defense not in ("", shown, cell.defense):
                continue
            parts = (cell.task, "" if any_model else cell.model, "" if any_defense else shown)
            said = attacker_name(cell, self.audit.cells)
            attack = "" if cell.attack in (*said.split(" · "), "none") else cell.attack
            rest = ("clean",) if cell.knowledge == "clean" else (said, attack, budget(cell.threat))
            key = tuple(part for part in (*parts, *rest) if part)
            found.setdefault(key, []).append(cell)
        if defense and not found:
            there = sorted({defense_name(cell, self.audit.cells) for cell in self.audit.cells})
            raise InvalidInput(f"{self.name} has no defense {defense!r}; it has {', '.join(there)}")
        return {key: cells[0] for key, cells in found.items() if len(cells) == 1}


def _refuse_apart(one: _Side, two: _Side) -> None:
    """Refuses runs whose samples are not the same.

    Raises:
        InvalidInput: the data differ, or the seed that samples and targets come from.
    """
    for field, what in (("data", "the data that they evaluate"), ("seed", "their seed, and so in samples and targets")):
        mine, other = (side.audit.provenance.get(field) for side in (one, two))
        if mine != other:
            raise InvalidInput(
                f"{one.name} and {two.name} differ in {what} ({mine} and {other}), and nothing can be paired; "
                "run one of them again on the data of the other"
            )


def _figures(name: str, first: Cell, second: Cell, one: _Side, two: _Side) -> Iterator[Compared]:
    """What can be compared of two rows."""
    left, right = one.samples.get(first.id, {}), two.samples.get(second.id, {})
    both = [sample for sample in left if sample in right]
    if not both:
        raise InvalidInput(f"{name}: {one.name} and {two.name} have no sample in common")
    figures = ("correct", "accepted wrong") if first.knowledge == "clean" else ("correct", "accepted wrong", "reached")
    failed = {check.check for cell in (first, second) for check in cell.health if check.status == "fail"}
    for figure in figures:
        pair = [[_holds(figure, rows[sample]) for sample in both] for rows in (left, right)]
        if all(value is not None for side in pair for value in side) and _worth(figure, left, right):
            yield _compared(name, figure, np.array(pair, float), tuple(sorted(failed)))


def _holds(figure: str, record: Mapping[str, Any]) -> float | None:
    """Whether a figure holds of a sample; None where that is no question of yes or no."""
    if figure == "reached":
        found = record.get("success")
        return found if found in (0.0, 1.0) else None
    return float(record.get("outcome") == ("correct" if figure == "correct" else "wrong"))


def _worth(figure: str, *sides: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a figure says more than *correct* does."""
    records = [record for side in sides for record in side.values()]
    if figure == "accepted wrong":
        return any(record.get("outcome") == "rejected" for record in records)
    return figure == "correct" or any(
        record.get("success") != float(record.get("outcome") == "wrong") for record in records
    )


def _compared(name: str, figure: str, pair: np.ndarray[Any, Any], failed: tuple[str, ...]) -> Compared:
    first, second = pair
    only_first, only_second = int((first > second).sum()), int((second > first).sum())
    apart = statistics.paired_difference(second.tolist(), first.tolist())
    return Compared(
        row=name,
        figure=figure,
        n=len(first),
        first=float(first.mean()),
        second=float(second.mean()),
        difference=apart.value,
        low=apart.low,
        high=apart.high,
        only_first=only_first,
        only_second=only_second,
        p=mcnemar(only_first, only_second),
        adjusted=1.0,
        failed=failed,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of as many samples that only the one and only the other is right about.

    Example:
        >>> mcnemar(0, 6)
        0.03125
    """
    apart = only_first + only_second
    return float(binomtest(only_first, apart, 0.5).pvalue) if apart else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values: one that is at most the level is significant for all of them together.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p, float)[order]), 1.0)
    return [float(each) for each in adjusted]


def _holm(rows: Sequence[Compared]) -> list[Compared]:
    return [replace(row, adjusted=p) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]


def _some(rows: Mapping[Key, Cell]) -> str:
    return "; ".join(" · ".join(key) for key in list(rows)[:3]) or "none"
