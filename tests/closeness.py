"""Equality as promised for what has gone through matrix products in another batch.

Some processors round a product or a convolution otherwise when the batch has another size, so that
a sample's numbers do not depend on its batch *but for the kernels' float noise*. Draws, indices and
the pixels of 8-bit files go through no such kernel, and are compared with ``torch.equal``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

RELATIVE, ABSOLUTE = 1e-5, 1e-6
"""Some units in the last place of fp32, summed over a network's layers."""


def same(a: Tensor, b: Tensor) -> bool:
    """Whether shape, dtype and all values agree, but for float noise."""
    return (
        a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    )


def same_records(a: Mapping[Any, Mapping[str, Any]], b: Mapping[Any, Mapping[str, Any]]) -> bool:
    """Whether two sets of records agree, their floats but for float noise."""
    return a.keys() == b.keys() and all(_same_record(a[key], b[key]) for key in a)


def _same_record(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        math.isclose(a[key], b[key], rel_tol=RELATIVE, abs_tol=10 * ABSOLUTE)
        if isinstance(a[key], float) and isinstance(b[key], float)
        else a[key] == b[key]
        for key in a
    )
