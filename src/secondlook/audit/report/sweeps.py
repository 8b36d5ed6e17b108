"""Which cells make a curve: those that differ in one value alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from secondlook.audit.report.names import attack_details, defence_name
from secondlook.audit.schema import Cell

Axis = Literal["eps", "steps", "samples"]
T = TypeVar("T")
_DRAWN = {
    "targeted": ("target_top1", "original_top1"),
    "untargeted": ("wrong", "correct"),
    "retrieval": ("image_to_text_r1", "text_to_image_r1"),
    "unsay": ("said", "right"),
    "say": ("said", "right"),
    "grounding": ("pointing", "iou50"),
}
_KEPT_TOGETHER = 6
"""With more lines than this a panel is cut by the attacker's knowledge."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Cells that differ only in the value of the axis, in its order.

    Attributes:
        label: what the line is called among its neighbours.
        knowledge: of the attacker; it chooses the colour.
        xs: the values of the axis.
        cells: the cells, as many.
    """

    label: str
    knowledge: str
    xs: tuple[float, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The lines of one defence against one axis.

    Attributes:
        axis: what is varied.
        name: what the defence is called.
        place: task and model.
        knowledge: of the attackers, where it is one and the lines' labels leave it out.
        lines: at least one.
    """

    axis: Axis
    name: str
    place: str
    knowledge: str
    lines: tuple[Line, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is drawn: what the attacker wants high, and what the defender does; or recalls."""
        return _DRAWN[self.lines[0].cells[0].goal]


def panels(cells: Sequence[Cell]) -> list[Panel]:
    """All curves of an audit: eps first, then steps, then the number of votes."""
    return [panel for axis in get_args(Axis) for panel in _along(axis, cells)]


def coordinate(cell: Cell, axis: Axis) -> float | None:
    """Where a cell stands on the axis; None if it is not on it."""
    if axis == "eps":
        return cell.threat.eps or None
    room = "attack" if axis == "steps" else "defence"
    value = cell.settings.get(room, {}).get(axis)
    return float(value) if isinstance(value, int | float) else None


def _along(axis: Axis, cells: Sequence[Cell]) -> list[Panel]:
    on_axis = [cell for cell in cells if coordinate(cell, axis) is not None]
    lines = [
        sorted(line, key=lambda cell: coordinate(cell, axis) or 0)
        for line in _grouped(on_axis, lambda cell: _making(cell, axis))
        if len({coordinate(cell, axis) for cell in line}) > 1
    ]
    families = _grouped(lines, lambda line: _family(line[0], axis))
    return [_panel(axis, part, cells) for family in families for part in _cut(family)]


def _grouped(things: Sequence[T], key: Callable[[T], str]) -> list[list[T]]:
    groups: dict[str, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return list(groups.values())


def _cut(family: list[list[Cell]]) -> list[list[list[Cell]]]:
    if len(family) <= _KEPT_TOGETHER:
        return [family]
    return _grouped(family, lambda line: line[0].knowledge)


def _panel(axis: Axis, lines: list[list[Cell]], cells: Sequence[Cell]) -> Panel:
    first = lines[0][0]
    shared = _common([cell.defence for cell in lines[0]])
    alone = len({line[0].knowledge for line in lines}) == 1
    return Panel(
        axis=axis,
        name=shared if axis == "samples" else defence_name(first, cells),
        place=f"{first.task} · {first.model}",
        knowledge=first.knowledge if alone else "",
        lines=tuple(_line(axis, line, lines, alone) for line in lines),
    )


def _line(axis: Axis, line: list[Cell], lines: list[list[Cell]], alone: bool) -> Line:
    first = line[0]
    peers = [other[0] for other in lines if other[0].knowledge == first.knowledge]
    varied = "budget" if axis == "eps" else axis
    details = attack_details(first, peers, besides=varied)
    return Line(
        label=" · ".join(details if alone and details else [first.knowledge, *details]),
        knowledge=first.knowledge,
        xs=tuple(coordinate(cell, axis) or 0.0 for cell in line),
        cells=tuple(line),
    )


def _making(cell: Cell, axis: Axis) -> str:
    """Everything that a cell came from, except the value of the axis."""
    return _family(cell, axis) + _written(
        cell.attack, cell.knowledge, cell.surrogates, cell.resolution, cell.threat.norm,
        cell.threat.eps if axis != "eps" else None, _without(axis, cell.settings.get("attack")),
    )  # fmt: skip


def _family(cell: Cell, axis: Axis) -> str:
    """Everything about the defence, except the value of the axis; and the unit of the axis."""
    return _written(
        cell.task, cell.model, cell.threat.norm if axis == "eps" else None,
        cell.defence if axis != "samples" else None,
        _without(axis, cell.settings.get("defence")),
    )  # fmt: skip


def _without(axis: Axis, settings: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (settings or {}).items() if key != axis}


def _written(*values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _common(labels: list[str]) -> str:
    """The words that all labels share, in order."""
    words = [word for word in labels[0].split() if all(word in label.split() for label in labels)]
    return " ".join(words) or labels[0]
