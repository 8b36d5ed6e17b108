"""Makes matrix products round otherwise in another batch: ``pytest -p tests.kernel_noise``.

Some processors do, and others never show it. A test that passes with this plugin asks for no more
than the promise: equal but for the kernels' float noise (``tests/closeness.py``).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

KERNELS = {"mm", "addmm", "bmm", "baddbmm", "mv", "dot", "convolution", "convolution_backward"}
ROUNDING = 1.5e-7


class KernelNoise(TorchDispatchMode):
    """Changes the last bits of each product, the same way for the same shapes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if name not in KERNELS and "attention" not in name:
            return out
        if isinstance(out, (tuple, list)):
            return type(out)(_rounded(each, args) for each in out)
        return _rounded(out, args)


def _rounded(out: Any, args: Any) -> Any:
    """``out`` with errors of the last bit, chosen by the shapes of ``args``."""
    if type(out) is not torch.Tensor or out.dtype != torch.float32 or out.device.type != "cpu":
        return out
    shape = sum((at + 1) * size for arg in args if isinstance(arg, torch.Tensor) for at, size in enumerate(arg.shape))
    wave = torch.arange(out.numel(), dtype=torch.float32).mul_(0.7).add_(shape).sin_()
    return out * (1 + ROUNDING * wave.view(out.shape))


def pytest_sessionstart(session: pytest.Session) -> None:
    KernelNoise().__enter__()
