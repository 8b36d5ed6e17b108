"""A finished run for other programs: its records as a table, its tables as LaTeX, what it used as BibTeX."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from secondlook import registry
from secondlook.audit.finish import read_audit
from secondlook.audit.report.matrix import Block, blocks
from secondlook.audit.report.text import markdown, table_cells
from secondlook.audit.store import Records
from secondlook.drafts import write_atomic
from secondlook.errors import InvalidInput, UnknownName
from secondlook.schema import Audit, Cell

KINDS: Final = (".parquet", ".csv", ".tex", ".md", ".bib")
_ARXIV: Final = re.compile(r"arXiv[:\s]+(\d{4}\.\d{4,5})")
_TEX: Final = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def export(folder: Path, out: Path) -> None:
    """Writes a finished run as a file whose ending says what it is.

    Args:
        folder: the run directory.
        out: ``.parquet`` and ``.csv`` have a line for each sample of each row; ``.tex`` and ``.md`` the tables;
            ``.bib`` the papers of the attacks and defenses that were used.

    Raises:
        InvalidInput: the ending is another, or what writes it is not installed.
        BrokenRun: there is no finished run, or the file cannot be written.
    """
    audit, kind = read_audit(folder), out.suffix.lower()
    if kind not in KINDS:
        raise InvalidInput(f"{out} ends in {kind or 'nothing'}; write one of {', '.join(KINDS)}")
    if kind in (".parquet", ".csv"):
        content = _table(records(folder, audit), kind)
    else:
        content = {".tex": latex, ".md": markdown, ".bib": bibtex}[kind](audit).encode("utf-8", "replace")
    write_atomic(out, content)


def records(folder: Path, audit: Audit) -> Any:
    """A ``pandas.DataFrame`` with a line for each sample of each row: what the row is, and what came of the sample.

    Lists, such as the ranks of captions, are JSON.

    Raises:
        InvalidInput: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError:
        raise InvalidInput('pandas is not installed; run: pip install "secondlook[pandas]"') from None
    rows = {cell.id: _about(cell) for cell in audit.cells}
    lines = [
        {**rows[line["cell"]], **_flat(line)} for line in Records(folder / "records.jsonl") if line["cell"] in rows
    ]
    return DataFrame(lines)


def _about(cell: Cell) -> dict[str, Any]:
    """What a row is."""
    names = ("task", "model", "defense", "attack", "knowledge", "goal", "control")
    attack = cell.settings.get("attack", {})
    return {
        **{name: getattr(cell, name) for name in names},
        "norm": cell.threat.norm,
        "eps": cell.threat.eps,
        "objective": str(attack.get("objective", "")),
        "surrogates": ",".join(cell.surrogates),
        "failed": ",".join(check.check for check in cell.health if check.status == "fail"),
    }


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    plain = (str, int, float, bool, type(None))
    return {key: value if isinstance(value, plain) else json.dumps(value) for key, value in record.items()}


def _table(frame: Any, kind: str) -> bytes:
    if kind == ".csv":
        text: str = frame.to_csv(index=False)
        return text.encode("utf-8", "replace")
    try:
        content: bytes = frame.to_parquet(None, index=False, engine="pyarrow")
    except ImportError:
        raise InvalidInput('pyarrow is not installed; run: pip install "secondlook[data]"') from None
    return content


def latex(audit: Audit) -> str:
    """The main tables, each a ``tabular`` with the rules of the package booktabs."""
    return "\n".join(line for block in blocks(audit) for line in _latex_block(block))


def _latex_block(block: Block) -> Iterator[str]:
    names = ["defense", "attacker", *(column.title for column in block.columns), "n", "health"]
    yield f"% {_tex(' · '.join(part for part in (block.task, block.model, block.budget) if part))}"
    yield rf"\begin{{tabular}}{{ll{'r' * (len(block.columns) + 1)}l}}"
    yield r"\toprule"
    yield rf"{' & '.join(map(_tex, names))} \\"
    yield r"\midrule"
    for cells in table_cells(block, block.columns):
        yield rf"{' & '.join(map(_tex, cells))} \\"
    yield r"\bottomrule"
    yield "\\end{tabular}\n"


def _tex(text: str) -> str:
    """Text that LaTeX takes for nothing but text, on one line."""
    return "".join(_TEX.get(mark, mark) for mark in " ".join(text.split()))


def bibtex(audit: Audit) -> str:
    """The papers that the attacks and defenses of an audit name as their source, by their arXiv number."""
    used: dict[str, set[str]] = {}
    for cell in audit.cells:
        for kind in ("attack", "defense"):
            for name in _named(cell.settings.get(kind, {})):
                for number in _sources(kind, name):
                    used.setdefault(number, set()).add(name)
    return "\n".join(_entry(number, sorted(names)) for number, names in sorted(used.items()))


def _named(settings: Mapping[str, Any]) -> list[str]:
    """A table's name, and those of the members of a stack."""
    inner = [name for each in settings.get("stack", ()) if isinstance(each, Mapping) for name in _named(each)]
    return [str(settings.get("name", "")), *inner]


def _sources(kind: Any, name: str) -> list[str]:
    try:
        found = registry.find(kind, name)
    except (UnknownName, InvalidInput):
        return []
    texts = (inspect.getdoc(found) or "", inspect.getdoc(inspect.getmodule(found)) or "")
    return sorted({number for text in texts for number in _ARXIV.findall(text)})


def _entry(number: str, names: list[str]) -> str:
    return (
        f"@misc{{arxiv{number.replace('.', '')},\n  eprint = {{{number}}},\n  archivePrefix = {{arXiv}},\n"
        f"  url = {{https://arxiv.org/abs/{number}}},\n  note = {{{', '.join(names)} of secondlook}}\n}}\n"
    )
