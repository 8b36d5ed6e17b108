"""The records of an audit of captions or maps, by what is optimized."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secondlook.audit.store import Log
from secondlook.schema import Cell

Record = dict[str, Any]


def name(cell: Cell) -> str:
    attack = cell.settings["attack"]
    return attack.get("objective", cell.attack) if cell.knowledge != "clean" else "clean"


def rows(folder: Path, defense: str = "undefended") -> dict[tuple[str, str], Record]:
    """Records of a defense by what is climbed, ``clean`` or the attack, and image."""
    audit = json.loads((folder / "audit.json").read_text())
    cells = [Cell.model_validate(each) for each in audit["cells"]]
    called = {cell.id: name(cell) for cell in cells if cell.defense.startswith(defense)}
    log = Log(folder / "records.jsonl")
    return {(called[r["cell"]], r["sample"]): r for r in log if r["cell"] in called}
