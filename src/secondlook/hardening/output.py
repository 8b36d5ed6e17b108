"""The files of a training: its checkpoint, and the weights and card of the result."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from secondlook import registry
from secondlook.drafts import write_atomic
from secondlook.errors import InvalidInput
from secondlook.hardening.base import Method

Identity = Mapping[str, Any]
"""What makes a training this one: plain values, nested in dictionaries."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The file of a training under way.

    Attributes:
        path: of the file.
        identity: of the training that may write and read it.
    """

    path: Path
    identity: Identity

    def save(self, state: dict[str, Any]) -> None:
        """Writes in one move, so that a kill leaves the old one or the new one."""
        held = io.BytesIO()
        torch.save({**state, "identity": dict(self.identity)}, held)
        write_atomic(self.path, held.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The state that was written last; None where there is none.

        Raises:
            InvalidInput: it is another training's, or damaged.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
            begun = state.pop("identity")
        except Exception as error:
            raise InvalidInput(
                f"{self.path} is no checkpoint that can be read ({error}); remove it to begin again"
            ) from None
        require_same(begun, self.identity, self.path)
        return state


def require_same(begun: Identity, now: Identity, path: Path) -> None:
    """Refuses to continue another training.

    Raises:
        InvalidInput: a setting differs; the message names the first that does.
    """
    old, new = dict(_flat(begun)), dict(_flat(now))
    for key in dict.fromkeys((*new, *old)):
        if old.get(key) != new.get(key):
            raise InvalidInput(
                f"{path} is of a training with {key}={old.get(key)!r}, not {new.get(key)!r}; give "
                "the same settings to continue it, or another --out, or remove it"
            )


def _flat(tree: Identity, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


class OutputPaths(NamedTuple):
    """The files of one hardened model.

    Attributes:
        folder: that holds them.
        name: their common stem.
    """

    folder: Path
    name: str

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.folder / f"{self.name}.checkpoint"

    @property
    def weights(self) -> Path:
        """The tensors that differ from the base."""
        return self.folder / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / f"{self.name}.json"

    def finished(self, identity: Identity) -> dict[str, Any] | None:
        """The card of the same training, where it has been finished here.

        Raises:
            InvalidInput: the folder holds another model of this name.
        """
        if not self.card.exists():
            return None
        card: dict[str, Any] = json.loads(self.card.read_text(encoding="utf-8"))
        if "recipe" not in card or "base" not in card:
            raise InvalidInput(f"{self.card} is of another model; give another --out")
        require_same(card["recipe"], json.loads(json.dumps(identity)), self.card)
        return card

    def write(self, weights: bytes, facts: dict[str, Any]) -> dict[str, Any]:
        """Writes weights and card, removes the checkpoint, and returns the card."""
        card = {**facts, "torch": torch.__version__, "sha256": hashlib.sha256(weights).hexdigest()}
        write_atomic(self.weights, weights)
        write_atomic(self.card, f"{json.dumps(card, indent=2)}\n".encode())
        self.checkpoint.unlink(missing_ok=True)
        return card


def output_paths(folder: Path, model: str, method: Method) -> OutputPaths:
    """``clip-tecoa`` for ``scenes:clip``: the last part of a model's name, and the method's."""
    last = re.split(r"[:/]", model.partition("?")[0].rstrip("/"))[-1]
    method_name: str = registry.describe(method)["name"]
    return OutputPaths(folder, f"{last}-{method_name.replace('+', 'plus')}")
