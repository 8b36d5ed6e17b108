"""A training on disk: written in one move, and continued by none but the same training."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from secondlook.errors import InvalidInput

Identity = Mapping[str, Any]
"""What makes a training this one: plain values, nested in dictionaries."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The file of a training under way.

    Attributes:
        path: where it lies.
        identity: of the training that may write and read it.
    """

    path: Path
    identity: Identity

    def save(self, state: dict[str, Any]) -> None:
        """Writes in one move, so that a kill leaves the old one or the new one."""
        held = io.BytesIO()
        torch.save({**state, "identity": dict(self.identity)}, held)
        draft = self.path.with_name(f".{self.path.name}.part")
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(held.getvalue())
        draft.replace(self.path)

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
        agree(begun, self.identity, self.path)
        return state


def agree(begun: Identity, now: Identity, path: Path) -> None:
    """Refuses to go on with another training.

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
