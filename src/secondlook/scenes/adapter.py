"""The family ``scenes``: the models that are shipped with the package, read and verified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import torch
from safetensors.torch import load as read_weights
from torch import nn

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Model
from secondlook.registry import register
from secondlook.scenes import difference
from secondlook.scenes.captioner import SceneCaptioner
from secondlook.scenes.classifier import SceneClassifier
from secondlook.scenes.embedder import SceneEmbedder
from secondlook.scenes.masked_lm import SceneMaskedLM
from secondlook.scenes.networks.autoencoder import AutoencoderNetwork
from secondlook.scenes.networks.captioner import CaptionerNetwork
from secondlook.scenes.networks.classifier import ClassifierNetwork
from secondlook.scenes.networks.clip import ClipNetwork
from secondlook.scenes.networks.denoiser import DenoiserNetwork
from secondlook.scenes.networks.masked_lm import CaptionMlmNetwork, MaskedLmNetwork
from secondlook.scenes.networks.painter import PainterNetwork
from secondlook.scenes.networks.photos import PhotoNetwork
from secondlook.scenes.overhead import models as overhead
from secondlook.scenes.overhead.networks import (
    OverheadClassifierNetwork,
    OverheadClipNetwork,
    OverheadPainterNetwork,
)
from secondlook.scenes.painter import GrammarPainter, ScenePainter
from secondlook.scenes.photo_embedder import PhotoEmbedder
from secondlook.scenes.purifiers import SceneAutoencoder, SceneDiffusion


class Kind(NamedTuple):
    """A network of the embedded world and what makes a model of it."""

    network: Callable[..., nn.Module]
    model: Callable[[str, Any], Model]


KINDS: Final = MappingProxyType[str, Kind]({
    "ClipNetwork": Kind(ClipNetwork, SceneEmbedder),
    "ClassifierNetwork": Kind(ClassifierNetwork, SceneClassifier),
    "AutoencoderNetwork": Kind(AutoencoderNetwork, SceneAutoencoder),
    "PhotoNetwork": Kind(PhotoNetwork, PhotoEmbedder),
    "DenoiserNetwork": Kind(DenoiserNetwork, SceneDiffusion),
    "CaptionerNetwork": Kind(CaptionerNetwork, SceneCaptioner),
    "MaskedLmNetwork": Kind(MaskedLmNetwork, SceneMaskedLM),
    "CaptionMlmNetwork": Kind(CaptionMlmNetwork, SceneMaskedLM),
    "PainterNetwork": Kind(PainterNetwork, ScenePainter),
    "OverheadClipNetwork": Kind(OverheadClipNetwork, overhead.OverheadEmbedder),
    "OverheadClassifierNetwork": Kind(OverheadClassifierNetwork, overhead.OverheadClassifier),
    "OverheadPainterNetwork": Kind(OverheadPainterNetwork, overhead.OverheadPainter),
})  # fmt: skip
"""By the name that a card gives to its network."""

UNLEARNT: Final = MappingProxyType[str, tuple[Callable[[str], Model], str]]({
    "painter-grammar": (
        GrammarPainter, "painter, 0.0 M parameters; parses the text and renders the scene"
    ),
})  # fmt: skip
"""Models without weights: what makes them, and their line."""


@register("model", "scenes")
@dataclass(frozen=True, kw_only=True)
class Scenes:
    """The small models of the embedded world, shipped with the package.

    Attributes:
        name: ``clip``, ``vae``, …
        weights: a folder of other weights, as ``secondlook train`` writes them.
    """

    name: str
    weights: Path | None = None

    @staticmethod
    def listed(weights: Path | None = None) -> dict[str, str]:
        """What there is, with its role, size and clean figures."""
        shelf = _shelf(weights)
        names = sorted(f.name[:-5] for f in shelf.iterdir() if f.name.endswith(".json"))
        lines = {name: _line(_card(shelf, name)) for name in names}
        return lines if weights else lines | {name: line for name, (_, line) in UNLEARNT.items()}

    def load(self) -> Model:
        """The model, in fp32 and eval mode, its parameters frozen.

        Raises:
            UnknownName: there is none of this name; the nearest names are offered.
            InvalidInput: its weights are missing, damaged or of another version.
        """
        known = [f"scenes:{name}" for name in self.listed(self.weights)]
        full = f"scenes:{self.name}"
        if full not in known:
            raise UnknownName("model", full, known)
        if self.weights is None and self.name in UNLEARNT:
            return UNLEARNT[self.name][0](full)
        return opened(_shelf(self.weights), self.name, full)


def opened(shelf: Traversable, name: str, full: str) -> Model:
    """The model whose card and weights lie as ``NAME`` in a folder; ``full`` is what it is called.

    Raises:
        InvalidInput: its weights are missing, damaged or of another version.
    """
    card = _card(shelf, name)
    if "base" in card:
        return difference.grown(_verified(shelf, name, card), card, full)
    architecture = dict(card["architecture"])
    kind = KINDS.get(architecture.pop("network"))
    if kind is None:
        raise InvalidInput(f"{full} was written by another version; train it again")
    network = kind.network(**architecture)
    _fill(network, _verified(shelf, name, card), full)
    return kind.model(full, network)


def _shelf(weights: Path | None) -> Traversable:
    return weights or files("secondlook.scenes").joinpath("weights")


def _card(shelf: Traversable, name: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads(shelf.joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return card


def _line(card: dict[str, Any]) -> str:
    measured = ", ".join(f"{key} {value:g}" for key, value in card["measured"].items())
    return f"{card['role']}, {card['parameters'] / 1e6:.1f} M parameters; {measured}"


def _verified(shelf: Traversable, name: str, card: dict[str, Any]) -> bytes:
    """The bytes of the weights that the card vouches for."""
    file = shelf.joinpath(f"{name}.safetensors")
    if not file.is_file():
        raise InvalidInput(f"{file} is missing; run: {card['command']}")
    held = file.read_bytes()
    found = hashlib.sha256(held).hexdigest()
    if found != card["sha256"]:
        raise InvalidInput(
            f"{file} has SHA-256 {found}, its card says {card['sha256']}; install the package "
            f"again, or run: {card['command']}"
        )
    return held


def _fill(network: nn.Module, held: bytes, full: str) -> None:
    """Copies half-precision weights into the fp32 network and makes it ready to be asked."""
    try:
        network.load_state_dict(read_weights(held))
    except RuntimeError as error:
        raise InvalidInput(f"{full} does not fit its network; train it again: {error}") from error
    # Channels last is the faster layout for small convolutions on a CPU, forwards and backwards.
    network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
