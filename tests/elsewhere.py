"""A device that is none: tensors on it refuse to meet those of the CPU, as those of CUDA do.

It goes by the name of torch's ``meta``, and computes on the CPU, so that a whole audit on it has to
give what one on the CPU gives, and fails where a tensor was left behind.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

DEVICE = torch.device("meta")
_aten = torch.ops.aten
# A tensor of CUDA may be indexed by numbers that lie on the CPU.
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}


class Far(Tensor):
    """A tensor on that device, which holds one of the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Far:
        far = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            dtype=held.dtype,
            device=DEVICE,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
        )
        far.held = held
        return far

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Within it, whatever is made on the device, or brought to it, is there."""

    def __enter__(self) -> Any:
        self.written = _Written()
        self.written.__enter__()
        return super().__enter__()

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        self.written.__exit__(*how)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Written(TorchFunctionMode):
    """Tensors of values that are written down, which torch would leave away on ``meta``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") is not None:
            return func(*args, **{**kwargs, "device": "cpu"}).to(kwargs["device"])
        if func is Tensor.new_tensor and isinstance(args[0], Far):
            return Far(func(args[0].held, *args[1:], **kwargs))
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    tensors: list[Tensor] = []
    tree_map(lambda v: tensors.append(v) if isinstance(v, Tensor) else None, (args, kwargs))
    far = [each for each in tensors if isinstance(each, Far)]
    left = [each for each in tensors if not isinstance(each, Far) and each.dim()]
    asked = kwargs.get("device")
    if far and left and func not in _INDEXED and func is not _aten.copy_.default:
        shapes = [tuple(each.shape) for each in left]
        raise RuntimeError(f"{func}: {shapes} were left on the CPU")
    kwargs = dict(kwargs)
    if asked is not None:
        kwargs["device"] = torch.device("cpu")
    out = func(*tree_map(_near, args), **tree_map(_near, kwargs))
    there = bool(far) if asked is None else torch.device(asked) == DEVICE
    if func is _aten.copy_.default:
        return args[0]
    mine = {id(each.held): each for each in far}
    return tree_map(lambda v: _placed(v, mine), out) if there else out


def _near(value: Any) -> Any:
    return value.held if isinstance(value, Far) else value


def _placed(value: Any, known: dict[int, Far]) -> Any:
    """An operation in place gives the very tensor that it was given."""
    if not isinstance(value, Tensor) or isinstance(value, Far):
        return value
    return known[id(value)] if id(value) in known else Far(value)
