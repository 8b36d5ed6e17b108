"""The family ``hf``: embedders, captioners and masked language models of transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from secondlook.errors import UnknownName
from secondlook.models.base import Model, ModelFamily
from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.families.hf.captioners import Blip2Captioner, BlipCaptioner, GitCaptioner, HubCaptioner
from secondlook.models.families.hf.chat import ChatCaptioner, FlorenceCaptioner, InternVLCaptioner, QwenCaptioner
from secondlook.models.families.hf.clap import ClapEmbedder
from secondlook.models.families.hf.embedders import BlipEmbedder, ChineseEmbedder, HubEmbedder, Padding
from secondlook.models.families.hf.maskedlm import HubMaskedLM
from secondlook.models.families.hf.naflex import NaFlexEmbedder
from secondlook.models.io.hub import Checkpoint, extra
from secondlook.models.io.preprocessing import Resolution
from secondlook.registry import register


@register("model", "hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace(ModelFamily):
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

    resolution: Resolution = "input"
    pickle: bool = False

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
        if not at or self.path.is_dir():
            return Checkpoint(source=self.name, family="hf", pickle=self.pickle)
        return Checkpoint(source=name, revision=revision, family="hf", pickle=self.pickle)


class Kind(NamedTuple):
    """One row of the table: a class of transformers, its adapter, its padding of texts."""

    network: str
    adapter: type[HubEmbedder]
    padding: Padding

    def load(self, bundle: Bundle) -> HubEmbedder:
        """The embedder of a checkpoint."""
        return self.adapter(bundle, self.network, self.padding)


# SigLIP's text tower was trained on rows of 64 without a mask (arXiv 2303.15343), so that the
# padding is a part of what it reads.
_UNMASKED = Padding(to="full", length=64, mask=False)

KINDS: Final = MappingProxyType[str, Kind]({
    "clip": Kind("CLIPModel", HubEmbedder, Padding()),
    "siglip": Kind("SiglipModel", HubEmbedder, _UNMASKED),
    "siglip2": Kind("Siglip2Model", NaFlexEmbedder, _UNMASKED),
    "align": Kind("AlignModel", HubEmbedder, Padding(to="full", length=64)),
    "altclip": Kind("AltCLIPModel", HubEmbedder, Padding(offset=True)),
    "chinese_clip": Kind("ChineseCLIPModel", ChineseEmbedder, Padding()),
    "blip": Kind("BlipForImageTextRetrieval", BlipEmbedder, Padding()),
    "clap": Kind("ClapModel", ClapEmbedder, Padding(offset=True)),
})  # fmt: skip
"""By the ``model_type`` in a checkpoint's ``config.json``."""


class Writer(NamedTuple):
    """One row of the table of captioners: a class of transformers and its adapter."""

    network: str
    adapter: Callable[[Bundle, str], HubCaptioner]

    def load(self, bundle: Bundle) -> HubCaptioner:
        """The captioner of a checkpoint."""
        return self.adapter(bundle, self.network)


WRITERS: Final = MappingProxyType[str, Writer]({
    "blip": Writer("BlipForConditionalGeneration", BlipCaptioner),
    "blip-2": Writer("Blip2ForConditionalGeneration", Blip2Captioner),
    "git": Writer("GitForCausalLM", GitCaptioner),
    "florence2": Writer("Florence2ForConditionalGeneration", FlorenceCaptioner),
    "llava": Writer("LlavaForConditionalGeneration", ChatCaptioner),
    "internvl": Writer("InternVLForConditionalGeneration", InternVLCaptioner),
    "qwen2_vl": Writer("Qwen2VLForConditionalGeneration", QwenCaptioner),
    "qwen2_5_vl": Writer("Qwen2_5_VLForConditionalGeneration", QwenCaptioner),
    "qwen3_vl": Writer("Qwen3VLForConditionalGeneration", QwenCaptioner),
})  # fmt: skip
"""Captioners by the ``model_type``; where it has embedders too, the architecture decides."""


def loader(config: Mapping[str, Any], name: str) -> Callable[[Bundle], Model]:
    """What loads a checkpoint, by its ``config.json``; ``name`` is for the message.

    Raises:
        UnknownName: the checkpoint is of a kind that is not read here.
    """
    kind, named = str(config.get("model_type")), config.get("architectures") or ()
    if any(network.endswith("ForMaskedLM") for network in named):
        return HubMaskedLM
    if kind in WRITERS and (kind not in KINDS or WRITERS[kind].network in named):
        return WRITERS[kind].load
    if kind in KINDS:
        return KINDS[kind].load
    raise UnknownName(f"model_type in {name}:", kind, {*KINDS, *WRITERS})
