"""Thresholds from held-out clean data, with the guarantee of split conformal prediction."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil

import numpy as np
import torch
from torch import Tensor

from secondlook.data import load
from secondlook.data.base import Listing, Source
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys

_BATCH = 64
RATES = (0.01, 0.05, 0.10)
"""False rejections at which detectors are usually compared."""


def conformal_threshold(scores: Tensor, alpha: float) -> float:
    """The threshold that a clean score exceeds with probability ``alpha`` at most.

    It is the ``ceil((n + 1)(1 - alpha))``-th smallest of n held-out scores. If they and a new
    clean score are exchangeable, the new one is above it with probability ``<= alpha``, and, if no
    two scores are equal, ``> alpha - 1 / (n + 1)``. The probability is over both draws: for one
    set of held-out data the rate is Beta(n + 1 - k, k) distributed at most, k being the rank
    (Vovk et al. 2005; Angelopoulos and Bates 2023, section 3.2). Nothing is promised of inputs
    that are attacked or come from elsewhere.

    Args:
        scores: ``[n]``, higher is more suspicious, of clean data that nothing else is measured on.
        alpha: the wanted share of clean inputs above the threshold, in (0, 1).

    Example:
        >>> conformal_threshold(torch.arange(1.0, 20.0), 0.05)
        19.0

    Raises:
        InvalidInput: an ``alpha`` outside (0, 1), too few scores for it, or NaN among them.
    """
    enough = samples_needed(alpha)
    if len(scores) < enough:
        raise InvalidInput(
            f"{len(scores)} held-out samples are too few for a false rejection of {alpha:g}; "
            f"{enough} or more are needed"
        )
    if bool(scores.isnan().any()):
        raise InvalidInput("scores to calibrate on hold NaN; find what made them")
    rank = ceil((len(scores) + 1) * (1 - Fraction(str(alpha))))
    return float(scores.sort().values[rank - 1])


def samples_needed(alpha: float) -> int:
    """How many held-out samples a threshold for ``alpha`` takes, ``ceil(1 / alpha) - 1``.

    Raises:
        InvalidInput: ``alpha`` is outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise InvalidInput(f"false rejection {alpha:g} is outside (0, 1); write 0.05 for 5 %")
    return ceil(1 / Fraction(str(alpha))) - 1


def thresholds(scores: Tensor) -> dict[str, float]:
    """The conformal thresholds of held-out ``scores`` ``[n]`` at ``RATES``, where n is enough.

    They go by the rate as a ledger writes it, ``0.05``.
    """
    return {f"{rate:g}": conformal_threshold(scores, rate) for rate in RATES if len(scores) >= samples_needed(rate)}


def clean_scores(
    source: Source, score: Callable[[Tensor, Keys], Tensor], size: tuple[int, int] | None, samples: int
) -> Tensor:
    """Scores ``[n]`` of some images of a source, read batch by batch.

    Args:
        source: clean data.
        score: images ``[B, 3, H, W]``, and a key for each, to scores ``[B]``.
        size: height and width that they are read at; None for their own.
        samples: how many, chosen by their names so that a sorted source is no trap; 0 takes all.
    """
    keys = Keys.of(0, source.ids).fold("calibrate")
    rows = keys.order()[: samples or None]
    batches = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
    return torch.cat([score(source.read(batch, size).images, keys[np.array(batch)]) for batch in batches])


def held_out(name: str, samples: int, rate: float) -> Source:
    """The data ``name`` to calibrate on, found now and not hours later.

    Raises:
        InvalidInput: it has fewer images than a false rejection of ``rate`` needs.
    """
    source, enough = load(name), samples_needed(rate)
    held = min(samples or len(source), len(source))
    if held < enough:
        raise InvalidInput(
            f"false_rejection={rate:g} needs {enough} clean samples or more, "
            f"and calibrate_on={name!r} with calibrate_samples={samples} gives {held}"
        )
    return source


def refuse_evaluated(calibration: Source, evaluated: Listing) -> None:
    """Refuses to calibrate on an image that is evaluated; files tell, else names.

    Raises:
        InvalidInput: there is such an image.
    """
    # Images with captions may stand for a source of the same images with classes.
    one, other = (getattr(each, "source", each) for each in (calibration, evaluated))
    paths = [getattr(each, "paths", None) for each in (one, other)]
    if paths[0] and paths[1]:
        files = {path.resolve() for path in paths[0]}
        shared = [str(path) for path in paths[1] if path.resolve() in files]
    else:
        kin = isinstance(other, type(one)) or isinstance(one, type(other))
        names = set(one.ids) if kin else set()
        shared = [name for name in other.ids if name in names]
    if shared:
        raise InvalidInput(
            f"{len(shared)} images that are evaluated are also calibrated on, {shared[0]} is one; "
            "calibrate on data of its own, calibrate_on = 'scenes:calibration'"
        )
