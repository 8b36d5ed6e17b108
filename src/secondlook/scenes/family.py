"""The model families ``scenes`` and ``local``: weights with a card, read and verified."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_weights, save
from torch import Tensor, nn

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.base import Model, ModelFamily
from secondlook.registry import register
from secondlook.scenes.models.captioner import CaptionerNetwork, SceneCaptioner
from secondlook.scenes.models.classifier import ClassifierNetwork, SceneClassifier
from secondlook.scenes.models.clip import ClipNetwork, PhotoEmbedder, PhotoNetwork, SceneEmbedder
from secondlook.scenes.models.grammar_painter import GrammarPainter
from secondlook.scenes.models.masked_lm import CaptionMlmNetwork, MaskedLmNetwork, SceneMaskedLM
from secondlook.scenes.models.painter import PainterNetwork, ScenePainter
from secondlook.scenes.models.purifiers import AutoencoderNetwork, DenoiserNetwork, SceneAutoencoder, SceneDiffusion
from secondlook.scenes.models.sound import BindNetwork, MelAutoencoderNetwork, SoundAutoencoder, SoundEmbedder
from secondlook.scenes.overhead import models as overhead
from secondlook.scenes.overhead.models import OverheadClassifierNetwork, OverheadClipNetwork, OverheadPainterNetwork

State = dict[str, Tensor]


def weights_of(model: Model) -> State:
    """A copy of all weights of a model, its networks numbered."""
    held = nn.ModuleList(model.modules).state_dict()
    return {name: value.detach().clone() for name, value in held.items()}


def changed_weights(model: Model, base: State) -> bytes:
    """The tensors in which ``model`` differs from ``base``, in half precision, as safetensors.

    The model is left with exactly these, so that what is measured of it is what is read again.
    """
    network = nn.ModuleList(model.modules)
    changed = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
        if not value.equal(base[name].to(value.device))
    }
    network.load_state_dict(changed, strict=False)
    return save(changed)


RUNNING_CODE: Final = ("python:", "file:")
"""Families whose models are code; a card that names one names code of its sender's choice."""


def load_difference(held: bytes, card: dict[str, Any], full: str, trust: bool = False) -> Model:
    """The model ``full`` of a card: its base, with the tensors in ``held``.

    Raises:
        UnknownName: there is no such base.
        InvalidInput: the base is one that runs code, and a card vouches for none; it has other
            weights than it had, or ``held`` does not fit it.
    """
    base = card["base"]
    code = str(base["name"]).startswith(RUNNING_CODE) or "trust=" in str(base["name"])
    if code and not trust:
        raise InvalidInput(
            f"{full} was made of {base['name']}, which runs code to be loaded; if you trust who wrote its card, "
            f"write {full}?trust=true"
        )
    model: Model = load(base["name"])
    if model.weights_hash != base["hash"]:
        raise InvalidInput(
            f"{full} was made of {base['name']} with weights {base['hash']}, and here it has "
            f"{model.weights_hash}; restore those, or run: {card['command']}"
        )
    network = nn.ModuleList(model.modules)
    try:
        fit = network.load_state_dict(read_weights(held), strict=False)
    except (RuntimeError, SafetensorError) as error:
        raise InvalidInput(f"{full} does not fit {base['name']}: {error}") from error
    if fit.unexpected_keys:
        raise InvalidInput(f"{full} has {fit.unexpected_keys[0]}, which {base['name']} has not")
    network.eval().requires_grad_(False)
    model.name = full
    return model


class NetworkKind(NamedTuple):
    """A network of the embedded world and its adapter."""

    network: Callable[..., nn.Module]
    model: Callable[[str, Any], Model]


NETWORKS: Final = MappingProxyType[str, NetworkKind](
    {
        "ClipNetwork": NetworkKind(ClipNetwork, SceneEmbedder),
        "ClassifierNetwork": NetworkKind(ClassifierNetwork, SceneClassifier),
        "AutoencoderNetwork": NetworkKind(AutoencoderNetwork, SceneAutoencoder),
        "PhotoNetwork": NetworkKind(PhotoNetwork, PhotoEmbedder),
        "DenoiserNetwork": NetworkKind(DenoiserNetwork, SceneDiffusion),
        "CaptionerNetwork": NetworkKind(CaptionerNetwork, SceneCaptioner),
        "MaskedLmNetwork": NetworkKind(MaskedLmNetwork, SceneMaskedLM),
        "CaptionMlmNetwork": NetworkKind(CaptionMlmNetwork, SceneMaskedLM),
        "PainterNetwork": NetworkKind(PainterNetwork, ScenePainter),
        "BindNetwork": NetworkKind(BindNetwork, SoundEmbedder),
        "MelAutoencoderNetwork": NetworkKind(MelAutoencoderNetwork, SoundAutoencoder),
        "OverheadClipNetwork": NetworkKind(OverheadClipNetwork, overhead.OverheadEmbedder),
        "OverheadClassifierNetwork": NetworkKind(OverheadClassifierNetwork, overhead.OverheadClassifier),
        "OverheadPainterNetwork": NetworkKind(OverheadPainterNetwork, overhead.OverheadPainter),
    }
)
"""By the network's name in a card."""

WITHOUT_WEIGHTS: Final = MappingProxyType[str, tuple[Callable[[str], Model], str]](
    {"painter-grammar": (GrammarPainter, "painter, 0.0 M parameters; parses the text and renders the scene")}
)
"""Models without weights: what makes them, and their line."""


@register("model", "scenes")
@dataclass(frozen=True, kw_only=True)
class Scenes:
    """The small models of the embedded world, shipped with the package.

    Attributes:
        name: ``clip``, ``vae``, …
        weights: a folder of other weights, as ``secondlook train`` writes them.
        strides: of a diffusion's reverse process; with 1, which its weights are tuned for, it is a
            denoiser that is asked once.
    """

    caveat: ClassVar[str] = (
        "a small model of the embedded world, which comes with the package. Its figures show how "
        "attack and defense behave, not how a large model does."
    )
    name: str
    weights: Path | None = None
    strides: int = 1

    @staticmethod
    def listed(weights: Path | None = None) -> dict[str, str]:
        """What there is, with its role, size and clean figures."""
        folder = _weights_folder(weights)
        names = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".json"))
        lines = {name: _line(read_card(folder, name)) for name in names}
        return lines if weights else lines | {name: line for name, (_, line) in WITHOUT_WEIGHTS.items()}

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
        if self.weights is None and self.name in WITHOUT_WEIGHTS:
            return WITHOUT_WEIGHTS[self.name][0](full)
        model = load_from(_weights_folder(self.weights), self.name, full)
        if self.strides == 1:
            return model
        if not isinstance(model, SceneDiffusion):
            raise InvalidInput(f"strides={self.strides} of {full}, which is no diffusion; take it away")
        return SceneDiffusion(full, model.network, noise=model.noise, strides=self.strides)


def load_from(folder: Traversable, name: str, full: str, trust: bool = False) -> Model:
    """The model with the card and weights ``NAME`` in a folder; ``full`` is its whole name.

    Raises:
        InvalidInput: its weights are missing, damaged or of another version.
    """
    card = read_card(folder, name)
    if "base" in card:
        return load_difference(verified(folder, name, card), card, full, trust)
    architecture = dict(card["architecture"])
    kind = NETWORKS.get(architecture.pop("network"))
    if kind is None:
        raise InvalidInput(f"{full} was written by another version; train it again")
    try:
        network = kind.network(**architecture)
    except (TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise InvalidInput(f"{full}: its card describes no {kind.network.__name__}: {error}; train it again") from None
    _fill(network, verified(folder, name, card), full)
    return kind.model(full, network)


def _weights_folder(weights: Path | None) -> Traversable:
    return weights or files("secondlook.scenes").joinpath("weights")


def part_name(kind: str, model: str) -> str:
    """What the card and weights of something learned of a model are called, without their ends.

    Example:
        >>> part_name("prior", "scenes:clip-vit")
        'prior-scenes-clip-vit'
    """
    return "-".join([kind, *filter(None, re.split(r"\W+", model))])


def read_card(folder: Traversable, name: str) -> dict[str, Any]:
    """The card ``NAME.json`` of a folder.

    Raises:
        InvalidInput: it is none that this package has written.
    """
    file = folder.joinpath(f"{name}.json")
    try:
        card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not {"sha256", "command"} <= card.keys() or not {"architecture", "base"} & card.keys():
            raise ValueError("it lacks sha256, command, or architecture or base")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"{file} is no card that secondlook has written ({error}); train it again") from None
    return card


def _line(card: dict[str, Any]) -> str:
    measured = ", ".join(f"{key} {value:g}" for key, value in card["measured"].items())
    return f"{card['role']}, {card['parameters'] / 1e6:.1f} M parameters; {measured}"


def verified(folder: Traversable, name: str, card: dict[str, Any]) -> bytes:
    """The bytes of the weights ``NAME.safetensors``, checked against the card.

    Raises:
        InvalidInput: they are missing, or others than the card says.
    """
    file = folder.joinpath(f"{name}.safetensors")
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
    """Copies half-precision weights into the fp32 network and makes it ready to use."""
    try:
        network.load_state_dict(read_weights(held))
    except (RuntimeError, SafetensorError) as error:
        raise InvalidInput(f"{full} does not fit its network; train it again: {error}") from error
    # Channels last is the faster layout for small convolutions on a CPU, forwards and backwards.
    network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


@register("model", "local")
@dataclass(frozen=True, kw_only=True)
class Local(ModelFamily):
    """``local:FOLDER/NAME`` reads what ``secondlook train NAME --out FOLDER`` wrote.

    Attributes:
        name: the path of card and weights without their ends.
        trust: whether a model that was made of one that runs code, ``python:`` or ``file:``, may.
    """

    trust: bool = False

    def load(self) -> Model:
        """The model, in fp32 and eval mode, its parameters frozen.

        Raises:
            UnknownName: the folder has no card of this name; the nearest names are offered.
            InvalidInput: there is no such folder, or weights are missing, damaged or of another
                version.
        """
        path, full = self.path, f"local:{self.name}"
        if not path.parent.is_dir():
            raise InvalidInput(f"{full}: no folder {path.parent}; name where --out put the model")
        known = [f"local:{card.with_suffix('')}" for card in path.parent.glob("*.json")]
        if not path.with_name(f"{path.name}.json").is_file():
            raise UnknownName("model", full, known)
        return load_from(path.parent, path.name, full, self.trust)
