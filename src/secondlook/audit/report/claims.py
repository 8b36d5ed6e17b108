"""What was published of defenses beside what is left of them here: a table, and a picture of one line for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Final, NamedTuple

from markupsafe import Markup

from secondlook.audit.report.matrix import KNOWLEDGE, defense_name
from secondlook.audit.report.svg import Scale, board, join, tag
from secondlook.audit.report.words import NOTHING, budget, percent, share
from secondlook.schema import Audit, ClaimCard, Claimed, Kept, Metric, PublishedFigure, ThreatRow

WIDTH: Final = 420.0
"""Of the picture, in its own units."""
_LEFT, _RIGHT, _TOP, _ROW, _FOOT = 10.0, WIDTH - 10, 14.0, 40.0, 34.0
_DROP, _RADIUS, _APART = 25.0, 4.5, 2.5
"""From the top of a row to its line; of a dot; how far its dots are off it, so that none hides another."""
_ACROSS: Final = Scale(low=0, high=1, start=_LEFT, end=_RIGHT)
_TICKS: Final = ((0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100 %"))
_DRAWN: Final = ("oblivious", "adaptive")
"""The attackers whose leavings are drawn; the table has all."""
_BUILT: Final = {"published": "from what the published code does", "after": "after the paper"}
CAPTION: Final = (
    "A claim is of its paper's data, model and attack, what is measured of those of this audit: a ring and the dots "
    "on its line are of different data and models, and only the dots are of the same samples."
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A defense under one budget, beside what was published of it.

    Attributes:
        name: of the defense.
        claimed: all that is told of it.
        left: what the attackers of this budget leave.
        bare: whether nothing stands before the model.
    """

    name: str
    claimed: Claimed
    left: Kept
    bare: bool

    @property
    def card(self) -> ClaimCard | None:
        """What was published of it."""
        return self.claimed.card

    @property
    def claim(self) -> Metric | None:
        """The claimed robust accuracy, where one is known."""
        return self.card.chief.metric if self.card else None

    @property
    def said(self) -> str:
        """The claim in a few words."""
        return figure_said(self.card.chief) if self.card else ""

    @property
    def title(self) -> str:
        """The name, and whether parts or numbers of the defense are not the authors'."""
        return f"{self.name} (after)" if self.card and self.card.built == "after" else self.name

    @property
    def passes(self) -> str:
        """Of one answer, forwards and backwards: ``4 F + 2 B``."""
        backwards = f" + {self.claimed.backwards:.3g} B" if self.claimed.backwards else ""
        return f"{self.claimed.forwards:.3g} F{backwards}"

    def kept(self, knowledge: str) -> Metric | None:
        """What attackers of that knowledge leave; whoever has a bare model knows all of it."""
        if knowledge == "clean":
            return self.claimed.clean
        known = "adaptive" if self.bare and knowledge == "oblivious" else knowledge
        return self.left.kept.get(known)


class Comparison(NamedTuple):
    """All defenses of one task and model under one budget, what leaves most first."""

    task: str
    model: str
    threat: ThreatRow
    goal: str
    lines: list[Line]

    @property
    def known(self) -> list[str]:
        """The kinds of attackers that there are, nobody first."""
        return [name for name in KNOWLEDGE if any(line.kept(name) for line in self.lines)]

    @property
    def title(self) -> str:
        """Task, model and budget."""
        return f"{self.task} · {self.model} · {budget(self.threat)}"


def comparisons(audit: Audit) -> list[Comparison]:
    """A table and a picture for each task, model, budget and goal of an audit with claims."""
    rows = {cell.id: cell for cell in audit.cells}
    found: dict[str, Comparison] = {}
    for each in audit.claims:
        clean = rows[each.row]
        name = defense_name(clean, audit.cells)
        for left in each.budgets:
            place = Comparison(each.task, each.model, left.threat, left.goal, [])
            line = Line(name=name, claimed=each, left=left, bare=clean.undefended)
            found.setdefault(repr(place), place).lines.append(line)
    for comparison in found.values():
        comparison.lines.sort(key=lambda line: -line.left.worst.value)
    return list(found.values())


def figure_said(figure: PublishedFigure) -> str:
    """A published figure with what it is of.

    Example:
        >>> figure_said(PublishedFigure(robust=72.6, data="ImageNet", eps=4 / 255, source="summary"))
        '72.6 % (ImageNet, 4/255)'
        >>> figure_said(PublishedFigure(gain=(7, 12), over="the model without it", source="summary"))
        '+7 to +12 points over the model without it'
    """
    radius = "" if figure.eps is None else budget(ThreatRow(norm=figure.norm, eps=figure.eps)).removeprefix("L∞ ")
    of = ", ".join(filter(None, [figure.data, figure.model.removeprefix("CLIP "), radius]))
    if figure.robust is not None:
        return f"{figure.robust:g} %" + (f" ({of})" if of else "")
    if figure.gain:
        return f"{' to '.join(f'{each:+g}' for each in figure.gain)} points over {figure.over}"
    return "no claim known"


def card_said(card: ClaimCard) -> Iterator[str]:
    """A card in lines of plain text."""
    yield " · ".join(filter(None, [card.paper, card.venue, card.arxiv and f"arXiv {card.arxiv}"]))
    yield f"code: {card.code or 'no address known'}{f' ({card.license})' if card.license else ''}"
    yield f"built: {_BUILT[card.built]}. {_line(card.about)}"
    for figure in card.figures:
        yield f"claim: {figure_said(figure)}"
        attack = f"{figure.attack}{' (does not know the defense)' if figure.knowledge == 'oblivious' else ''}"
        facts = [
            f"attack: {attack}" if figure.attack else "",
            f"n = {figure.n}" if figure.n else "",
            f"bare model {figure.bare:g} %" if figure.bare is not None else "",
            f"clean {figure.clean:g} %" if figure.clean is not None else "",
            f"as the {'paper’s summary' if figure.source == 'summary' else 'authors’ code'} says",
        ]
        yield f"  {'; '.join(filter(None, facts))}"
        if figure.note:
            yield f"  {_line(figure.note)}"


def _line(text: str) -> str:
    return " ".join(text.split())


def picture(comparison: Comparison) -> Markup:
    """A line from 0 to 100 % for each defense: a ring at the claim, dots at what attackers leave."""
    tall = height(comparison)
    return board(
        WIDTH,
        tall,
        _description(comparison),
        _grid(tall),
        *(_drawn(line, _TOP + at * _ROW) for at, line in enumerate(comparison.lines)),
    )


def height(comparison: Comparison) -> float:
    """Of its picture."""
    return _TOP + _ROW * len(comparison.lines) + _FOOT


def _grid(tall: float) -> Markup:
    bottom = tall - _FOOT
    rules = [tag("line", class_="rule", x1=_ACROSS(x), x2=_ACROSS(x), y1=_TOP, y2=bottom) for x, _ in _TICKS]
    anchors = {0.0: "start", 1.0: "end"}
    ticks = [
        tag("text", text, class_="tick", text_anchor=anchors.get(x, "middle"), x=_ACROSS(x), y=bottom + 16)
        for x, text in _TICKS
    ]
    return join([*rules, *ticks])


def _drawn(line: Line, top: float) -> Markup:
    """A defense's name and claim, and below them its line."""
    y = top + _DROP
    name = tag("text", line.title, class_="strong", x=_LEFT, y=top + 12)
    said = tag("text", line.said, class_="dim", text_anchor="end", x=_RIGHT, y=top + 12)
    track = tag("line", class_="axis", x1=_LEFT, x2=_RIGHT, y1=y, y2=y, opacity=0.35)
    heights = dict(zip(_DRAWN, (y - _APART, y + _APART), strict=True))
    dots = [_dot(line, name, height) for name, height in heights.items() if line.kept(name)]
    return tag("g", track, name, said, *dots, *([_ring(line, y)] if line.claim else []))


def _dot(line: Line, knowledge: str, y: float) -> Markup:
    metric = line.kept(knowledge)
    assert metric is not None, f"{line.name} has no {knowledge} row"
    says = tag("title", f"{line.name}, {knowledge}: {share(metric, line.left.n)}")
    parts = [tag("circle", says, class_=f"dot k-{knowledge}", cx=_ACROSS(metric.value), cy=y, r=_RADIUS)]
    if isfinite(metric.low) and isfinite(metric.high):
        low, high = _ACROSS(max(metric.low, 0.0)), _ACROSS(min(metric.high, 1.0))
        parts.insert(0, tag("line", class_=f"line k-{knowledge}", x1=low, x2=high, y1=y, y2=y, opacity=0.55))
    return join(parts)


def _ring(line: Line, y: float) -> Markup:
    assert line.claim is not None, f"{line.name} has no claim"
    says = tag("title", f"{line.name}, claimed: {line.said}")
    return tag("circle", says, class_="ring", cx=_ACROSS(line.claim.value), cy=y, r=_RADIUS + 1)


def key() -> Markup:
    """What a ring and the dots stand for."""
    marks = [("ring", "claimed"), *((f"dot k-{name}", name) for name in _DRAWN)]
    parts = []
    for at, (kind, text) in enumerate(marks):
        x = _LEFT + 100 * at
        parts += [tag("circle", class_=kind, cx=x + 6, cy=10, r=_RADIUS), tag("text", text, x=x + 18, y=14)]
    return board(WIDTH, 20, "A ring: what was claimed. Dots: what attackers of each knowledge leave.", *parts)


def _description(comparison: Comparison) -> str:
    lines = "; ".join(f"{line.name}: {_told(line)}" for line in comparison.lines)
    return f"Claimed, and left here by oblivious and adaptive attackers, {comparison.title}. {lines}."


def _told(line: Line) -> str:
    kept = ((name, line.kept(name)) for name in _DRAWN)
    dots = [f"{name} {share(metric, line.left.n)}" for name, metric in kept if metric]
    return ", ".join([*([f"claimed {line.said}"] if line.card else []), *dots])


def headers(comparison: Comparison) -> list[str]:
    """Of the table: what is claimed, what is left, what an answer costs, and whether the gradient is hidden."""
    return ["defense", "claimed", *comparison.known, "passes", "diagnosis"]


def line_cells(comparison: Comparison, line: Line, brief: bool = False) -> list[str]:
    """A line of the table in words; without intervals, and what a claim is of, where it is to be ``brief``."""
    kept, n = (line.kept(name) for name in comparison.known), line.left.n
    shares = (NOTHING if m is None else percent(m.value, n) if brief else share(m, n) for m in kept)
    withheld = " (withheld)" if line.left.withheld else ""
    said = line.said.partition(" (")[0].partition(" over ")[0] if brief else line.said
    return [line.title + withheld, said, *shares, line.passes, line.left.verdict or NOTHING]
