"""Writes ``docs/results.md`` and its figures from the results that are kept in the repository.

``python -m experiments.results`` makes the page from ``docs/results/*.json``; the same command with
finished runs, ``python -m experiments.results runs/default``, first takes their ``audit.json`` in.
The texts are in ``head.md``, ``sections.toml`` and ``notes.md`` of the same folder.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

from secondlook.audit.finish import read_audit
from secondlook.audit.report import figure_svg, markdown
from secondlook.audit.report.detection import extremes
from secondlook.audit.report.matrix import Row, blocks, goal_of
from secondlook.audit.report.words import percent
from secondlook.schema import Audit, Cell, Detection, Flagged, Metric

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
DIGITS: Final = 6
"""Decimals of what is kept: more than are shown, so that nothing is rounded twice."""
LEAST: Final = 1e-4
"""What is no larger is kept as it is."""
LARGEST: Final = 80_000
"""Bytes of one kept result."""
RATE: Final = "0.05"
"""The false positive rate at which detectors are compared."""
SHOWN: Final = 8
"""Verdicts that stand open; further ones are folded."""
OPEN_LINES: Final = 16
"""Lines of tables that stand open; more are folded."""


_DETAILS: Final = re.compile(r"\n<details><summary>All other figures</summary>.*?</details>\n", re.DOTALL)
"""Figures that only the page of a run has."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is said of one study before its figures.

    Attributes:
        study: its name; the result is ``results/STUDY.json``.
        title: the heading.
        text: Markdown; no figure that a new run could change.
        command: what measures it; ``secondlook audit STUDY`` where empty.
        figure: the defenses that are drawn; all where empty.
    """

    study: str
    title: str
    text: str
    command: str = ""
    figure: tuple[str, ...] = ()


def sections(folder: Path) -> list[Section]:
    """The sections in their order."""
    table = tomllib.loads(_read(folder / "sections.toml"))
    return [Section(**{**each, "figure": tuple(each.get("figure", ()))}) for each in table["section"]]


def distill(audit: Audit) -> Audit:
    """A result with what tables and figures show, its numbers rounded."""
    shown, settings = _metrics(audit), _varied(audit)
    kept = audit.model_dump(by_alias=True)
    kept["cells"] = [_cell(cell, shown, settings) for cell in audit.cells]
    kept["provenance"] = {
        key: value
        for key, value in kept["provenance"].items()
        if key in ("schema", "command", "version", "versions", "seed", "config_hash", "caveat")
    }
    return Audit.model_validate(_rounded(kept))


def _metrics(audit: Audit) -> set[str]:
    """The figures of the main tables, and of the charts."""
    tables = [[*block.columns, *(column for _, _, part in block.tables for column in part)] for block in blocks(audit)]
    drawn = {metric for cell in audit.cells for metric in goal_of(cell).drawn}
    success = {"success", "target_top1"}
    return drawn | success | {column.metric for table in tables for column in table}


def _varied(audit: Audit) -> set[tuple[str, str, str]]:
    """The settings that differ among defenses, and among attacks, of one name."""
    values: dict[tuple[str, str, str], set[str]] = {}
    for cell in audit.cells:
        for part, settings in cell.settings.items():
            for key, value in settings.items():
                values.setdefault((part, settings.get("name", ""), key), set()).add(repr(value))
    return {place for place, found in values.items() if len(found) > 1 or place[2] == "name"}


def _cell(cell: Cell, shown: set[str], varied: set[tuple[str, str, str]]) -> dict[str, Any]:
    """A row without what is equal in all rows, passed checks, histograms and breakdowns."""
    kept = cell.model_dump()
    kept["metrics"] = {name: each for name, each in kept["metrics"].items() if name in shown}
    kept["denominators"] = {k: n for k, n in kept["denominators"].items() if k in shown}
    kept["settings"] = {
        part: {k: v for k, v in own.items() if (part, own.get("name", ""), k) in varied}
        for part, own in cell.settings.items()
    }
    kept["health"] = [each for each in kept["health"] if each["status"] != "pass"]
    kept |= {"controls": {}, "risk": None, "members": {}}
    kept["ledger"] |= {"peak_memory": 0, "attack_seconds": 0.0}
    if kept["vote"]:
        kept["vote"]["histogram"] = []
    if kept["detection"]:
        rates = kept["detection"]["calibrated"].items()
        clean = cell.knowledge == "clean"
        thresholds = {rate: found for rate, found in rates if clean or rate == RATE}
        kept["detection"] |= {"calibrated": thresholds, "by_attribute": _ends(cell), "optimistic": {}}
        kept["detection"] |= {"histogram": None, "roc": None, "average_precision": None}
    return kept


def _ends(cell: Cell) -> list[dict[str, Any]]:
    """The kinds of input that an attacked row rejects least, and those that it rejects most."""
    if cell.knowledge == "clean":
        return []
    return [kind.model_dump() for end in extremes(Row(cell=cell, name="")) for kind in end]


def _rounded(value: Any) -> Any:
    """Numbers with few decimals; settings and budgets as they are."""
    if isinstance(value, float):
        return round(value, DIGITS) if isfinite(value) and abs(value) > LEAST else value
    if isinstance(value, dict):
        exact = ("settings", "threat")
        return {k: each if k in exact else _rounded(each) for k, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def written(audit: Audit) -> str:
    """A kept result as JSON, a row to a line."""
    whole = audit.model_dump_json(by_alias=True, exclude_defaults=True)
    return whole.replace('},{"id":', '},\n{"id":') + "\n"


def keep(run: Path, folder: Path) -> Path:
    """Takes the result of a finished run into ``folder``."""
    audit = distill(read_audit(run))
    place = folder / f"{audit.study}.json"
    place.write_text(written(audit), encoding="utf-8")
    return place


def page(folder: Path) -> tuple[str, dict[str, str]]:
    """``results.md``, and the figures by the name of their file."""
    parts, figures, missing = [_read(folder / "head.md")], {}, []
    for section in sections(folder):
        file = folder / f"{section.study}.json"
        if not file.exists():
            missing.append(f"- {section.title}: `{_command(section)}`")
            continue
        audit = Audit.model_validate_json(_read(file))
        figures[f"{section.study}.svg"] = figure_svg(_drawn(audit, section)) + "\n"
        parts.append("\n".join(_section(section, audit)) + "\n")
    if missing:
        parts.append("\n".join(["## Not measured by this version yet", "", *missing]) + "\n")
    parts.append(_read(folder / "notes.md"))
    return "\n".join(parts), figures


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _command(section: Section) -> str:
    return section.command or f"secondlook audit {section.study}"


def _drawn(audit: Audit, section: Section) -> Audit:
    """The part of a result that is drawn."""
    rows = [cell for cell in audit.cells if not section.figure or cell.defense in section.figure]
    kept = {cell.id for cell in rows}
    claims = [each for each in audit.claims if each.row in kept]
    return audit.model_copy(update={"cells": rows, "claims": claims})


def _section(section: Section, audit: Audit) -> Iterator[str]:
    """Title and text, the figure, the verdicts, and the tables, long ones folded."""
    counts = sorted({cell.n for cell in audit.cells})
    n = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1]))))
    yield from (f"## {section.title}", "", section.text.strip(), "")
    yield f"`{_command(section)}`: n = {n}, seed {audit.provenance.get('seed', 0)}."
    yield from ("", f"![{section.title}](results/{section.study}.svg)", "")
    verdicts, tables = split(markdown(audit))
    yield from verdicts[:SHOWN]
    if verdicts[SHOWN:]:
        yield from _folded(f"{len(verdicts) - SHOWN} further verdicts", verdicts[SHOWN:])
    if verdicts:
        yield ""
    yield from _folded("All rows", tables) if len(tables) > OPEN_LINES else tables
    if all(cell.knowledge == "clean" for cell in audit.cells):
        yield from _alarms(audit)
    if detectors := list(_detectors(audit)):
        yield from _folded("Detection: clean images against attacked ones", detectors)
    if kinds := list(kinds_missed(audit)):
        yield from _folded("What is missed, by kind of input", kinds)


def _detectors(audit: Audit) -> Iterator[str]:
    """How well each detector tells attacked images from clean ones."""
    rows = [
        (group.name, row, row.cell.detection) for block in blocks(audit) for group in block.groups for row in group.rows
    ]
    told = [(name, row, found) for name, row, found in rows if found and found.auroc]
    if told:
        names = ("detector", "attacker", "accuracy, %", "caught, %", "AUROC", "first's less its")
        yield f"| {' | '.join(names)} | health |"
        yield "|---|---|---:|---:|---:|---:|---|"
        yield from (_detector(*each) for each in told)


def kinds_missed(audit: Audit) -> Iterator[str]:
    """Of each attacked row with a detector the kinds of input that it misses most and least."""
    rows = [(group.name, row) for block in blocks(audit) for group in block.groups for row in group.rows]
    told = [(name, row, *extremes(row)) for name, row in rows if row.cell.detection and row.cell.knowledge != "clean"]
    if any(most for *_, most in told):
        yield "| detector | attacker | missed most | missed least |"
        yield "|---|---|---|---|"
    for name, row, least, most in told:
        if most:
            yield f"| {name} | {row.name} | {_missed(least)} | {_missed(most)} |"


def _missed(kinds: Sequence[Flagged]) -> str:
    return ", ".join(f"{k.attribute} {k.value} {percent(1 - k.flagged.value, k.n)} of {k.n}" for k in kinds)


def _alarms(audit: Audit) -> Iterator[str]:
    """Shares of clean images above the threshold of each promised rate."""
    rows = [
        (group.name, row.cell.detection.calibrated)
        for block in blocks(audit)
        for group in block.groups
        for row in group.rows
        if row.cell.detection
    ]
    rates = sorted({rate for _, found in rows for rate in found}, key=float)
    if not rates:
        return
    yield ""
    yield f"| rejected, %, where | {' | '.join(f'{float(r):.0%} is promised' for r in rates)} |"
    yield "|---|" + "---:|" * len(rates)
    for name, found in rows:
        fprs = [found[rate].fpr if rate in found else None for rate in rates]
        yield f"| {name} | {' | '.join(_interval(fpr, 100, 1) for fpr in fprs)} |"


def _detector(name: str, row: Row, found: Detection) -> str:
    caught = found.calibrated.get(RATE)
    cells = [
        _interval(found.sorting.accuracy if found.sorting else None, 100, 0),
        _interval(caught.tpr if caught else None, 100, 0),
        _interval(found.auroc, 1, 3),
        _interval(found.auroc_difference, 1, 3),
        row.status.upper(),
    ]
    return f"| {name} | {row.name} | {' | '.join(cells)} |"


def _interval(metric: Metric | None, factor: float, digits: int) -> str:
    if metric is None:
        return "–"
    value, low, high = (factor * each for each in (metric.value, metric.low, metric.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def split(text: str) -> tuple[list[str], list[str]]:
    """The verdicts of a report in Markdown, and its main tables, without heading and caveats."""
    lines = _DETAILS.sub("", text).splitlines()
    verdicts = [line for line in lines if line.startswith("- ")]
    start = next((at for at, line in enumerate(lines) if line.startswith(("**", "<details>"))), len(lines))
    return verdicts, lines[start:]


def _folded(summary: str, lines: Sequence[str]) -> Iterator[str]:
    yield from ("", f"<details><summary>{summary}</summary>", "", *lines, "", "</details>")


def main() -> None:
    """Takes finished runs in, and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="output folders of finished audits")
    options = parser.parse_args()
    for run in options.runs:
        place = keep(run, DOCS / "results")
        size = place.stat().st_size
        print(f"{place}: {size} bytes{'' if size <= LARGEST else f', more than {LARGEST}'}")
    text, figures = page(DOCS / "results")
    (DOCS / "results.md").write_text(text, encoding="utf-8")
    for name, drawn in figures.items():
        (DOCS / "results" / name).write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
