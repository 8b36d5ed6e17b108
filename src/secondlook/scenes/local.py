"""The family ``local``: models that ``secondlook train`` has written on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Model
from secondlook.registry import register
from secondlook.scenes.adapter import opened


@register("model", "local")
@dataclass(frozen=True, kw_only=True)
class Local:
    """``local:FOLDER/NAME`` reads what ``secondlook train NAME --out FOLDER`` wrote.

    Attributes:
        name: the path of card and weights without their ends.
    """

    name: str

    @staticmethod
    def listed() -> dict[str, str]:
        """Nothing: only the user knows."""
        return {}

    def load(self) -> Model:
        """The model, in fp32 and eval mode, its parameters frozen.

        Raises:
            UnknownName: the folder has no card of this name; the nearest names are offered.
            InvalidInput: there is no such folder, or weights are missing, damaged or of another
                version.
        """
        path, full = Path(self.name).expanduser(), f"local:{self.name}"
        if not path.parent.is_dir():
            raise InvalidInput(f"{full}: no folder {path.parent}; name where --out put the model")
        known = [f"local:{card.with_suffix('')}" for card in path.parent.glob("*.json")]
        if not path.with_name(f"{path.name}.json").is_file():
            raise UnknownName("model", full, known)
        return opened(path.parent, path.name, full)
