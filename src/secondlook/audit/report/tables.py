"""The matrix as readers meet it: for each task and model the defences, and under each its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondlook.audit.report import words
from secondlook.audit.report.names import attacker_name, defence_name
from secondlook.audit.report.words import budget
from secondlook.audit.schema import Audit, Cell, Check, Status

SHOWN = {
    "targeted": ("target_top1", "target_top5", "original_top1"),
    "untargeted": ("correct", "wrong", "rejected", "coverage"),
    "retrieval": ("image_to_text_r1", "text_to_image_r1", "mean_recall"),
    "unsay": ("right", "cider", "said", "bleu4"),
    "say": ("right", "cider", "said", "bleu4"),
    "grounding": ("pointing", "iou50", "overlap", "inside"),
}
"""The metrics of the main table, by the attacker's goal; others stand in the table of details."""
_SAID = {
    "targeted": {"reached", "reached_worst", "reached_vote", "asr_targeted"},
    "untargeted": {"reached", "accuracy", "original_top1"},
    "retrieval": {"reached", "original_top1"},
    "unsay": {"reached", "original_top1"},
    "say": {"reached", "original_top1"},
    "grounding": {"reached", "original_top1"},
}
"""Figures that are in the tables already under another name."""
_GRAVITY: dict[Status, int] = {"pass": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell with its name.

    Attributes:
        cell: the figures.
        name: the attacker.
    """

    cell: Cell
    name: str

    @property
    def status(self) -> Status:
        """The gravest of the row's health checks."""
        return max((check.status for check in self.cell.health), key=_GRAVITY.__getitem__,
                   default="pass")  # fmt: skip

    @property
    def troubles(self) -> list[Check]:
        """The checks that did not pass, gravest first."""
        found = [check for check in self.cell.health if check.status != "pass"]
        return sorted(found, key=lambda check: -_GRAVITY[check.status])


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one defence.

    Attributes:
        name: of the defence.
        rows: at least one.
        withheld: whether a headline over these rows was taken away.
    """

    name: str
    rows: list[Row]
    withheld: bool

    @property
    def cells(self) -> list[Cell]:
        """The figures alone."""
        return [row.cell for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The defences of one task and model.

    Attributes:
        task: its name.
        model: its name.
        budget: the attackers' budget, where it is one.
        groups: in the order of the audit.
    """

    task: str
    model: str
    budget: str
    groups: list[Group]

    @property
    def rows(self) -> list[Row]:
        """All rows, defence after defence."""
        return [row for group in self.groups for row in group.rows]

    @property
    def goal(self) -> str:
        """What the attackers want."""
        return self.rows[0].cell.goal

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics of the main table; where captions are held back, how many of them."""
        names = SHOWN[self.goal]
        if "bleu4" in names and any("rejected" in row.cell.metrics for row in self.rows):
            return (*names[:-1], "rejected")
        return names

    @property
    def details(self) -> list[str]:
        """The metrics that the main table does not show, in order of appearance."""
        names = {name: None for row in self.rows for name in row.cell.metrics}
        said = {*self.shown, *_SAID[self.goal], *self.searched}
        return [name for name in names if name not in said]

    @property
    def searched(self) -> list[str]:
        """The metrics of the table of searches, by direction and cut."""
        names = {name: None for row in self.rows for name in row.cell.metrics}
        return sorted(filter(words.SEARCHED.fullmatch, names), key=words.search_order)

    @property
    def rejecting(self) -> list[Group]:
        """The defences that reject, of those whose attackers are content with any wrong answer."""
        return [
            group for group in self.groups
            if any(cell.controls and cell.outcomes.rejected for cell in group.cells)
        ]  # fmt: skip


def blocks(audit: Audit) -> list[Block]:
    """The whole matrix, in the order of the audit."""
    places: dict[tuple[str, str], list[Cell]] = {}
    for cell in audit.cells:
        places.setdefault((cell.task, cell.model), []).append(cell)
    return [
        Block(task=task, model=model, budget=_budget(cells), groups=_groups(cells, audit))
        for (task, model), cells in places.items()
    ]


def _groups(cells: Sequence[Cell], audit: Audit) -> list[Group]:
    lost = {row for each in audit.headline if each.status == "withheld" for row in each.rows}
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(defence_name(cell, audit.cells), []).append(cell)
    return [
        Group(
            name=name,
            rows=[Row(cell=cell, name=attacker_name(cell, audit.cells)) for cell in members],
            withheld=any(cell.id in lost for cell in members),
        )
        for name, members in groups.items()
    ]


def _budget(cells: Sequence[Cell]) -> str:
    budgets = {budget(cell.threat) for cell in cells if cell.knowledge != "clean"}
    return budgets.pop() if len(budgets) == 1 else ""
