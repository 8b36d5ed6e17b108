"""Gates: what a figure has to keep for a pipeline to go on, held by the end of its interval and not by its middle."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from typing import Final
from xml.etree import ElementTree

from secondlook.audit.report.matrix import attacker_name, defense_name, opening
from secondlook.audit.report.text import markdown
from secondlook.errors import InvalidInput
from secondlook.schema import Audit, Cell, Metric

_WRITTEN: Final = re.compile(
    r"^\s*(?P<rows>.+)\.(?P<figure>\w+)\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>[\d.eE+-]+)\s*(?P<percent>%?)\s*$"
)
_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_KNOWLEDGE: Final = ("clean", "oblivious", "transfer", "black-box", "adaptive")
_EXAMPLE: Final = '"consensus.adaptive.original_top1>=0.4"'


class Outcome(IntEnum):
    """What became of a gate; the status of the command is the largest."""

    HELD = 0
    FAILED = 1
    VOID = 3
    INCOMPLETE = 4


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A bound on a figure of some rows.

    Attributes:
        text: as it was written.
        defense: the name of a defense, or its beginning; ``*`` for all.
        knowledge: of the attacker; empty for all.
        figure: the metric.
        sign: ``>=``, ``>``, ``<=`` or ``<``.
        bound: what the lower end of the interval has to keep, or the upper one for ``<=`` and ``<``.
    """

    text: str
    defense: str
    knowledge: str
    figure: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        """A gate as it is written: DEFENSE.KNOWLEDGE.FIGURE>=BOUND, the knowledge left out for all attackers.

        Raises:
            InvalidInput: it is none.

        Example:
            >>> Gate.parse("consensus scenes:vae.adaptive.original_top1 >= 40 %").bound
            0.4
        """
        found = _WRITTEN.match(text)
        if found is None:
            raise InvalidInput(f"--gate {text!r} is no gate; write {_EXAMPLE}")
        defense, _, knowledge = found["rows"].rpartition(".")
        if knowledge not in _KNOWLEDGE:
            defense, knowledge = found["rows"], ""
        try:
            bound = float(found["bound"]) / (100 if found["percent"] else 1)
        except ValueError:
            raise InvalidInput(f"--gate {text!r}: {found['bound']} is no number; write {_EXAMPLE}") from None
        return cls(
            text=text.strip(),
            defense=defense.strip(),
            knowledge=knowledge,
            figure=found["figure"],
            sign=found["sign"],
            bound=bound,
        )

    def end(self, metric: Metric) -> float:
        """The end of the interval that has to keep the bound."""
        return metric.low if self.sign.startswith(">") else metric.high


@dataclass(frozen=True, kw_only=True)
class Gated:
    """A gate and what it met.

    Attributes:
        gate: the gate.
        outcome: what became of it.
        sentence: that in words.
    """

    gate: Gate
    outcome: Outcome
    sentence: str


def check_gates(audit: Audit, gates: Sequence[Gate]) -> list[Gated]:
    """Holds every gate against all rows that it names.

    Raises:
        InvalidInput: a gate names no row, or a figure that its rows do not have; what there is, is told.
    """
    return [_checked(audit, gate) for gate in gates]


def status(found: Sequence[Gated]) -> int:
    """The status of the command: 0 all held, 1 one failed, 3 a check voids a figure, 4 the run is not whole."""
    return max((each.outcome.value for each in found), default=0)


def junit(audit: Audit, found: Sequence[Gated]) -> str:
    """The gates as the test cases of a JUnit file."""
    kinds = {Outcome.FAILED: "failure", Outcome.VOID: "error", Outcome.INCOMPLETE: "skipped"}
    suite = ElementTree.Element("testsuite", name=_plain(f"secondlook {audit.study}"), tests=str(len(found)))
    for outcome, attribute in ((Outcome.FAILED, "failures"), (Outcome.VOID, "errors"), (Outcome.INCOMPLETE, "skipped")):
        suite.set(attribute, str(sum(each.outcome is outcome for each in found)))
    for each in found:
        case = ElementTree.SubElement(suite, "testcase", classname=_plain(audit.study), name=_plain(each.gate.text))
        if each.outcome is not Outcome.HELD:
            ElementTree.SubElement(case, kinds[each.outcome], message=_plain(each.sentence))
    text: str = ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)
    return f"{text}\n"


def summary(audit: Audit, found: Sequence[Gated]) -> str:
    """The gates and the audit as Markdown, for the page of a pipeline."""
    lines = [
        f"| {each.outcome.name.lower()} | {each.gate.text} | {each.sentence} |".replace("\n", " ") for each in found
    ]
    table = "\n".join(["| | gate | |", "|---|---|---|", *lines]) if lines else opening(audit)
    return f"## secondlook: {audit.title or audit.study}\n\n{table}\n\n{markdown(audit)}\n"


def _checked(audit: Audit, gate: Gate) -> Gated:
    if audit.provenance.get("shard", "1/1") != "1/1":
        part = audit.provenance["shard"]
        why = f"this is part {part} of the samples; merge all parts and ask then"
        return Gated(gate=gate, outcome=Outcome.INCOMPLETE, sentence=why)
    rows = _rows(audit, gate)
    worst_first = sorted(rows, key=lambda cell: gate.end(cell.metrics[gate.figure]), reverse=gate.sign.startswith("<"))
    return max((_row(audit, gate, cell) for cell in worst_first), key=lambda each: each.outcome)


def _row(audit: Audit, gate: Gate, cell: Cell) -> Gated:
    """What one row says to the gate."""
    metric = cell.metrics[gate.figure]
    held = _SIGNS[gate.sign](gate.end(metric), gate.bound)
    name = (
        f"{defense_name(cell, audit.cells)}, {attacker_name(cell, audit.cells) if cell.attack != 'none' else 'clean'}"
    )
    interval = f"{metric.value:.3g} [{metric.low:.3g}, {metric.high:.3g}], n = {cell.n}"
    failed = [check.check for check in cell.health if check.status == "fail"]
    if failed:
        why = f"{name}: {gate.figure} {interval} counts for nothing: {', '.join(failed)} failed"
        return Gated(gate=gate, outcome=Outcome.VOID, sentence=why)
    end = "lower" if gate.sign.startswith(">") else "upper"
    said = f"{name}: {gate.figure} {interval}; its {end} end {'keeps' if held else 'breaks'} {gate.sign} {gate.bound:g}"
    return Gated(gate=gate, outcome=Outcome.HELD if held else Outcome.FAILED, sentence=said)


def _rows(audit: Audit, gate: Gate) -> list[Cell]:
    """The rows that a gate names.

    Raises:
        InvalidInput: there are none, or they have no such figure.
    """
    of_defense = [cell for cell in audit.cells if _named(audit, cell, gate.defense)]
    if not of_defense:
        raise _unknown(gate, "defense", gate.defense, {defense_name(cell, audit.cells) for cell in audit.cells})
    rows = [cell for cell in of_defense if gate.knowledge in ("", cell.knowledge)]
    if not rows:
        raise _unknown(gate, "rows of the knowledge", gate.knowledge, {cell.knowledge for cell in of_defense})
    lacking = [cell for cell in rows if gate.figure not in cell.metrics]
    if lacking:
        raise _unknown(gate, "figure", gate.figure, set(lacking[0].metrics))
    return rows


def _named(audit: Audit, cell: Cell, wanted: str) -> bool:
    """Whether a row's defense is called so; a first word, and ``*``, mean no controls."""
    name = defense_name(cell, audit.cells)
    if name == wanted:
        return True
    short = (cell.defense, cell.defense.split(" ")[0], name.split(",")[0], "*")
    return not cell.control and wanted in short


def _unknown(gate: Gate, what: str, name: str, there: set[str]) -> InvalidInput:
    near = get_close_matches(name, there, n=3)
    return InvalidInput(
        f"--gate {gate.text!r}: the audit has no {what} {name!r}; "
        + (f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(sorted(there))}")
    )


def _plain(text: str) -> str:
    """Without what XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "�", text)
