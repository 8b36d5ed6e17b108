"""The models of a study: loaded by name, told apart by what they call themselves."""

from __future__ import annotations

from typing import Any

import torch

from secondlook.audit.defended import described
from secondlook.defenses.base import Defence
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Model, Purifier


class Roster:
    """Loads models for one device.

    Args:
        device: where their networks go.

    Attributes:
        hashes: of the models that were asked for theirs, by name.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.hashes: dict[str, str] = {}
        self._owners: dict[str, str] = {}

    def load(self, name: str) -> Model:
        """The model ``name``.

        Raises:
            UnknownName, InvalidInput: there is no such model, or another one calls itself the same.
        """
        made: Model = load(name)
        made.to(self.device)
        owner = self._owners.setdefault(made.name, name)
        if owner != name:
            raise InvalidInput(
                f"{owner} and {name} both call themselves {made.name!r}; give each its own name"
            )
        return made

    def hash(self, model: Model) -> str:
        """The model's hash, computed once for each name."""
        if model.name not in self.hashes:
            self.hashes[model.name] = model.hash
        return self.hashes[model.name]

    def fingerprint(self, defence: Defence, without: frozenset[str] = frozenset()) -> list[Any]:
        """All that a defence's answers depend on, but for some of its settings."""
        settings = {key: value for key, value in described(defence).items() if key not in without}
        parts = [[part.name, self.hash(part)] for part in defence.parts]
        knobs = [part.knobs for part in defence.parts if isinstance(part, Purifier)]
        return [settings, parts, knobs]
