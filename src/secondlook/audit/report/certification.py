"""Certified accuracy by L2 radius, with what attacks of that size have left above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from secondlook.audit.report.matrix import Block, Group
from secondlook.audit.report.svg import HEIGHT, LEFT, RIGHT, SHARES, WIDTH, Scale, Spot, board, frame, path, tag
from secondlook.audit.report.words import carried, ends, percent
from secondlook.schema import Cell, Certification, Metric
from secondlook.statistics import wilson


class Promise(NamedTuple):
    """What a defense certifies, and what it has kept.

    Attributes:
        group: the defense.
        clean: its row that nobody attacks.
        attacked: its rows under attacks in L2.
    """

    group: Group
    clean: Cell
    attacked: Sequence[Cell]


def promises(blocks: Sequence[Block]) -> list[Promise]:
    """The defenses whose clean inputs have certificates, each once."""
    found: dict[tuple[str, str, str], Promise] = {}
    for group in (group for block in blocks for group in block.groups):
        cells = [row.cell for row in group.rows]
        clean = next((cell for cell in cells if cell.certification is not None), None)
        if clean is None:
            continue
        key = clean.task, clean.model, clean.defense
        attacked = [cell for cell in cells if cell.knowledge != "clean" and cell.threat.norm == "l2"]
        known = found[key].attacked if key in found else []
        found[key] = Promise(group, clean, [*known, *attacked])
    return list(found.values())


def at_least(found: Certification, radius: float) -> Metric:
    """The share of the inputs that are certified right within a radius, with its interval."""
    hits = sum(each > 0 and each >= radius for each in found.radii)
    share = wilson(hits, len(found.radii))
    return Metric(value=hits / len(found.radii), low=share.low, high=share.high)


def certified_curve(promise: Promise) -> Markup:
    """Certified accuracy as steps over the radius; dots are what attacks in L2 have left right."""
    found = _of(promise.clean)
    farthest = max([found.sigma, *found.radii, *(cell.threat.eps for cell in promise.attacked)])
    across = Scale(low=0, high=1.05 * farthest, start=LEFT, end=RIGHT)
    spots, before = [], at_least(found, 0.0).value
    for radius in sorted({0.0, *(each for each in found.radii if each > 0)}):
        now = at_least(found, radius).value
        spots += [Spot(across(radius), SHARES(before)), Spot(across(radius), SHARES(now))]
        before = sum(each > radius for each in found.radii) / len(found.radii)
        spots.append(Spot(across(radius), SHARES(before)))
    ticks = {step * farthest / 4: f"{step * farthest / 4:.2g}" for step in range(5)}
    return board(
        WIDTH,
        HEIGHT,
        f"Certified accuracy by radius. {certified_sentence(promise)}",
        frame(across, ticks, "radius, L2 in pixel units"),
        tag("path", class_="line k-clean", d=path(spots)),
        *(_dot(cell, found, across) for cell in promise.attacked if "correct" in cell.metrics or cell.outcomes),
    )


def certified_sentence(promise: Promise) -> str:
    """The promise and what attacks have left, in words."""
    found, n = _of(promise.clean), promise.clean.n
    said = [
        f"The right class is certified for {percent(found.right.value, n)} {ends(found.right, carried(n))} of {n} "
        f"inputs, median radius {found.median:.2g}; of {percent(found.abstained.value, n)} nothing can be said "
        f"({found.draws:,} draws, confidence {found.confidence:g}, noise {found.sigma:g})."
    ]
    for cell in promise.attacked:
        promised = at_least(found, cell.threat.eps)
        said.append(
            f"{cell.knowledge} {cell.attack} at {cell.threat.eps:g}: {percent(_left(cell).value, cell.n)} are left, "
            f"{percent(promised.value, n)} were certified."
        )
    return " ".join(said).replace(" %", "\N{NO-BREAK SPACE}%")


def _left(cell: Cell) -> Metric:
    """The share of the inputs whose decision is right."""
    right = cell.outcomes.correct if cell.outcomes else 0
    share = wilson(right, cell.n)
    return Metric(value=right / cell.n, low=share.low, high=share.high)


def _of(cell: Cell) -> Certification:
    assert cell.certification is not None, f"nothing of {cell.id} is certified"
    return cell.certification


def _dot(cell: Cell, found: Certification, across: Scale) -> Markup:
    left, promised = _left(cell), at_least(found, cell.threat.eps)
    says = (
        f"{cell.knowledge}, {cell.attack} at {cell.threat.eps:g}: left {percent(left.value, cell.n)} "
        f"{ends(left, carried(cell.n))}, certified {percent(promised.value, cell.n)}"
    )
    at = Spot(across(cell.threat.eps), SHARES(left.value))
    return tag("circle", tag("title", says), class_=f"dot k-{cell.knowledge}", cx=at.x, cy=at.y, r=3.6)
