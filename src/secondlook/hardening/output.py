"""The files of a training: its checkpoint, and the weights and card of the result."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout

from secondlook import registry
from secondlook.drafts import write_atomic
from secondlook.errors import BrokenRun, InvalidInput, refusal
from secondlook.hardening.base import Method
from secondlook.models.io.state import read_state, restoring, write_state

_log = logging.getLogger(__name__)
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
        write_state(self.path, {**state, "identity": dict(self.identity)})

    def load(self) -> dict[str, Any] | None:
        """The state that was written last; None where there is none.

        Raises:
            InvalidInput: it is another training's, or damaged.
        """
        state = read_state(self.path)
        if state is None:
            return None
        with restoring(self.path):
            require_same(state.pop("identity"), self.identity, self.path)
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
        """The card of the same training, where it has been finished here and its weights are whole.

        Raises:
            InvalidInput: the folder holds another model of this name, or what is damaged.
        """
        if not self.card.exists():
            return None
        card = self._read_card()
        if not isinstance(card.get("recipe"), Mapping) or "base" not in card:
            raise InvalidInput(f"{self.card} is of another model; give another --out")
        require_same(card["recipe"], json.loads(json.dumps(identity)), self.card)
        if not self.weights.is_file():
            raise InvalidInput(f"{self.weights} is missing; remove {self.card} to train it again")
        if hashlib.sha256(self.weights.read_bytes()).hexdigest() != card.get("sha256"):
            raise InvalidInput(f"{self.weights} is not what its card says; remove {self.card} to train it again")
        return card

    def _read_card(self) -> dict[str, Any]:
        card = None
        if self.card.is_file():
            with suppress(ValueError, RecursionError):
                card = json.loads(self.card.read_bytes())
        if not isinstance(card, dict):
            raise InvalidInput(f"{self.card} is no model card; move it away, or name another --out")
        return card

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the files for the block; the system lets go of them when the process dies.

        Raises:
            BrokenRun: another process trains the same model here, or the folder cannot be written to.
        """
        lock = FileLock(self.folder / f".{self.name}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise BrokenRun(
                f"{self.checkpoint} is in use by another process; let that end, or name another --out"
            ) from None
        except NotImplementedError:
            _log.warning(
                "%s lies where nothing can be locked; see to it that no other process works there", self.folder
            )
        except OSError as error:
            raise BrokenRun(f"cannot write {self.folder}: {refusal(error)}") from None
        try:
            yield
        finally:
            lock.release()

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
