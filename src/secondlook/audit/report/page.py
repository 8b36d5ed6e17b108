"""The report as one offline page, or one figure: templates, a style sheet, what they are given."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import groupby
from math import isfinite
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from secondlook.audit.report import (
    certification,
    claims,
    curves,
    detection,
    diagnosis,
    frontier,
    outcomes,
    resubmission,
    words,
)
from secondlook.audit.report.glossary import glossary, names
from secondlook.audit.report.matrix import (
    KNOWLEDGE,
    blocks,
    caveats,
    everywhere,
    foreign,
    goal_of,
    opening,
    verdicts,
    withheld_alike,
)
from secondlook.audit.report.svg import HATCH, HEIGHT, WIDTH, tag
from secondlook.schema import Audit
from secondlook.tasks.view import PLAIN, Example, view_of

_GAP, _MARGIN = 30.0, 16.0
_SHEET = ".chart .chart { height: 100%; } .sheet { color: var(--ink); } .sheet .strong { font-weight: 650; }"
"""What the style of a figure adds to that of the page's charts."""
_SMALL = 96
"""Pictures up to this many pixels wide are shown with their pixels."""
_UNFOLDED = 2
"""Examples of a task that are shown before one asks for more."""
_STUDY = "study · "
"""How the provenance names the settings of the study, which are folded away."""
_SAID_ABOVE = ("about", "caveat")
"""Provenance that stands beside the verdict."""
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 32  # characters of base64 that hold a PNG's first 24 bytes


def html(audit: Audit, examples: Sequence[Example]) -> str:
    """The whole page, which asks nothing of any other file or host."""
    matrix, made = blocks(audit), _environment()
    made.filters["example"] = lambda one: _example(made, one)
    said = verdicts(audit)
    script, provenance = _text("page.js"), [pair for pair in flat(audit.provenance) if pair[0] not in _SAID_ABOVE]
    return made.get_template("page.html.jinja").render(
        audit=audit,
        css=Markup(_text("page.css")),
        script=Markup(script),
        script_hash=_hash(f"\n{script}\n"),
        hatch=HATCH,
        verdicts=said,
        everywhere=everywhere(said),
        alike=withheld_alike(said),
        opening=opening(audit),
        blocks=matrix,
        caveats=caveats(audit),
        foreign=foreign(audit),
        knowledge=KNOWLEDGE,
        goals=list(dict.fromkeys(goal_of(cell) for cell in audit.cells)),
        views=[view_of(task) for task in dict.fromkeys(cell.task for cell in audit.cells)],
        ended=outcomes.titles(audit.cells),
        risky=[group for block in matrix for group in block.groups if outcomes.risky(group)],
        panels=curves.panels(audit.cells),
        sweeps=curves.sweeps(audit.cells),
        charted=curves.charted(audit.cells),
        detectors=detection.detectors(matrix),
        diagnoses=diagnosis.diagnosed(matrix),
        resubmitted=resubmission.resubmitted(matrix),
        promises=certification.promises(matrix),
        fronts=frontier.fronts(audit),
        budgets=list(frontier.BUDGETS),
        galleries=[
            (Markup(view_of(task).gallery), list(some)) for task, some in groupby(examples, key=lambda one: one.task)
        ],
        unfolded=_UNFOLDED,
        comparisons=claims.comparisons(audit),
        claims_caption=claims.CAPTION,
        claims_key=claims.key(),
        provenance=provenance,
        studied=[name for name, _ in provenance if name.startswith(_STUDY)],
        glossary=glossary(audit),
        named=names(audit),
    )


def _example(made: Environment, one: Example) -> Markup:
    """An example as its task shows it; nothing where the task does not say how."""
    source = view_of(one.task).template
    text = source if isinstance(source, str) else source.read_text("utf-8")
    return Markup(made.from_string(text).render(example=one, view=view_of(one.task))) if text else Markup()


class Chart(NamedTuple):
    """A chart with its title and its size."""

    title: str
    drawn: Markup
    width: float
    height: float


def figure_svg(audit: Audit) -> str:
    """A figure that stands by itself: claims, or else every curve, or where there is none the outcomes of each row.

    It brings its own style, and goes with the reader's light or dark.
    """
    if compared := claims.comparisons(audit):
        pictures = [
            Chart(
                f"{each.model} · {words.budget(each.threat)}", claims.picture(each), claims.WIDTH, claims.height(each)
            )
            for each in compared
        ]
        return _sheet(pictures, claims.key())
    drawn = [
        Chart(f"{panel.name} · {column.title}", curves.chart(panel, column), curves.WIDTH, HEIGHT)
        for panel in curves.panels(audit.cells)
        for column in panel.columns
    ]
    bars = [
        Chart(group.name, outcomes.bars(group.cells, audit.cells), WIDTH, outcomes.ROW * len(group.cells))
        for block in blocks(audit)
        for group in block.groups
    ]
    return _sheet(drawn) if drawn else _sheet(bars, outcomes.key(audit.cells))


def _sheet(charts: Sequence[Chart], key: Markup | None = None) -> str:
    """Charts with their titles, two side by side, and the key to their colors above them."""
    wide = max((chart.width for chart in charts), default=0.0) + _GAP
    drawn, top = [], _MARGIN
    if key is not None:
        drawn, top = [tag("svg", key, x=_MARGIN, y=top, width=WIDTH, height=20)], top + 34
    for at in range(0, len(charts), 2):
        for number, chart in enumerate(charts[at : at + 2]):
            left = _MARGIN + number * wide
            drawn += [
                tag("text", chart.title, x=left, y=top + 14, class_="strong"),
                tag("svg", chart.drawn, x=left, y=top + 30, width=chart.width, height=chart.height),
            ]
        top += max(chart.height for chart in charts[at : at + 2]) + 30 + _GAP
    size = (2 * _MARGIN + min(len(charts), 2) * wide, top)
    return str(
        tag(
            "svg",
            tag("style", Markup(_charts_css())),
            HATCH,
            *drawn,
            class_="chart sheet",
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        )
    )


def size(picture: str) -> tuple[int, int] | None:
    """Width and height of a base64 PNG in pixels; nothing of what is none."""
    try:
        head = base64.b64decode(picture[:_HEADER], validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(head) < 24 or not head.startswith(_PNG):
        return None
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def pixelated(picture: str) -> bool:
    """Whether a base64 PNG is small enough to be shown pixel by pixel."""
    found = size(picture)
    return found is not None and max(found) <= _SMALL


def flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested provenance as pairs of a name and a text.

    Example:
        >>> list(flat({"seed": 0, "versions": {"torch": "2.6"}, "models": ["a", "b"]}))
        [('seed', '0'), ('versions · torch', '2.6'), ('models', 'a, b')]
        >>> list(flat({"attacks": [{"name": "pgd", "steps": 50, "objective": ["map", "cosine"]}, {"name": "sga"}]}))
        [('attacks', 'pgd (steps 50, objective map + cosine), sga')]
    """
    for key, value in values.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from flat(value, f"{name} · ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(_said, value)) or words.NOTHING
        else:
            yield name, str(value)


def _said(value: Any) -> str:
    """One of a list in words: of a table its name, and its settings in brackets."""
    if isinstance(value, list | tuple):
        return " + ".join(map(_said, value)) or words.NOTHING
    if not isinstance(value, dict):
        return str(value)
    settings = [f"{key} {_said(each)}".replace("_", " ") for key, each in value.items() if key != "name"]
    more = f"({', '.join(settings)})" if settings else ""
    return " ".join(filter(None, [str(value.get("name", "")), more]))


def place(share: float) -> str:
    """Where a share stands on a line from 0 to 100 %, as CSS."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%" if isfinite(share) else "0%"


def _charts_css() -> str:
    """What the style sheet says of colors and charts."""
    css, parts = (
        _text("page.css"),
        [(":root", "*, *::before"), ("/* colors", "/* verdict"), ("/* charts", "/* gallery")],
    )
    chosen = [css[css.index(start) : css.index(end)] for start, end in parts]
    return "\n".join([*chosen, _SHEET])


def _text(name: str) -> str:
    """A file that goes into the page as it is."""
    return resources.files("secondlook.audit.report").joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    """A script as a content security policy names it: no other script runs on the page."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("secondlook.audit.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=words.percent,
        ends=words.ends,
        carried=words.carried,
        share=words.share,
        measure=words.measure,
        plainly=words.plainly,
        column=PLAIN.column,
        budget=words.budget,
        times=words.times,
        duration=words.duration,
        memory=words.memory,
        place=place,
        pixelated=pixelated,
        size=size,
        chart=curves.chart,
        areas=curves.areas,
        several=curves.several,
        bars=outcomes.bars,
        votes=outcomes.votes,
        excess=outcomes.excess,
        risks=outcomes.risks,
        detecting=detection.rows,
        attacked=detection.attacked,
        largest=detection.largest,
        extremes=detection.extremes,
        difference=detection.difference,
        area=detection.area,
        suspicions=detection.suspicions,
        roc=detection.roc,
        magnitude=diagnosis.magnitude,
        claims_picture=claims.picture,
        card=claims.card_said,
        sent_again=resubmission.sent_again,
        front_chart=frontier.front_chart,
        recommendation=frontier.recommendation,
        certified_curve=certification.certified_curve,
        certified_sentence=certification.certified_sentence,
        sentence=resubmission.sentence,
        hundredths=diagnosis.hundredths,
    )
    return made
