"""Which network of transformers each kind of checkpoint is, and how it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from secondlook.errors import UnknownName
from secondlook.models.base import Model
from secondlook.models.hf.blip import BlipEmbedder
from secondlook.models.hf.bundle import Bundle
from secondlook.models.hf.captioner import HubCaptioner
from secondlook.models.hf.chat import ChatCaptioner, FlorenceCaptioner, InternVLCaptioner
from secondlook.models.hf.chinese import ChineseEmbedder
from secondlook.models.hf.clap import ClapEmbedder
from secondlook.models.hf.continuing import Blip2Captioner, BlipCaptioner, GitCaptioner
from secondlook.models.hf.embedder import HubEmbedder
from secondlook.models.hf.maskedlm import HubMaskedLM
from secondlook.models.hf.naflex import NaFlexEmbedder
from secondlook.models.hf.qwen import QwenCaptioner
from secondlook.models.hf.tokens import Padding


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
