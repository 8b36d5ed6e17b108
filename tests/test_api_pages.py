"""The pages that show the front door: what they say can be typed, in their order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "howto" / "attack-your-model.md")


def yours() -> dict[str, Any]:
    """What a reader holds: a network of ten classes, and a batch that it knows."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
    x = torch.randint(0, 256, (40, 3, 8, 8)) / 255
    return {"net": net, "x": x, "y": net(x).argmax(1)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    namespace = yours()
    for code in blocks:
        exec(compile(code, page.name, "exec"), namespace)
    said = capsys.readouterr().out
    assert "Adversarials(40 samples" in said and "jpeg" in said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_autoattack_in_three_lines_comes_first(page: Path) -> None:
    first = re.search(r"```\w+\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert first is not None
    lines = [line for line in first[1].splitlines() if line.strip()]
    assert len(lines) == 3 and "sl.attack(" in lines[1] and '"autoattack"' in lines[1]


def test_what_other_libraries_need_can_be_read_as_python() -> None:
    others = re.findall(r"```py\n(.*?)```", PAGES[1].read_text(encoding="utf-8"), re.DOTALL)
    assert len(others) == 3
    for code in others:
        compile(code, PAGES[1].name, "exec")


def test_the_illusion_of_the_front_page_vanishes(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    code = "import secondlook as sl\n" + next(block for block in blocks if "illusion" in block)
    exec(compile(code, "README.md", "exec"), {})
    bare, behind = capsys.readouterr().out.splitlines()[-2:]
    assert bare.count("CORRECT") == 0 and behind.count("CORRECT") >= 5
