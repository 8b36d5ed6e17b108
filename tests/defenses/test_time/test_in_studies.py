"""Every test-time defense is a table of a study, and a name of the package."""

from __future__ import annotations

from pathlib import Path

import secondlook as sl
from secondlook import registry
from secondlook.audit.api import run_study
from secondlook.defenses.base import Defense
from tests.tiny import study, write_folder

DEFENSES: dict[str, dict[str, object]] = {
    "anti-adversary": {"step": 1 / 255},
    "atac": {"crops": 0},
    "clipure-cos": {"templates": "{} red"},
    "clipure-diff": {"steps": 1, "clean_samples": 2},
    "csr": {"steps": 1},
    "dbd": {"crops": 1, "noises": 1, "kept": 4},
    "et3": {},
    "feature-smoothing": {"sigma": 0.01, "samples": 3},
    "fpt-noise": {"crops": 0},
    "hedge": {"steps": 1},
    "scc": {"warm": 0, "steps": 1, "crops": 1},
    "ttc": {},
    "tte": {"crops": 0},
    "ttp": {"widths": 1},
}
TUNED = ("atpt", "rtpt", "tapt", "tpt")
"""Need a text tower that can be tuned."""


def test_all_of_them_are_registered_and_exported() -> None:
    for name in (*DEFENSES, *TUNED):
        made = registry.build("defense", name, {})
        assert isinstance(made, Defense) and getattr(sl, type(made).__name__) is type(made)


def test_a_study_attacks_them_in_every_knowledge(tmp_path: Path) -> None:
    tables = [{"name": "undefended"}, *({"name": name, **table} for name, table in DEFENSES.items())]
    audit = run_study(
        study(
            write_folder(tmp_path / "images", 6),
            attack={"name": "synthesis", "steps": 2},
            adaptive={},
            defenses=tables,
            examples=1,
            knowledge=["clean", "oblivious", "adaptive"],
            task={"name": "classification", "data": f"folder:{tmp_path / 'images'}", "samples": 0},
        ),
        tmp_path / "run",
    )
    found = {(cell.defense, cell.knowledge) for cell in audit.cells}
    for table in tables[1:]:
        assert {(table["name"], "clean"), (table["name"], "oblivious"), (table["name"], "adaptive")} <= found
