"""The family ``hf``: embedders, captioners and masked language models of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.models.base import Model
from secondlook.models.hf.bundle import Bundle
from secondlook.models.hf.kinds import loader
from secondlook.models.hub import Checkpoint, extra
from secondlook.models.preprocessing import Resolution
from secondlook.registry import register


@register("model", "hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """``hf:NAME-OR-FOLDER`` reads CLIP and its kin, captioners like BLIP or LLaVA, masked LMs.

    Embedders: CLIP, SigLIP, ALIGN, BLIP, AltCLIP, Chinese-CLIP, CLAP. Captioners: BLIP, BLIP-2,
    GIT, Florence-2, LLaVA, InternVL, Qwen-VL. Masked language models: all of transformers. The
    checkpoint's ``config.json`` says which it is.

    A name of the hub may be pinned: ``hf:OWNER/NAME@REVISION``. Needs the extra ``hf``.

    Attributes:
        name: a folder, or ``OWNER/NAME`` on the hub, perhaps with ``@`` and a branch, tag or
            commit.
        resolution: what an attack on its images perturbs. ``input``: pictures that have been
            brought to the network's own size; ``native``: pictures of any size, through the
            processor's resizing and cropping.
        pickle: read weights from a ``pytorch_model.bin`` where there is no ``model.safetensors``;
            nothing but tensors is taken out of it.
    """

    name: str
    resolution: Resolution = "input"
    pickle: bool = False

    @staticmethod
    def listed() -> dict[str, str]:
        """Nothing: none is shipped."""
        return {}

    def load(self) -> Model:
        """The embedder, captioner or masked language model.

        Raises:
            InvalidInput: the extra or a file is missing or damaged.
            UnknownName: the checkpoint is of a kind that is not read here.
        """
        extra("transformers", "hf")
        checkpoint = self._checkpoint()
        load = loader(checkpoint.first("config.json")[1], self.name)
        full = f"hf:{self.name}" + ("?resolution=native" if self.resolution == "native" else "")
        bundle = Bundle(name=full, checkpoint=checkpoint, resolution=self.resolution)
        return load(bundle)

    def _checkpoint(self) -> Checkpoint:
        name, at, revision = self.name.rpartition("@")
        if not at or Path(self.name).expanduser().is_dir():
            return Checkpoint(source=self.name, family="hf", pickle=self.pickle)
        return Checkpoint(source=name, revision=revision, family="hf", pickle=self.pickle)
