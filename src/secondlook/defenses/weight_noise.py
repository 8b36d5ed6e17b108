"""One-time-use noise on the parameters of networks: drawn, used once, and gone without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from secondlook.randomness import Keys


@contextmanager
def with_weight_noise(modules: Sequence[nn.Module], sigma: float, key: Keys) -> Iterator[None]:
    """Every parameter carries Gaussian noise inside the block; after it each is its old self.

    The parameters are exchanged and not changed: what was there is put back bit by bit, and a
    gradient that was recorded inside the block stays good after it. A parameter that two layers
    share gets one noise. Frozen parameters are not spared (MirrorCheck, arXiv 2406.09250, whose
    published code spares them).

    Args:
        modules: the networks.
        sigma: deviation of the noise, in the parameters' own unit; 0 changes nothing.
        key: one key; the noise is its own.
    """
    places = _places(modules) if sigma > 0 else []
    noise = _noise([kept for _, _, kept in places], sigma, key)
    try:
        for module, name, kept in places:
            module._parameters[name] = noise[id(kept)]  # type: ignore[assignment]
        yield
    finally:
        for module, name, kept in places:
            module._parameters[name] = kept


def _places(modules: Sequence[nn.Module]) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Where each floating parameter stands."""
    parts = {id(part): part for module in modules for part in module.modules()}
    return [
        (part, name, kept)
        for part in parts.values()
        for name, kept in part._parameters.items()
        if kept is not None and kept.is_floating_point()
    ]


def _noise(kept: Sequence[nn.Parameter], sigma: float, key: Keys) -> dict[int, Tensor]:
    """Each parameter with its noise, by the parameter's identity."""
    own = {id(parameter): parameter.detach() for parameter in kept}
    if not own:
        return {}
    drawn = sigma * key.normal((sum(value.numel() for value in own.values()),))[0]
    parts = drawn.split([value.numel() for value in own.values()])
    with torch.no_grad():
        return {
            name: value + part.view(value.shape).to(value)
            for (name, value), part in zip(own.items(), parts, strict=True)
        }
