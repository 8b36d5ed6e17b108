"""The check of the preprocessing against the image processor that came with the weights."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from secondlook.data import load
from secondlook.doctor.outcome import Outcome, failed, passed, skipped
from secondlook.doctor.patient import SCENES, Patient

_SHAPES = ((97, 131), (150, 113))
# Pillow before release 13 clips a few pixels at hard edges in another order.
_STEP, _MEAN, _FEW = 1.01, 0.05, 1e-3


@torch.no_grad()
def preprocessing(patient: Patient) -> Outcome:
    """Pictures become what the processor of the checkpoint makes of them."""
    model: Any = patient.model
    processor = getattr(model, "processor", None)
    ours = getattr(model, "preprocessing", None) or getattr(model, "patches", None)
    if processor is None or ours is None:
        return skipped("the model brings no image processor of its own to compare with")
    if is_dataclass(ours) and hasattr(ours, "resolution"):
        ours = replace(ours, resolution="native")  # type: ignore[type-var]
    off = torch.cat([_apart(processor, ours, shape) for shape in _SHAPES])
    mean, far = float(off.mean()), float((off > _STEP).double().mean())
    measured = f"{mean:.2g}/255 apart in the mean, {far:.2%} of the pixels by more than {_STEP}/255"
    if mean <= _MEAN and far <= _FEW:
        return passed(measured, mean=mean, far=far)
    return failed(
        measured,
        "take size, crop, kernel, mean and standard deviation from preprocessor_config.json",
        mean=mean, far=far,
    )  # fmt: skip


def _apart(processor: Any, ours: Any, shape: tuple[int, int]) -> Tensor:
    """Distances of the two, flat, in steps of 8 bits."""
    x = load(SCENES).read([0], shape).images
    pixels = (x[0] * 255).round().byte().permute(1, 2, 0).numpy()
    theirs = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"]
    wanted, made = torch.as_tensor(np.asarray(theirs)).float(), ours(x)
    made = made["pixel_values"] if isinstance(made, dict) else made
    if made.shape != wanted.shape:
        return torch.full((1,), torch.inf)
    std = torch.tensor(ours.std, dtype=torch.float32)
    # Patches hold the three colours of a pixel side by side.
    std = std.repeat(made.shape[-1] // 3) if made.dim() == 3 else std.view(3, 1, 1)
    apart: Tensor = (made - wanted) * std
    return apart.abs().flatten() * 255
