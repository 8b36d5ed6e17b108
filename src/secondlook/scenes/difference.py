"""Models told by what sets them apart from another: a base, and the tensors that differ."""

from __future__ import annotations

from typing import Any

from safetensors.torch import load as read_weights
from safetensors.torch import save
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Model

State = dict[str, Tensor]


def state(model: Model) -> State:
    """A copy of all weights of a model, its networks numbered."""
    held = nn.ModuleList(model.modules).state_dict()
    return {name: value.detach().clone() for name, value in held.items()}


def shrink(model: Model, base: State) -> bytes:
    """The tensors in which ``model`` differs from ``base``, in half precision.

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


def grown(held: bytes, card: dict[str, Any], full: str) -> Model:
    """The model that a card calls ``full``: its base, with the tensors in ``held`` in place.

    Raises:
        UnknownName: there is no such base.
        InvalidInput: the base has other weights than it had, or ``held`` does not fit it.
    """
    told = card["base"]
    model: Model = load(told["name"])
    if model.hash != told["hash"]:
        raise InvalidInput(
            f"{full} was made of {told['name']} with weights {told['hash']}, and here it has "
            f"{model.hash}; put that one back, or run: {card['command']}"
        )
    network = nn.ModuleList(model.modules)
    try:
        fit = network.load_state_dict(read_weights(held), strict=False)
    except RuntimeError as error:
        raise InvalidInput(f"{full} does not fit {told['name']}: {error}") from error
    if fit.unexpected_keys:
        raise InvalidInput(f"{full} has {fit.unexpected_keys[0]}, which {told['name']} has not")
    network.eval().requires_grad_(False)
    model.name = full
    return model
