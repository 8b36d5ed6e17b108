"""What a defense may not leave behind: a changed model, or a global generator that has moved on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput


class _Seen(NamedTuple):
    """What a tensor of a network is told by.

    Attributes:
        place: where its data lie.
        trained: whether it wants a gradient.
        gradient: which gradient it holds, and how often that has been written to.
        sums: of its values and of their squares, as text, so that NaN equals itself.
    """

    place: int
    trained: bool
    gradient: tuple[int, int] | None
    sums: str


@contextmanager
def borrowed(modules: Sequence[nn.Module], who: str) -> Iterator[None]:
    """Notices where the networks are not handed back as they were, after the block.

    Looked at are all weights and buffers, by their sums, with their gradients and whether they want
    one, the modes and hooks of all submodules, and torch's generator on the CPU.

    Args:
        modules: the networks.
        who: has them meanwhile, for the message.

    Raises:
        InvalidInput: something is another now; the first such thing is named.
    """
    before, drawn = _state(modules), torch.get_rng_state()
    yield
    if not torch.equal(drawn, torch.get_rng_state()):
        raise InvalidInput(
            f"the defense {who} draws from torch's global generator; take every draw from the keys: keys.normal(shape)"
        )
    after = _state(modules)
    if before != after:
        changed = next(name for name in before | after if before.get(name) != after.get(name))
        raise InvalidInput(
            f"the defense {who} leaves {changed} of the model changed; work on a copy, or put it back as it was"
        )


def _state(modules: Sequence[nn.Module]) -> dict[str, object]:
    parts = [(f"{i}:{name}", part) for i, module in enumerate(modules) for name, part in module.named_modules()]
    state: dict[str, object] = {}
    for name, part in parts:
        state[name] = part.training, len(part._forward_hooks), len(part._forward_pre_hooks)
        for key, value in (*part._parameters.items(), *part._buffers.items()):
            if value is not None:
                state[f"{name}.{key}"] = _seen(value)
    return state


def _seen(value: Tensor) -> _Seen:
    gradient = None if value.grad is None else (id(value.grad), value.grad._version)
    flat = value.detach().flatten()
    flat = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
    sums = f"{float(flat.sum())} {float(torch.dot(flat, flat))}"
    return _Seen(value.data_ptr(), value.requires_grad, gradient, sums)
