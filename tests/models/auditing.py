"""From a model's name to the end of an audit, by the public API, on four pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from secondlook.apply import attack_folder
from secondlook.attacks.pgd import PGD
from secondlook.audit.api import run_study
from secondlook.audit.study import parse
from secondlook.data.images import read, write_png
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.runtime.engine import exactly
from secondlook.threat import Threat
from tests import tiny

COLORS = ("blue", "red")


def pictures(folder: Path) -> Path:
    """Two pictures of each of two colors."""
    found = [(name, image) for name, image in tiny.paint(12) if name in COLORS]
    for row, (name, image) in enumerate(found):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_png(folder / name / f"{row}.png", image)
    return folder


def check(name: str, tmp_path: Path, purifier: str = "python:tests.tiny:shift") -> None:
    """Loads, embeds, attacks, purifies and audits; every step has to have its effect."""
    shown = pictures(tmp_path / "pictures")
    model = load(name)
    assert isinstance(model, Embedder) and model.name == name
    vectors = model.embed_text(COLORS)
    assert vectors.shape[0] == 2 and not torch.equal(vectors[0], vectors[1])
    written = attack_folder(
        shown / "red",
        tmp_path / "attacked",
        model=model,
        attack=PGD(steps=4),
        threat=Threat(),
        target="blue",
        others=("red",),
        seed=0,
        tick=lambda done, of, what: None,
    )
    with exactly([model]):
        gains = []
        for one in written:
            files = (tmp_path / "attacked" / one.file, one.source)
            shots = [read(file, getattr(model, "size", None))[None] for file in files]
            after, before = (float(model.embed(shot) @ vectors[0]) for shot in shots)
            gains.append(after - before)
        # Random weights make rough hills: an image by itself may come down again.
        assert len(gains) == 2 and sum(gains) > 0
    audit(name, shown, tmp_path / "run", purifier)


def audit(name: str, shown: Path, out: Path, purifier: str) -> None:
    table: dict[str, Any] = {
        "name": "real",
        "batch": 3,
        "rescore": 1,
        "models": [name],
        "examples": 1,
        "task": {"data": f"folder:{shown}"},
        "attack": {"name": "pgd", "steps": 4},
        "defenses": [{"name": "undefended"}, {"name": "consensus", "purifier": purifier, "samples": 2}],
    }
    found = run_study(parse(table, "the test"), out, device="cpu")
    assert [cell.n for cell in found.cells] == [4] * 5
    clean, attacked = (cell.metrics["cosine_target"].value for cell in found.cells[:2])
    assert attacked > clean
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    climbed = [line for line in lines if line.get("steps", 0) > 1]
    assert climbed and sum(line["last_loss"] - line["first_loss"] for line in climbed) > 0
    assert all(line["zero_gradient"] == line["bad_gradient"] == 0 for line in climbed)
    assert "real" in (out / "report.html").read_text() and (out / "audit.json").is_file()
