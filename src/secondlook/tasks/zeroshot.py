"""Naming what is on an image among given texts, and being made to name another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from secondlook import registry
from secondlook.data import load
from secondlook.data.base import Source
from secondlook.errors import InvalidInput
from secondlook.goals.base import Goal
from secondlook.goals.illusion import AlignTo
from secondlook.goals.mislead import Mislead
from secondlook.goals.targeted import WinVotes
from secondlook.models.base import Classifier, Embedder, Model, evaluating
from secondlook.models.labels import plain
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.tasks.labels import theirs, translated

Wish = Literal["targeted", "untargeted"]
COSINE_TEMPERATURE = 0.05
"""Temperature of soft votes over cosines: the order of a trained CLIP's own."""


class Batch(NamedTuple):
    """Some samples of a task.

    Attributes:
        ids: stable names.
        rows: their positions in the source.
        images: ``[B, 3, H, W]`` in [0, 1].
        truth: the class of each, ``[B]``.
        target: the class that an attacker wants, ``[B]``; never the truth.
        keys: one key per sample.
        classes: the names that ``truth`` and ``target`` count: of the model it was made for.
    """

    ids: tuple[str, ...]
    rows: tuple[int, ...]
    images: Tensor
    truth: Tensor
    target: Tensor
    keys: Keys
    classes: tuple[str, ...]


@register("task", "zeroshot")
@dataclass(frozen=True, kw_only=True)
class ZeroShotTask:
    """Zero-shot classification, or captions to choose from, with a target for each image.

    Attributes:
        data: a source by name, ``scenes:test`` or ``folder:PATH``.
        samples: how many of its images; 0 takes all.
        prompt: template of a class name; empty takes the source's own.
        goal: what the attacker wants: the answer ``targeted``, or any wrong one, ``untargeted``.
        target: align to the ``text`` of another class, or to another ``image`` of the source.
        seed: chooses the images and the targets.

    Raises:
        InvalidInput: a negative number of samples.
    """

    data: str = "scenes:test"
    samples: int = 100
    prompt: str = ""
    goal: Wish = "targeted"
    target: Literal["text", "image"] = "text"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise InvalidInput(f"samples={self.samples}; write how many images, or 0 for all")

    def open(self) -> OpenTask:
        """The task with its source found on disk."""
        return OpenTask(self, load(self.data).labelled())


class OpenTask:
    """A task whose images can be read.

    Attributes:
        device: where its images are put, and what an attacker wants.
    """

    def __init__(self, task: ZeroShotTask, source: Source) -> None:
        self.task, self.source = task, source
        self.device = torch.device("cpu")
        self._keys = Keys.of(task.seed, source.ids)
        self.rows = tuple(self._keys.fold("choose").order()[: task.samples or None])

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"{registry.describe(self.task)['name']} {self.task.data}"

    def classifier(self, model: Model, prompt: str = "") -> Classifier:
        """The model as a classifier over the classes of this task.

        Args:
            model: an embedder or a classifier.
            prompt: for an embedder, instead of the task's.

        Raises:
            InvalidInput: the model cannot name the classes of the data.
        """
        if isinstance(model, Embedder):
            return ZeroShot(
                model, self.source.classes, prompt or self.task.prompt or self.source.prompt
            )
        if not isinstance(model, Classifier):
            raise InvalidInput(f"{model!r} neither embeds nor classifies images")
        return model

    def batch(self, rows: tuple[int, ...], model: Classifier) -> Batch:
        """Reads the images of ``rows`` at the resolution of ``model`` and chooses their targets."""
        ids = tuple(self.source.ids[row] for row in rows)
        images, truth = self.source.read(rows, model.size)
        images, truth = images.to(self.device), translated(truth, self.source, model)
        keys = Keys.of(self.task.seed, ids)
        target = other_than(truth, keys.fold("target"), model.classes)
        return Batch(ids, rows, images, truth, target, keys, model.classes)

    def aim(self, batch: Batch, model: Classifier, objective: str) -> Goal:
        """What an attacker wants of ``model``: an embedding (``cosine``), the ``votes``, or harm.

        Untargeted there is one objective, any wrong answer; ``objective`` does not matter then.
        """
        if self.task.goal == "untargeted":
            return Mislead(truth=theirs(batch.truth, batch.classes, model).to(self.device))
        target = theirs(batch.target, batch.classes, model).to(self.device)
        vectors = self._vectors(target, batch.keys, model)
        if vectors is None or objective == "votes":
            temperature = COSINE_TEMPERATURE if model.cosine else 1.0
            return WinVotes(classes=target, temperature=temperature)
        return AlignTo(vectors=vectors, classes=target)

    def _vectors(self, target: Tensor, keys: Keys, model: Classifier) -> Tensor | None:
        if self.task.target == "text" or not model.cosine:
            return model.aim(target)
        with torch.no_grad(), evaluating(model.modules):
            return model.features(self._images_of(target, keys, model))

    def _images_of(self, target: Tensor, keys: Keys, model: Classifier) -> Tensor:
        """Another image of the source for each sample, of its target's class."""
        pairs = zip(target, keys.fold("image").words, strict=True)
        return torch.cat([self._find(int(wanted), key, model) for wanted, key in pairs])

    def _find(self, target: int, key: np.uint64, model: Classifier) -> Tensor:
        for row in np.argsort(self._keys.fold("image", int(key)).words):
            images, truth = self.source.read([int(row)], model.size)
            if int(translated(truth, self.source, model)[0]) == target:
                return images.to(self.device)
        raise InvalidInput(f"no image of class {model.classes[target]!r} to aim at; target='text'")


def other_than(truth: Tensor, keys: Keys, classes: tuple[str, ...]) -> Tensor:
    """A class for each sample that is neither its own nor called the same, ``[B]``.

    Raises:
        InvalidInput: all classes are called the same.
    """
    called = [plain(name) for name in classes]
    if len(set(called)) < 2:
        raise InvalidInput(f"all classes are called {called[0]!r}; an attacker needs another one")
    count, away = len(classes), keys.integers(len(classes) - 1)
    target = [(int(own) + 1 + step) % count for own, step in zip(truth, away, strict=True)]
    for sample, own in enumerate(truth.tolist()):
        while called[target[sample]] == called[own]:
            target[sample] = (target[sample] + 1) % count
    return torch.tensor(target, dtype=torch.long)
