"""The models of a study: loaded by name, told apart by what they call themselves."""

from __future__ import annotations

import torch

from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Model


class Roster:
    """Loads models for one device.

    Args:
        device: where their networks go.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
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
