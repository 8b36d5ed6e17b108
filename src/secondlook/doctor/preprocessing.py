"""Checks of preprocessing: normalization, the checkpoint's image processor, clean accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor

from secondlook.data import load
from secondlook.doctor.model import (
    PROBES,
    SCENES,
    ModelUnderTest,
    Outcome,
    distances,
    failed,
    graded,
    passed,
    skipped,
    warned,
)
from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.models.io.preprocessing import DEVIATION, MEAN
from secondlook.statistics import wilson
from secondlook.tasks.classification import translated

_NO_DATA = "no labeled images; name some: --data folder:PHOTOS"


def same(x: Tensor) -> Tensor:
    """The images as they are."""
    return x


@torch.no_grad()
def correct(subject: ModelUnderTest, view: Callable[[Tensor], Tensor] = same, shown: int | None = None) -> Tensor:
    """Which of the labeled images the model gets right as ``view`` shows them, ``[N]`` bool.

    Args:
        subject: the model with its images.
        view: what becomes of the pixels.
        shown: the first so many; None takes all.

    Raises:
        InvalidInput: the model does not know the classes of the data.
    """
    task = subject.task
    assert task is not None, "there are no labeled images"
    classifier, found = task.classifier(subject.model), []
    rows = task.rows[:shown]
    for start in range(0, len(rows), PROBES):
        images, labels = task.source.read(rows[start : start + PROBES], classifier.size)
        truth = translated(labels, task.source, classifier)
        found.append(classifier(view(images)).argmax(-1).cpu() == truth)
    return torch.cat(found)


def clean_accuracy(subject: ModelUnderTest) -> Outcome:
    """The share that is right, against chance; for an embedder zero-shot."""
    if subject.task is None:
        return skipped("a purifier names nothing" if subject.kind == "purifier" else _NO_DATA)
    try:
        right, classes = correct(subject), len(subject.task.classifier(subject.model).classes)
    except InvalidInput as error:
        return warned(str(error), "name data whose classes are called as the model's are")
    share, chance = wilson(int(right.sum()), len(right)), 1 / classes
    status = "fail" if share.value <= chance else "warn" if share.low <= chance else "pass"
    return graded(
        status,  # type: ignore[arg-type]
        f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {len(right)} images of "
        f"{subject.data}; chance is {chance:.2g}",
        "look at the order of the classes, at the prompt, at the order of the colors (RGB), and "
        "at the normalization; a few more images with --samples 200 narrow the interval",
        accuracy=share.value,
        low=share.low,
        high=share.high,
        chance=chance,
    )


_CONSTANT, _TIMES, _CHANCE = 1e-3, 5.0, 0.01
_DECIDE, _SECONDS = 8, 20.0
_INSIDE = "subtract the mean and divide by the standard deviation inside the model, after checked_input()"


@torch.no_grad()
def outputs_differ(subject: ModelUnderTest) -> Outcome:
    """Different images have different answers."""
    shown = subject.images[: subject.affordable(PROBES)]
    spread = float(distances(subject.features(shown)).mean())
    measured = f"images lie {spread:.2g} of an answer's length apart (mean of all pairs)"
    if spread > _CONSTANT:
        return passed(measured, spread=spread)
    return failed(
        f"{measured}: nearly the same answer to all",
        "look for pixels divided by 255 twice, weights that were not loaded, or a missing normalization",
        spread=spread,
    )


@torch.no_grad()
def brightness(subject: ModelUnderTest) -> Outcome:
    """Black, gray and white are three things."""
    levels = torch.tensor([0, 0.5, 1]).view(3, 1, 1, 1).to(subject.images)
    answers = subject.features(levels.expand(3, *subject.images.shape[1:]))
    spread = float(distances(answers).max())
    measured = f"black, gray and white lie up to {spread:.2g} of an answer's length apart"
    if spread > _CONSTANT:
        return passed(measured, spread=spread)
    return warned(
        measured,
        "normalize by constants, not by each image's own mean and spread, unless that is intended",
        spread=spread,
    )


@torch.no_grad()
def normalization_inside(subject: ModelUnderTest) -> Outcome:
    """Pixels that are normalized beforehand are not answered better, nor more differently."""
    try:
        with unchecked(subject.model):
            return _compared(subject)
    # Who checks the range in a way of his own leaves nothing to compare.
    except Exception as error:
        return skipped(f"normalized pixels cannot be tried: {error}")


def _compared(subject: ModelUnderTest) -> Outcome:
    """By labeled images, where there are as many as can decide it."""
    shown = subject.affordable(len(subject.task.rows), 2, _SECONDS) if subject.task else 0
    return _labeled(subject, shown) if shown >= _DECIDE else _unlabeled(subject)


def _labeled(subject: ModelUnderTest, shown: int) -> Outcome:
    plain, shifted = correct(subject, shown=shown), correct(subject, normalized, shown)
    won, lost = int((shifted & ~plain).sum()), int((plain & ~shifted).sum())
    measured = f"{_percent(plain)} right, {_percent(shifted)} with pixels normalized before, n = {len(plain)}"
    figures = {"plain": float(plain.double().mean()), "shifted": float(shifted.double().mean())}
    if won > lost and binomtest(won, won + lost).pvalue < _CHANCE:
        return failed(f"{measured}: normalization is missing", _INSIDE, **figures)
    return passed(measured, **figures)


def _unlabeled(subject: ModelUnderTest) -> Outcome:
    shown = subject.images[: subject.affordable(PROBES, passes=2)]
    plain, shifted = (float(distances(subject.features(x)).mean()) for x in (shown, normalized(shown)))
    times = shifted / max(plain, 1e-12)
    measured = f"normalized before, images lie {times:.2g} times as far apart"
    if times > _TIMES:
        return warned(f"{measured}: the network may expect it", f"{_INSIDE}; with --data it is certain", times=times)
    return passed(measured, times=times)


def normalized(x: Tensor) -> Tensor:
    """Pixels ``[B, 3, H, W]`` less CLIP's mean, over its standard deviation."""
    mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (x - mean) / std


@contextmanager
def unchecked(model: Model) -> Iterator[None]:
    """Lets any pixels into the model inside the block."""
    held = vars(model)
    held["checked_input"] = lambda x: x
    try:
        yield
    finally:
        del held["checked_input"]


def _percent(right: Tensor) -> str:
    return f"{float(right.double().mean()):.0%}"


_SHAPES = ((97, 131), (150, 113))
# Pillow before release 13 clips a few pixels at hard edges in another order.
_STEP, _MEAN, _FEW = 1.01, 0.05, 1e-3


@torch.no_grad()
def matches_processor(subject: ModelUnderTest) -> Outcome:
    """Images become what the processor of the checkpoint makes of them."""
    model: Any = subject.model
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
        mean=mean,
        far=far,
    )


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
    # Patches hold the three colors of a pixel side by side.
    std = std.repeat(made.shape[-1] // 3) if made.dim() == 3 else std.view(3, 1, 1)
    apart: Tensor = (made - wanted) * std
    return apart.abs().flatten() * 255
