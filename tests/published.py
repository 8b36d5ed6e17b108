"""Golden values: what published code gave for weights and inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).with_name("golden")
"""Those that are part of the repository; larger ones lie in ``golden`` of the shared folder."""


class Golden(NamedTuple):
    """A file of golden values; floats are fp32.

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


def read(name: str, folder: Path = HERE) -> Golden:
    held = load_file(folder / f"{name}.safetensors")
    return Golden(card(name, folder), *(_part(held, p) for p in ("weights", "inputs", "outputs")))


def card(name: str, folder: Path = HERE) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return stored


def _part(held: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    found = {key.partition(".")[2]: value for key, value in held.items() if key.startswith(part)}
    return {k: v.float() if v.is_floating_point() else v for k, v in found.items()}


def save(path: Path, weights: Any, sizes: dict[str, Any]) -> Path:
    """A checkpoint as ``torch.save`` writes it, and the JSON that describes it."""
    torch.save(weights, path)
    path.with_suffix(".json").write_text(json.dumps(sizes))
    return path
