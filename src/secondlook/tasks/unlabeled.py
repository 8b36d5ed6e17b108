"""Images without labels: whether an attack changes what a model says of them, and how far their embeddings drift.

Nothing is known here of what is right. The truth of each image is the model's own answer to it when
nobody attacks and nothing defends; for an embedder, that answer is which image of the set it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal

import torch
from torch import Tensor

from secondlook.data import load
from secondlook.data.base import Source
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.labels import labels
from secondlook.models.base import Classifier, Embedder, Model, evaluating
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.tasks.base import Record
from secondlook.tasks.classification import VIEW, ClassificationBatch, OpenClassification, ZeroShotTask
from secondlook.tasks.view import Column, GoalView, Table, View

SAME: Final = "unchanged"
_TOGETHER: Final = 32
_VIEW: Final = replace(
    VIEW,
    goals=(
        GoalView(
            name="untargeted",
            deed="changes the answer of",
            gauge="changed",
            columns=("correct", "wrong", "rejected", "cosine_clean_image"),
            brief=("correct", "wrong", "rejected", "cosine_clean_image"),
            restated=frozenset({"success", "accuracy", "original_top1", "coverage"}),
            drawn=("wrong", "correct"),
            drawn_note="Attackers want what stands on the left high, and what stands on the right low.",
            note="There are no labels, and nothing here says what is right. <dfn>Unchanged</dfn>: the answer is that "
            "of the bare model to the clean image (of an embedder: its own clean vector is the nearest); high is good. "
            "<dfn>Changed</dfn>: another answer is accepted. <dfn>Drift</dfn> is what the cosine of the image to "
            "itself before the attack lacks of 1.",
        ),
    ),
    columns=(
        Column(metric="correct", title=SAME, unit="share"),
        Column(metric="wrong", title="changed", unit="share"),
        Column(metric="correct_or_rejected", title=f"{SAME} or rejected", unit="share"),
        Column(metric="selective_accuracy", title=f"{SAME}, of the accepted", unit="share"),
        Column(metric="cosine_clean_image", title="cosine to clean"),
    ),
    tables=(
        Table(
            title="Drift",
            metrics=("cosine_clean_image",),
            note="The cosine of an image’s embedding to that of the clean image through the bare model.",
        ),
    ),
    kept=SAME,
)
_CAVEAT: Final = (
    "The images have no labels: every share is of answers that stay as they are on the clean images without a defense, "
    "and no figure says how often a model is right."
)


@register("task", "unlabeled")
@dataclass(frozen=True, kw_only=True)
class UnlabeledTask(ZeroShotTask):
    """Images without labels: agreement with the clean answer, and drift of the embedding.

    Attributes:
        data: images by name: ``folder:PATH``, with or without folders of classes.
        goal: ``untargeted``: any other answer than the clean one.
        samples, prompt, target, seed: see ``zeroshot``; there is no prompt without classes.
    """

    goal: Literal["untargeted"] = "untargeted"
    view: ClassVar[View] = _VIEW

    def open(self) -> OpenUnlabeled:
        """The task with its images found on disk.

        Raises:
            InvalidInput: there are fewer than two images.
        """
        source = load(self.data)
        if len(source) < 2:
            raise InvalidInput(f"data={self.data!r} has {len(source)} image; an answer can change where there are two")
        return OpenUnlabeled(self, source)


class OpenUnlabeled(OpenClassification):
    """Images whose truth is what a model says of them."""

    @property
    def chance(self) -> None:  # type: ignore[override]
        """Nobody guesses what is right: nobody knows it."""
        return None

    def __init__(self, settings: ZeroShotTask, source: Source) -> None:
        super().__init__(settings, source)
        self._matchers: dict[str, NearestImage] = {}

    def classifier(self, model: Model, prompt: str = "") -> Classifier:
        """A classifier itself; an embedder as one that says which image of the set it sees.

        Raises:
            InvalidInput: the model is neither.
        """
        if not isinstance(model, Embedder):
            return super().classifier(model, prompt)
        if model.name not in self._matchers:
            self._matchers[model.name] = NearestImage(model, self.ids, self._vectors_of(model))
        return self._matchers[model.name]

    def _vectors_of(self, model: Embedder) -> Tensor:
        """Clean vectors of all samples, ``[N, D]``."""
        found, size = [], getattr(model, "size", None)
        with torch.no_grad(), evaluating(model.modules):
            for some in torch.tensor(self.rows).split(_TOGETHER if size else 1):
                found.append(model.embed(self.source.read(some.tolist(), size).images.to(self.device)))
        return torch.cat(found)

    def batch(self, at: Sequence[int], guarded: Guarded) -> ClassificationBatch:
        """Images at the resolution of a model; their truth is what it answers, bare."""
        model = guarded.model
        assert isinstance(model, Classifier), f"{model.name} was not checked"
        rows = tuple(self.rows[each] for each in at)
        ids = tuple(self.source.ids[row] for row in rows)
        images = self.source.read(rows, model.size).images.to(self.device)
        keys = Keys.of(self.settings.seed, ids)
        truth = torch.tensor(at)
        if not isinstance(model, NearestImage):
            truth = Guarded(model).decide(images, keys.fold("clean answer")).answer.cpu()
        return ClassificationBatch(
            ids=ids, rows=rows, images=images, truth=truth, target=truth, keys=keys, classes=model.classes
        )

    def batch_key(self, guarded: Guarded) -> tuple[object, ...]:
        """The truth is the model's own."""
        return (*super().batch_key(guarded), guarded.model.name)

    def provenance(self) -> Record:
        """That nothing is known of what is right."""
        said = super().provenance()
        return {**said, "prompt": "", "caveat": " ".join(filter(None, (_CAVEAT, said["caveat"])))}


class NearestImage(Classifier):
    """An embedder that says which of some images it sees: the score of each is the cosine to its vector.

    Args:
        embedder: sees the images.
        names: of the images.
        vectors: theirs, ``[N, D]``.
    """

    cosine = True

    def __init__(self, embedder: Embedder, names: Sequence[str], vectors: Tensor) -> None:
        self.embedder, self.classes, self.vectors = embedder, tuple(names), vectors
        self.name, self.modules, self.engine = embedder.name, embedder.modules, embedder.engine
        self.size = getattr(embedder, "size", None)

    @property
    def hash(self) -> str:
        """The embedder's own."""
        return self.embedder.hash

    def to(self, device: torch.device) -> None:
        """Moves the embedder, and the vectors with it."""
        self.embedder.to(device)
        self.vectors = self.vectors.to(device)

    def features(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]``."""
        return self.embedder.embed(x)

    def scores(self, features: Tensor) -> Tensor:
        """Cosines ``[..., N]``."""
        return features @ self.vectors.T.to(features.device)

    def class_features(self, classes: Tensor) -> Tensor:
        """The vectors of some of the images, ``[B, D]``."""
        return self.vectors[labels(classes, None, len(self.classes), "classes")]
