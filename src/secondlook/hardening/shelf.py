"""Where a hardened model is put: its weights, its card, and what else may lie there."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from secondlook import registry
from secondlook.errors import InvalidInput
from secondlook.hardening.base import Method
from secondlook.hardening.checkpoint import Identity, agree


class Place(NamedTuple):
    """The files of one hardened model.

    Attributes:
        folder: where they lie.
        name: what they are all called.
    """

    folder: Path
    name: str

    @property
    def checkpoint(self) -> Path:
        """The training under way."""
        return self.folder / f"{self.name}.checkpoint"

    @property
    def weights(self) -> Path:
        """The tensors."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        """What they are."""
        return self.folder / f"{self.name}.json"

    def finished(self, identity: Identity) -> dict[str, Any] | None:
        """The card of the same training, where it has been finished here.

        Raises:
            InvalidInput: another model lies here under this name.
        """
        if not self.card.exists():
            return None
        card: dict[str, Any] = json.loads(self.card.read_text(encoding="utf-8"))
        if "recipe" not in card or "base" not in card:
            raise InvalidInput(f"{self.card} is of another model; give another --out")
        agree(card["recipe"], json.loads(json.dumps(identity)), self.card)
        return card

    def put(self, weights: bytes, facts: dict[str, Any]) -> dict[str, Any]:
        """Writes weights and card, and removes the checkpoint; the card."""
        card = {**facts, "torch": torch.__version__, "sha256": hashlib.sha256(weights).hexdigest()}
        self.weights.write_bytes(weights)
        self.card.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        self.checkpoint.unlink(missing_ok=True)
        return card


def place(folder: Path, model: str, method: Method) -> Place:
    """``clip-tecoa`` for ``scenes:clip``: the last part of a model's name, and the method's."""
    last = re.split(r"[:/]", model.partition("?")[0].rstrip("/"))[-1]
    told: str = registry.describe(method)["name"]
    return Place(folder, f"{last}-{told.replace('+', 'plus')}")
