"""The model under examination, with the pictures that it is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from secondlook.data import load
from secondlook.data.base import Source
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model, Purifier, evaluating
from secondlook.randomness import Keys
from secondlook.tasks.zeroshot import OpenTask, ZeroShotTask

Kind = Literal["embedder", "classifier", "purifier"]
PROBES: Final = 8
SIDE: Final = 224
SCENES: Final = "scenes:test"
_SECONDS, _SLOW = 4.0, 0.1


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A model and what it is asked with.

    Attributes:
        model: an embedder, a classifier or a purifier.
        kind: which of them.
        images: ``[8, 3, H, W]`` in [0, 1], at the model's own size.
        keys: one key for each image.
        training: the networks' parts that were in training mode when the model came.
        data: labelled images, in the words of a study; empty where there are none.
        task: ``data`` opened; None where there is none.
        pace: seconds that one image takes; 0 where it was not measured, and all is shown.
    """

    model: Model
    kind: Kind
    images: Tensor
    keys: Keys
    training: tuple[str, ...] = ()
    data: str = ""
    task: OpenTask | None = None
    pace: float = 0.0

    def some(self, count: int, passes: int = 1, seconds: float = _SECONDS) -> int:
        """How many of ``count`` images a check may show ``passes`` times; two at the least."""
        able = int(seconds / (passes * self.pace)) if self.pace else count
        return min(count, max(2, able))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that are shown."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks that the model lists."""
        return tuple(self.model.modules)

    def answer(self, x: Tensor, keys: Keys | None = None) -> Tensor:
        """What the model makes of ``[B, 3, H, W]``: unit vectors, scores or pictures."""
        if isinstance(self.model, Embedder):
            return self.model.embed(x)
        if isinstance(self.model, Classifier):
            return self.model(x)
        assert isinstance(self.model, Purifier)
        return self.model.purify(x, self.keys[: len(x)] if keys is None else keys)

    def features(self, x: Tensor) -> Tensor:
        """What the model sees in pictures, ``[B, D]``: vectors, or features before the head."""
        return self.model.features(x) if isinstance(self.model, Classifier) else self.answer(x)


def admit(model: Any, *, data: str = "", side: int = SIDE, samples: int = 32) -> Patient:
    """Prepares an examination.

    Args:
        model: any model that an audit takes.
        data: labelled images by name, for the clean accuracy and as pictures to show; empty takes
            ``scenes:test`` for the models of the embedded world, and no labels for others.
        side: height and width of the pictures where the model names none.
        samples: how many of the labelled images the accuracy is measured on.

    Raises:
        InvalidInput: the model is none of the three kinds, or the data cannot be read.
        UnknownName: there is no such data.
    """
    kind = _kind(model)
    if side < 1 or samples < 1:
        raise InvalidInput(f"side={side}, samples={samples}: both must be 1 or more")
    data = data or (SCENES if model.name.startswith("scenes:") else "")
    task = ZeroShotTask(data=data, samples=samples).open() if data else None
    images, keys = _probes(task.source if task else load(SCENES), _size(model) or (side, side))
    patient = Patient(
        model=model, kind=kind, images=images, keys=keys, training=_restless(model),
        data=data, task=None if kind == "purifier" else task,
    )  # fmt: skip
    return replace(patient, pace=_pace(patient))


@torch.no_grad()
def _pace(patient: Patient) -> float:
    """Seconds of one image; what is slow is asked twice, since the first time warms up."""
    taken: list[float] = []
    while not taken or (taken[0] > _SLOW and len(taken) < 2):
        start = time.perf_counter()
        try:
            with evaluating(patient.modules):
                patient.answer(patient.images[:1])
        # What the model raises is for the checks to tell.
        except Exception:
            return 0.0
        taken.append(time.perf_counter() - start)
    return min(taken)


def _kind(model: Any) -> Kind:
    kinds: dict[type, Kind] = {
        Embedder: "embedder", Classifier: "classifier", Purifier: "purifier",
    }  # fmt: skip
    for cls, kind in kinds.items():
        if isinstance(model, cls):
            return kind
    raise InvalidInput(
        f"{getattr(model, 'name', model)!r} is no Embedder, Classifier or Purifier, "
        "and nothing else is examined"
    )


def _size(model: Model) -> tuple[int, int] | None:
    frame = getattr(model, "frame", None)
    size: tuple[int, int] | None = getattr(model, "size", None) or getattr(frame, "size", None)
    return size


def _probes(source: Source, size: tuple[int, int]) -> tuple[Tensor, Keys]:
    """Pictures of a source, with scenes where it has too few."""
    if len(source) < PROBES:
        source = load(SCENES)
    keys = Keys.of(0, source.ids).fold("doctor")
    rows = keys.order()[:PROBES]
    return source.read(rows, size).images, keys[np.asarray(rows)]


def _restless(model: Model) -> tuple[str, ...]:
    parts = (item for module in model.modules for item in module.named_modules())
    return tuple(f"{name} {type(part).__name__}".strip() for name, part in parts if part.training)


def distances(rows: Tensor) -> Tensor:
    """Distances between all pairs of rows ``[N, D]``, as shares of the rows' mean length."""
    rows = rows.detach().double().flatten(1)
    scale: Tensor = rows.norm(dim=1).mean().clamp_min(1e-12)
    above = torch.triu_indices(len(rows), len(rows), offset=1)
    apart: Tensor = (rows[above[0]] - rows[above[1]]).norm(dim=1) / scale
    return apart
