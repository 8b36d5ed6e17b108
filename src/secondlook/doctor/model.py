"""The model under test, the images that it is shown, and the outcome of one check."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from secondlook.data import load
from secondlook.data.base import Source
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model, Purifier, evaluating
from secondlook.randomness import Keys
from secondlook.tasks.classification import OpenClassification, ZeroShotTask

Status = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one check.

    Attributes:
        status: ``fail`` makes figures wrong; ``warn`` may be intended; ``skip`` could not be run.
        measured: what was measured, in a line.
        fix: what to do; empty where nothing is wrong.
        figures: the numbers behind ``measured``, by name.
    """

    status: Status
    measured: str
    fix: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def passed(measured: str, **figures: float) -> Outcome:
    """Nothing is wrong."""
    return Outcome(status="pass", measured=measured, figures=figures)


def warned(measured: str, fix: str, **figures: float) -> Outcome:
    """Something may be wrong, or is expensive."""
    return Outcome(status="warn", measured=measured, fix=fix, figures=figures)


def failed(measured: str, fix: str, **figures: float) -> Outcome:
    """Something is wrong, and figures of an audit would be too."""
    return Outcome(status="fail", measured=measured, fix=fix, figures=figures)


def skipped(reason: str) -> Outcome:
    """The check does not fit the model, or lacks what it needs."""
    return Outcome(status="skip", measured=reason)


def graded(status: Status, measured: str, fix: str, **figures: float) -> Outcome:
    """An outcome whose status was measured; a pass needs no fix."""
    fix = "" if status == "pass" else fix
    return Outcome(status=status, measured=measured, fix=fix, figures=figures)


Kind = Literal["embedder", "classifier", "purifier"]
PROBES: Final = 8
SIDE: Final = 224
SCENES: Final = "scenes:test"
_SECONDS, _SLOW = 4.0, 0.1


@dataclass(frozen=True, kw_only=True)
class ModelUnderTest:
    """A model with the images that it is checked on.

    Attributes:
        model: an embedder, a classifier or a purifier.
        kind: which of them.
        images: ``[8, 3, H, W]`` in [0, 1], at the model's own size.
        keys: one key for each image.
        training: the networks' parts that were in training mode when the model came.
        data: labeled images by name; empty where there are none.
        task: ``data`` opened; None where there is none.
        seconds_per_image: of one forward; 0 where it was not measured, and all images are used.
    """

    model: Model
    kind: Kind
    images: Tensor
    keys: Keys
    training: tuple[str, ...] = ()
    data: str = ""
    task: OpenClassification | None = None
    seconds_per_image: float = 0.0

    def affordable(self, count: int, passes: int = 1, seconds: float = _SECONDS) -> int:
        """How many of ``count`` images a check may use ``passes`` times; two at the least."""
        affordable = int(seconds / (passes * self.seconds_per_image)) if self.seconds_per_image else count
        return min(count, max(2, affordable))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks that the model lists."""
        return tuple(self.model.modules)

    def output(self, x: Tensor, keys: Keys | None = None) -> Tensor:
        """Unit vectors, scores or images of ``[B, 3, H, W]``."""
        if isinstance(self.model, Embedder):
            return self.model.embed(x)
        if isinstance(self.model, Classifier):
            return self.model(x)
        assert isinstance(self.model, Purifier)
        return self.model.purify(x, self.keys[: len(x)] if keys is None else keys)

    def features(self, x: Tensor) -> Tensor:
        """Embeddings ``[B, D]``, or a classifier's features before its head."""
        return self.model.features(x) if isinstance(self.model, Classifier) else self.output(x)


def prepare(model: Any, *, data: str = "", side: int = SIDE, samples: int = 32) -> ModelUnderTest:
    """Prepares a model and its images for the checks.

    Args:
        model: any model that an audit takes.
        data: labeled images by name, for the clean accuracy and as images; empty takes
            ``scenes:test`` for the models of the embedded world, and no labels for others.
        side: height and width of the images where the model names none.
        samples: how many of the labeled images the accuracy is measured on; all where there are fewer.

    Raises:
        InvalidInput: the model is none of the three kinds, or the data cannot be read.
        UnknownName: there is no such data.
    """
    kind = _kind(model)
    if side < 1 or samples < 1:
        raise InvalidInput(f"side={side}, samples={samples}: both must be 1 or more")
    data = data or (SCENES if model.name.startswith("scenes:") else "")
    task = ZeroShotTask(data=data, samples=min(samples, len(load(data)))).open() if data else None
    images, keys = _probes(task.source if task else load(SCENES), _size(model) or (side, side))
    subject = ModelUnderTest(
        model=model,
        kind=kind,
        images=images,
        keys=keys,
        training=_in_training_mode(model),
        data=data,
        task=None if kind == "purifier" else task,
    )
    return replace(subject, seconds_per_image=_seconds_per_image(subject))


@torch.no_grad()
def _seconds_per_image(subject: ModelUnderTest) -> float:
    """Seconds of one image; what is slow is called twice, since the first call warms up."""
    taken: list[float] = []
    while not taken or (taken[0] > _SLOW and len(taken) < 2):
        start = time.perf_counter()
        try:
            with evaluating(subject.modules):
                subject.output(subject.images[:1])
        # The checks report what the model raises.
        except Exception:
            return 0.0
        taken.append(time.perf_counter() - start)
    return min(taken)


def _kind(model: Any) -> Kind:
    kinds: dict[type, Kind] = {Embedder: "embedder", Classifier: "classifier", Purifier: "purifier"}
    for cls, kind in kinds.items():
        if isinstance(model, cls):
            return kind
    raise InvalidInput(
        f"{getattr(model, 'name', model)!r} is no Embedder, Classifier or Purifier, and nothing else is checked"
    )


def _size(model: Model) -> tuple[int, int] | None:
    frame = getattr(model, "frame", None)
    size: tuple[int, int] | None = getattr(model, "size", None) or getattr(frame, "size", None)
    return size


def _probes(source: Source, size: tuple[int, int]) -> tuple[Tensor, Keys]:
    """Images of a source, with scenes where it has too few."""
    if len(source) < PROBES:
        source = load(SCENES)
    keys = Keys.of(0, source.ids).fold("doctor")
    rows = keys.order()[:PROBES]
    return source.read(rows, size).images, keys[np.asarray(rows)]


def _in_training_mode(model: Model) -> tuple[str, ...]:
    parts = (item for module in model.modules for item in module.named_modules())
    return tuple(f"{name} {type(part).__name__}".strip() for name, part in parts if part.training)


def distances(rows: Tensor) -> Tensor:
    """Distances between all pairs of rows ``[N, D]``, as shares of the rows' mean length."""
    rows = rows.detach().double().flatten(1)
    scale: Tensor = rows.norm(dim=1).mean().clamp_min(1e-12)
    above = torch.triu_indices(len(rows), len(rows), offset=1)
    apart: Tensor = (rows[above[0]] - rows[above[1]]).norm(dim=1) / scale
    return apart
