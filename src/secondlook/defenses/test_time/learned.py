"""What a defense has learned of one embedder: a small network with a card, which goes with that embedder's weights."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.scenes.family import part_name, read_card, verified

Kind = Literal["prior", "prompts"]
"""Of clean vectors, for ``clipure-diff``; trained against attacks, for ``tapt``."""


class Learned(Model):
    """The network, as a part of the defense: what it answers hangs on its weights.

    Args:
        name: how a report calls it.
        network: in eval mode and frozen.
    """

    movable = True

    def __init__(self, name: str, network: nn.Module) -> None:
        self.name, self.modules = name, (network.eval().requires_grad_(False),)


class Found(NamedTuple):
    """What lies on disk.

    Attributes:
        name: how a report calls it.
        card: of the weights.
        state: the weights, in fp32.
    """

    name: str
    card: dict[str, Any]
    state: dict[str, Tensor]


def shipped(kind: Kind, embedder: Embedder) -> bool:
    """Whether the package has such a part for an embedder of this name and these weights."""
    folder, name = _folder(), part_name(kind, _plain(embedder))
    if not folder.joinpath(f"{name}.json").is_file():
        return False
    return bool(read_card(folder, name)["base"]["hash"] == embedder.weights_hash)


def learned(kind: Kind, embedder: Embedder, place: str = "") -> Found:
    """What ``secondlook train KIND:MODEL`` wrote for an embedder.

    Args:
        kind: what it is.
        embedder: whose it must be, by its weights.
        place: the path of card and weights without their ends; empty takes what the package has.

    Raises:
        InvalidInput: there is none, it is damaged, or it was made for other weights.
    """
    path = Path(place).expanduser()
    folder: Traversable = path.parent if place else _folder()
    name = path.name if place else part_name(kind, _plain(embedder))
    made = f"secondlook train {kind}:{_plain(embedder)}"
    if not folder.joinpath(f"{name}.json").is_file():
        lacks = f"there is no {place}.json" if place else f"the package has no {kind} for {embedder.name}"
        raise InvalidInput(f"{lacks}; run: {made}, and name {kind}='weights/{part_name(kind, _plain(embedder))}'")
    card = read_card(folder, name)
    base = card.get("base", {})
    if card.get("kind") != kind or base.get("hash") != embedder.weights_hash:
        raise InvalidInput(
            f"{name} is the {card.get('kind', 'model')} of {base.get('name')} with weights {base.get('hash')}, and "
            f"{embedder.name} has {embedder.weights_hash}; run: {made}"
        )
    held = verified(folder, name, card)
    try:
        state = {key: value.float() for key, value in load(held).items()}
    except SafetensorError as error:
        raise InvalidInput(f"{name} holds no weights: {error}; run: {made}") from None
    return Found(f"{kind} of {embedder.name} {card['sha256'][:8]}", card, state)


def _plain(embedder: Embedder) -> str:
    """Its name without settings of how it is run."""
    return embedder.name.partition("?")[0]


def _folder() -> Traversable:
    return files("secondlook.defenses.test_time").joinpath("weights")
