"""The report as one offline page: a template, a style sheet, and what they are given."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Sequence
from importlib import resources
from math import isfinite
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from secondlook.audit.exhibit import (
    CaptionExhibit,
    Exhibit,
    MapExhibit,
    SearchExhibit,
    Shown,
)
from secondlook.audit.report import (
    curves,
    detection,
    outcomes,
    recalls,
    risk,
    security,
    suspicions,
    votes,
    words,
)
from secondlook.audit.report.names import KNOWLEDGE
from secondlook.audit.report.sweeps import panels
from secondlook.audit.report.tables import blocks
from secondlook.audit.report.verdict import EMBEDDED, embedded, verdicts
from secondlook.audit.schema import Audit

_SMALL = 96
"""Pictures up to this many pixels wide are shown with their pixels."""
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = 32  # characters of base64 that hold a PNG's first 24 bytes


def html(audit: Audit, shown: Sequence[Shown]) -> str:
    """The whole page, which asks nothing of any other file or host."""
    matrix = blocks(audit)
    return _environment().get_template("page.html.jinja").render(
        audit=audit, exhibits=[each for each in shown if isinstance(each, Exhibit)],
        searches=[each for each in shown if isinstance(each, SearchExhibit)],
        tellings=[each for each in shown if isinstance(each, CaptionExhibit)],
        pointings=[each for each in shown if isinstance(each, MapExhibit)],
        css=_css(), verdicts=verdicts(audit), blocks=matrix,
        risky=[group for block in matrix for group in block.groups if risk.worth(group)],
        panels=panels(audit.cells), security=security.curves(audit.cells),
        recalls=recalls.recalls(audit.cells), watches=detection.watches(matrix),
        knowledge=KNOWLEDGE, goals={cell.goal for cell in audit.cells},
        embedded=EMBEDDED if embedded(audit) else "", provenance=list(flat(audit.provenance)),
    )  # fmt: skip


def pixelated(picture: str) -> bool:
    """Whether a base64 PNG is small enough to be shown pixel by pixel."""
    try:
        head = base64.b64decode(picture[:_HEADER], validate=True)
    except (binascii.Error, ValueError):
        return False
    if len(head) < 24 or not head.startswith(_PNG):
        return False
    width, height = struct.unpack(">II", head[16:24])
    return bool(max(width, height) <= _SMALL)


def flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested provenance as pairs of a name and a text.

    Example:
        >>> list(flat({"seed": 0, "versions": {"torch": "2.6"}, "models": ["a", "b"]}))
        [('seed', '0'), ('versions · torch', '2.6'), ('models', 'a, b')]
    """
    for key, value in values.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from flat(value, f"{name} · ")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value)) or words.NOTHING
        else:
            yield name, str(value)


def place(share: float) -> str:
    """Where a share stands on a line from 0 to 100 %, as CSS."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%" if isfinite(share) else "0%"


def _css() -> Markup:
    text = resources.files("secondlook.audit.report").joinpath("page.css").read_text("utf-8")
    return Markup(text)


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("secondlook.audit.report", ""), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(
        percent=words.percent, ends=words.ends, carried=words.carried, share=words.share,
        measure=words.measure, plainly=words.plainly, is_share=words.is_share,
        metric_title=words.title, budget=words.budget, times=words.times,
        duration=words.duration, memory=words.memory, place=place, pixelated=pixelated,
        chart=curves.chart, bars=outcomes.bars, vote_picture=votes.picture, excess=votes.excess,
        areas=security.picture, risks=risk.picture,
        recall=recalls.picture, detecting=detection.rows, attacked=detection.attacked,
        largest=detection.largest, extremes=detection.extremes, lead=detection.lead,
        area=detection.area, suspicions=suspicions.spread, roc=suspicions.curve,
    )  # fmt: skip
    return made
