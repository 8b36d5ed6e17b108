"""Plain fine-tuning: the contrastive loss on clean pairs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secondlook.hardening.base import BatchLoss, Method, StepContext
from secondlook.hardening.dataset import Batch, Dataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.registry import register


@register("method", "clean")
@dataclass(frozen=True, kw_only=True)
class Clean(Method):
    """Contrastive fine-tuning of both towers on clean pairs: what the others are compared with."""

    part = "all"
    need = "captions"

    def make_loss(self, trainable: TrainableEmbedder, dataset: Dataset) -> BatchLoss:
        """InfoNCE between the images and one caption of each."""

        def loss(batch: Batch, context: StepContext) -> Tensor:
            texts = trainable.embed_texts(batch.pick_captions(context.keys))
            return trainable.contrast(trainable.embed_images(batch.images), texts)

        return loss
