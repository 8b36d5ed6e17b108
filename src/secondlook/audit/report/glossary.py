"""The words of the page: its own terms, then the attacks and defenses that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from secondlook import registry
from secondlook.audit.report.matrix import KNOWLEDGE
from secondlook.errors import InvalidInput, UnknownName
from secondlook.registry import Kind
from secondlook.schema import Audit, Cell
from secondlook.tasks.view import view_of


class Term(NamedTuple):
    """A word, what it means, and the anchor that links to it."""

    word: str
    meaning: str

    @property
    def anchor(self) -> str:
        """Its id on the page, ``word-taken-over``."""
        return "word-" + "".join(letter if letter.isalnum() else "-" for letter in self.word.lower())


_TERMS: Final = (
    Term("taken over", "share of the inputs on which some attacker got what the goal says"),
    Term("eps", "how far an attacker may move: in L∞ each channel of each pixel, in 1/255"),
    *(Term(name, meaning) for name, meaning in KNOWLEDGE.items()),
    Term("interval", "the 95 % confidence interval, [low, high], beside each figure; wide where n is small"),
    Term("n", "the inputs that a figure is of"),
    Term("goal", "what the attacker wants: targeted, one answer of their own; untargeted, any other"),
    Term("overhead", "time of a decision over that of the bare model"),
    Term("bare model", "the model alone, with nothing to defend it"),
    Term("health", "checks of the attack and of the evaluation: pass, warn, or fail"),
    Term("withheld", "a check has failed, so that the figure would mislead; the checks say why"),
    Term("rejected", "the defense gives no answer to the input; of a clean one that is a cost"),
    Term("forwards, backwards", "passes of an input through a model, and of a gradient back through it"),
)


def glossary(audit: Audit) -> list[Term]:
    """The terms of the page that the audit has a use for."""
    known = {cell.knowledge for cell in audit.cells}
    unused = set(KNOWLEDGE) - known
    if not any(cell.outcomes.rejected for cell in audit.cells):
        unused.add("rejected")
    first, *others = (term for term in _TERMS if term.word not in unused)
    return [first, *map(_kept, dict.fromkeys(view_of(cell.task).kept for cell in audit.cells)), *others]


def _kept(kept: str) -> Term:
    """What is left after the attacks, as a task calls it."""
    return Term(f"still {kept}", f"share of the inputs whose answer is {kept} after every attack")


def names(audit: Audit) -> list[Term]:
    """The attacks and defenses of an audit, each by the first sentence of its own documentation."""
    attacks = _named(audit.cells, lambda cell: cell.attack, "attack", "pair attack")
    defenses = _named(audit.cells, lambda cell: str(cell.settings.get("defense", {}).get("name", "")), "defense")
    return [*attacks, *defenses]


def _named(cells: Iterable[Cell], name_of: Callable[[Cell], str], *kinds: Kind) -> Iterator[Term]:
    """Of each name what its registered class says; nothing of those that are not installed."""
    for name in dict.fromkeys(map(name_of, cells)):
        for kind in kinds:
            try:
                yield Term(name, registry.summary(kind, name))
            except (UnknownName, InvalidInput):
                continue
