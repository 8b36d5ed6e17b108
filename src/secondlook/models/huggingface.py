"""The family ``hf``: encoders in the format of transformers, as embedders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.errors import UnknownName
from secondlook.models.base import Embedder
from secondlook.models.hf.bundle import Bundle
from secondlook.models.hf.kinds import KINDS
from secondlook.models.hub import Checkpoint, extra
from secondlook.models.preprocessing import Resolution
from secondlook.registry import register


@register("model", "hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """``hf:NAME-OR-FOLDER`` reads CLIP, SigLIP, ALIGN, BLIP, AltCLIP, Chinese-CLIP or CLAP.

    A name of the hub may be pinned: ``hf:OWNER/NAME@REVISION``. Needs the extra ``hf``.

    Attributes:
        name: a folder, or ``OWNER/NAME`` on the hub, perhaps with ``@`` and a branch, tag or
            commit.
        resolution: what an attack on its images perturbs. ``input``: pictures that have been
            brought to the network's own size; ``native``: pictures of any size, through the
            processor's resizing and cropping.
    """

    name: str
    resolution: Resolution = "input"

    @staticmethod
    def listed() -> dict[str, str]:
        """Nothing: none is shipped."""
        return {}

    def load(self) -> Embedder:
        """The embedder.

        Raises:
            InvalidInput: the extra or a file is missing or damaged.
            UnknownName: the checkpoint is of a kind that is no embedder here.
        """
        extra("transformers", "hf")
        checkpoint = self._checkpoint()
        kind = str(checkpoint.first("config.json")[1].get("model_type"))
        if kind not in KINDS:
            raise UnknownName(f"model_type in {self.name}:", kind, KINDS)
        full = f"hf:{self.name}" + ("?resolution=native" if self.resolution == "native" else "")
        bundle = Bundle(name=full, checkpoint=checkpoint, resolution=self.resolution)
        return KINDS[kind].load(bundle)

    def _checkpoint(self) -> Checkpoint:
        name, at, revision = self.name.rpartition("@")
        if not at or Path(self.name).expanduser().is_dir():
            return Checkpoint(source=self.name, family="hf")
        return Checkpoint(source=name, revision=revision, family="hf")
