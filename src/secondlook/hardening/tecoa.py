"""TeCoA: class texts, or captions, as the labels of adversarial images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.bounds import Weight
from secondlook.hardening.base import AdversarialMethod, BatchLoss, CrossEntropyObjective, StepContext, tecoa_loss
from secondlook.hardening.dataset import Batch, Dataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.models.base import evaluating
from secondlook.registry import register


@register("method", "tecoa")
@dataclass(frozen=True, kw_only=True)
class TeCoA(AdversarialMethod):
    """Text-guided contrastive adversarial training of the image tower (Mao et al. 2023).

    Attributes:
        scale: what the cosines are multiplied by; 0 takes the model's own temperature.
        clean_weight: share of the same loss on the clean images.
    """

    part = "image"
    need = "classes"

    scale: Weight = 0.0
    clean_weight: Weight = 0.0

    def make_loss(self, trainable: TrainableEmbedder, dataset: Dataset) -> BatchLoss:
        """Cross-entropy on what the attack made; the class texts are embedded once."""
        texts = trainable.embedder.embed_text(dataset.texts())
        scale = self.scale or float(trainable.scale)

        def loss(batch: Batch, context: StepContext) -> Tensor:
            objective = CrossEntropyObjective(trainable=trainable, texts=texts, truth=batch.truth, scale=scale)
            attacked = self.generate(objective, batch.images, context)
            value = tecoa_loss(trainable.image_features(attacked), texts, batch.truth, scale).mean()
            if not self.clean_weight:
                return value
            clean = tecoa_loss(trainable.image_features(batch.images), texts, batch.truth, scale).mean()
            return self.clean_weight * clean + (1 - self.clean_weight) * value

        return loss


@register("method", "tecoa-itr")
@dataclass(frozen=True, kw_only=True)
class TeCoARetrieval(AdversarialMethod):
    """Contrastive training of both towers, on images that were attacked (arXiv 2405.18770).

    The attack maximizes the cross-entropy of each image over the captions of its batch.
    """

    part = "all"
    need = "captions"

    def make_loss(self, trainable: TrainableEmbedder, dataset: Dataset) -> BatchLoss:
        """InfoNCE between what the attack made and one caption of each image."""

        def loss(batch: Batch, context: StepContext) -> Tensor:
            captions = batch.pick_captions(context.keys)
            with torch.no_grad(), evaluating([trainable.network]):
                texts, scale = (trainable.processes.gather(trainable.embed_texts(captions)), trainable.scale)
            first = trainable.processes.rank * len(captions)
            own = torch.arange(first, first + len(captions), device=texts.device)
            objective = CrossEntropyObjective(trainable=trainable, texts=texts, truth=own, scale=scale)
            images = trainable.embed_images(self.generate(objective, batch.images, context))
            return trainable.contrast(images, trainable.embed_texts(captions))

        return loss
