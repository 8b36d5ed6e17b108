"""Numbers that published code gave for weights and inputs, which lie in the shared folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor


class Golden(NamedTuple):
    """A file of golden numbers; floats are fp32.

    Attributes:
        card: what its JSON says.
        weights: the state dict, under the published names.
        inputs: what the published code was asked.
        outputs: what it answered.
    """

    card: dict[str, Any]
    weights: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def read(shared: Path, name: str) -> Golden:
    held = load_file(shared / "golden" / f"{name}.safetensors")
    return Golden(card(shared, name), *(_part(held, p) for p in ("weights", "inputs", "outputs")))


def card(shared: Path, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((shared / "golden" / f"{name}.json").read_text())
    return told


def _part(held: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    found = {key.partition(".")[2]: value for key, value in held.items() if key.startswith(part)}
    return {k: v.float() if v.is_floating_point() else v for k, v in found.items()}


def save(path: Path, weights: Any, sizes: dict[str, Any]) -> Path:
    """A checkpoint as ``torch.save`` writes it, and the JSON that describes it."""
    torch.save(weights, path)
    path.with_suffix(".json").write_text(json.dumps(sizes))
    return path
