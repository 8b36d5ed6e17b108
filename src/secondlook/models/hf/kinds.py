"""Which network of transformers each kind of checkpoint is, and how it is used."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple

from secondlook.models.hf.blip import BlipEmbedder
from secondlook.models.hf.bundle import Bundle
from secondlook.models.hf.clap import ClapEmbedder
from secondlook.models.hf.embedder import HubEmbedder
from secondlook.models.hf.naflex import NaFlexEmbedder
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
    "chinese_clip": Kind("ChineseCLIPModel", HubEmbedder, Padding()),
    "blip": Kind("BlipForImageTextRetrieval", BlipEmbedder, Padding()),
    "clap": Kind("ClapModel", ClapEmbedder, Padding(offset=True)),
})  # fmt: skip
"""By the ``model_type`` in a checkpoint's ``config.json``."""
