"""A whole audit on another device gives what it gives on the CPU, and leaves nothing behind."""

from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook.audit.finish import finish
from secondlook.audit.plan import plan
from secondlook.audit.run import Shard, execute
from secondlook.audit.store import Log
from secondlook.audit.study import parse
from secondlook.schema import Audit
from tests.elsewhere import DEVICE, Elsewhere, Far

TABLES: dict[str, dict[str, Any]] = {
    "illusions": {
        "models": ["scenes:clip"],
        "surrogates": ["scenes:clip-vit"],
        "knowledge": ["clean", "oblivious", "transfer", "adaptive"],
        "attack": {"name": "illusion", "steps": 1},
        "defenses": [
            {"name": "undefended"},
            {"name": "jpeg"},
            {"name": "consensus", "purifier": "scenes:vae", "samples": 3},
        ],
    },
    "towards an image": {"models": ["scenes:clip"], "attack": {"name": "pgd", "steps": 1}, "task": {"target": "image"}},
    "a second opinion": {
        "task": {"name": "classification"},
        "models": ["scenes:classifier"],
        "attacks": [{"name": "apgd", "steps": 1}, {"name": "apgd", "steps": 1, "targets": 2}],
        "defenses": [
            {"name": "multishield", "auxiliary": "scenes:clip", "false_rejection": 0.3, "calibrate_samples": 4}
        ],
    },
    "the four attacks": {
        "task": {"name": "classification"},
        "models": ["scenes:classifier"],
        "attack": {"name": "autoattack", "steps": 1, "queries": 2},
        "knowledge": ["adaptive"],
    },
    "captions": {
        "task": {"name": "captioning", "readers": "scenes:clip", "samples": 2},
        "models": ["scenes:captioner"],
        "attack": {"name": "pgd", "steps": 1, "objective": "targeted"},
        "defenses": [
            {"name": "undefended"},
            {
                "name": "consistency",
                "encoders": "scenes:clip",
                "augmentations": "jpeg:75",
                "false_rejection": 0.3,
                "calibrate_samples": 4,
            },
        ],
    },
    "maps": {
        "task": {"name": "grounding", "seed": 1},
        "models": ["scenes:clip-vit"],
        "attacks": [{"name": "pgd", "steps": 1, "objective": ["map", "cosine"]}],
    },
    "a search": {
        "task": {"name": "retrieval", "attacked": ["both"]},
        "models": ["scenes:clip"],
        "attack": {"name": "sga", "steps": 1},
        "defenses": [{"name": "jpeg"}],
    },
    "a model that stays": {"models": ["python:tests.tiny:speller"], "attack": {"name": "pgd", "steps": 1}},
}


def audited(name: str, device: torch.device, out: Path) -> Audit:
    table = {"name": "far", "batch": 2, "examples": 1, **TABLES[name]}
    table["task"] = {"samples": 3, **table.get("task", {})}
    made = plan(parse(table, "the test"), device)
    return finish(made, execute(made, out, Shard(), lambda done, of, what: None))


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_an_audit_on_a_device_is_that_on_the_cpu(name: str, tmp_path: Path) -> None:
    near = audited(name, torch.device("cpu"), tmp_path / "near")
    with Elsewhere():
        far = audited(name, DEVICE, tmp_path / "far")
    assert [cell.id for cell in near.cells] == [cell.id for cell in far.cells]
    lines = zip(*(Log(tmp_path / where / "records.jsonl") for where in ("near", "far")), strict=True)
    for ours, theirs in lines:
        # Memory may lie in another order there, which is felt in the last digits.
        assert theirs.keys() == ours.keys()
        for name, value in ours.items():
            numbers = value if isinstance(value, list) else [value]
            floats = all(type(each) is float for each in numbers)
            close = pytest.approx(value, rel=1e-4, abs=1e-5) if floats else value
            if name == "peak":  # of a plateau the first place, but for those digits
                close = pytest.approx(value, abs=0.05)
            assert theirs[name] == close, name


def test_what_is_left_behind_is_found() -> None:
    with Elsewhere():
        far = torch.ones(3, device=DEVICE)
        assert isinstance(far, Far) and isinstance(torch.ones(3).to(far), Far)
        assert (far + 1).tolist() == [2, 2, 2] and not isinstance(far.cpu(), Far)
        with pytest.raises(RuntimeError, match="left on the CPU"):
            far + torch.ones(3)
