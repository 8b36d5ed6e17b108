"""What each kind of data is to the registry: a name after the colon that opens as a source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from secondlook.data.base import Listing


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """A layout of data; ``name`` is what follows the colon of ``FAMILY:NAME``."""

    name: str

    @abstractmethod
    def load(self) -> Listing:
        """Opens the source; its images or sounds are read later, row by row.

        Raises:
            InvalidInput: what lies there is not in this layout.
        """

    @staticmethod
    def listed() -> dict[str, str]:
        """What the family can name without being told; nothing, where names are paths."""
        return {}

    @property
    def path(self) -> Path:
        """``name`` as a path, ``~`` written out."""
        return Path(self.name).expanduser()
