"""Gradient checkpointing in any network that is a row of like blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from secondlook.errors import InvalidInput


def checkpointed(modules: Iterable[nn.Module], name: str) -> None:
    """Makes each block of the networks hold its input alone, and run again for the gradient.

    The libraries' own switches act in training mode alone, or differ from one to the next. The
    answers are the same to the last bit, since an encoder in eval mode draws nothing.

    Raises:
        InvalidInput: the networks have no blocks; ``name`` is what the model is called.
    """
    blocks = [block for module in modules for block in _blocks(module)]
    if not blocks:
        raise InvalidInput(f"{name} is no row of like blocks; leave checkpoint=true away")
    for block in blocks:
        block.forward = partial(_again, block.forward)


def _again(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost rows of two or more modules of one class."""
    for part in module.children():
        row = list(part.children()) if isinstance(part, nn.ModuleList | nn.Sequential) else []
        if len(row) > 1 and len({type(block) for block in row}) == 1:
            yield from row
        else:
            yield from _blocks(part)
