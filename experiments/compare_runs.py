"""Compares the records of two runs of each study, row by row: what a change of the code changed.

``python -m experiments.compare_runs OLD NEW STUDY...`` reads ``OLD/STUDY`` and ``NEW/STUDY``, run
directories that may be of different versions: names that have changed are read as what they are
called now. Rows are matched by what they are and not by their hash. It ends with 1 where a row is
missing, or a record is another one.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from secondlook.audit.store import Log, read_json
from secondlook.errors import BrokenRun

NOISE: Final = 2e-5
"""How far floats may be apart that are the same but for the order of sums: relative, and below 1
absolute."""
FIELDS: Final = {"reached": "success", "reached_worst": "success_worst", "reached_vote": "success_vote"}
"""Fields of records by their former names."""
SETTINGS: Final = {"opinions": "auxiliary", "most": "threshold"}
"""Settings of an attack, or of a defense that an attacker believes in, by their former names."""
ATTACKS: Final = {"words": "bert-attack", "co": "co-attack", "sep": "sep-attack"}
"""Attacks by their former names."""
_OF_CLASSES: Final = ("cosine", "votes")
"""What untargeted attacks on classifiers were said to optimize, though nothing depended on it."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A row of a run.

    Attributes:
        what: model, defense, knowledge and eps.
        attack: its settings.
        records: by the name of the sample.
    """

    what: tuple[str, str, str, float]
    attack: Record
    records: Mapping[str, Record]

    @property
    def title(self) -> str:
        """All of that in a line."""
        model, defense, knowledge, eps = self.what
        settings = " ".join(f"{key}={value}" for key, value in self.attack.items())
        return f"{model}, {defense}, {knowledge}, eps={eps:.4g}: {settings or 'no attack'}"


@dataclass
class Comparison:
    """What two runs of a study have in common.

    Attributes:
        rows: how many the old run has.
        equal: how many of them the new one has with the same records.
        missing: titles of those that the new one has not.
        fresh: titles of those that only the new one has.
        changed: by the title of a row, how many samples differ in each field; a field of one run
            alone stands with ``-`` or ``+``.
    """

    rows: int
    equal: int = 0
    missing: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    changed: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether nothing has changed of what was there before."""
        return self.equal == self.rows

    def lines(self) -> Iterator[str]:
        """What is to be read of it."""
        yield f"{self.equal} of {self.rows} rows are equal"
        yield from (f"  missing: {title}" for title in self.missing)
        for title, fields in self.changed.items():
            counts = ", ".join(f"{name} ({count})" for name, count in fields.most_common())
            yield f"  differs: {title}: {counts}"
        yield from (f"  new: {title}" for title in self.fresh)


def read(folder: Path) -> list[Row]:
    """The rows of a run directory, in the names of today.

    Raises:
        BrokenRun: there is no finished run.
    """
    audit = read_json(folder / "audit.json")
    records: dict[str, dict[str, Record]] = defaultdict(dict)
    for found in Log(folder / "records.jsonl"):
        named = {FIELDS.get(key, key): value for key, value in found.items() if key != "cell"}
        records[found["cell"]][found["sample"]] = named
    return [_row(cell, records[cell["id"]]) for cell in audit["cells"]]


def _row(cell: Record, records: Mapping[str, Record]) -> Row:
    attack = _renamed(cell["settings"].get("attack", {}))
    if isinstance(attack.get("instead"), dict):
        attack["instead"] = _renamed(attack["instead"])
    if not attack.get("instead"):
        attack.pop("instead", None)
    if "name" in attack:
        attack["name"] = ATTACKS.get(attack["name"], attack["name"])
    if cell.get("goal") == "untargeted" and attack.get("objective") in _OF_CLASSES:
        attack["objective"] = "untargeted"
    defense = cell["defense"] if "defense" in cell else cell["defence"]
    what = (cell["model"], defense, cell["knowledge"], cell["threat"]["eps"])
    return Row(what, attack, records)


def _renamed(settings: Record) -> Record:
    return {SETTINGS.get(key, key): value for key, value in settings.items()}


def compare(old: Sequence[Row], new: Sequence[Row]) -> Comparison:
    """Holds the rows of two runs against each other."""
    found, used = Comparison(len(old)), set[int]()
    for row in old:
        at = _partner(row, new, used)
        if at is None:
            found.missing.append(row.title)
            continue
        used.add(at)
        fields = _differences(row.records, new[at].records)
        found.equal += not fields
        if fields:
            found.changed[row.title] = fields
    found.fresh = [row.title for at, row in enumerate(new) if at not in used]
    return found


def _partner(row: Row, rows: Sequence[Row], used: set[int]) -> int | None:
    """The place of the row that is the same; settings that only one version has are left out."""
    model, defense, knowledge, eps = row.what
    names = [knowledge]
    if knowledge == "oblivious":
        # Whoever attacks a bare model knows all of it, and is called adaptive by now.
        names.append("adaptive")
    for name in names:
        alike = [
            at
            for at, other in enumerate(rows)
            if other.what == (model, defense, name, eps)
            and _agree(row.attack, other.attack)
            and (name == knowledge or at not in used)
        ]
        if alike:
            shared = [len(row.attack.keys() & rows[at].attack.keys()) for at in alike]
            return alike[shared.index(max(shared))]
    return None


def _agree(one: Record, other: Record) -> bool:
    return bool(one) == bool(other) and all(one[key] == other[key] for key in one.keys() & other.keys())


def _differences(old: Mapping[str, Record], new: Mapping[str, Record]) -> Counter[str]:
    """For each field of how many samples it is another one."""
    counts: Counter[str] = Counter()
    for sample, before in old.items():
        after = new.get(sample)
        if after is None:
            counts["sample missing"] += 1
            continue
        counts.update(f"-{name}" for name in before if name not in after)
        counts.update(f"+{name}" for name in after if name not in before)
        shared = before.keys() & after.keys()
        counts.update(name for name in shared if not same(before[name], after[name]))
    counts["sample added"] += len(new.keys() - old.keys())
    return +counts


def same(one: Any, other: Any) -> bool:
    """Whether two values of records are the same but for float noise."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= NOISE * max(1.0, abs(one), abs(other))
    return bool(one == other)


def main(given: Sequence[str] | None = None) -> int:
    """Prints the comparison of each study; gives the exit status."""
    words = argparse.ArgumentParser(prog="python -m experiments.compare_runs", description=__doc__)
    words.add_argument("old", type=Path, help="folder of the former runs")
    words.add_argument("new", type=Path, help="folder of the new ones")
    words.add_argument("study", nargs="+", help="name of a run in both folders")
    asked = words.parse_args(given)
    alike = True
    for study in asked.study:
        try:
            found = compare(read(asked.old / study), read(asked.new / study))
        except BrokenRun as error:
            words.error(str(error))
        print("\n".join([f"{study}: {next(found.lines())}", *list(found.lines())[1:]]))
        alike &= found.same
    return int(not alike)


if __name__ == "__main__":
    raise SystemExit(main())
