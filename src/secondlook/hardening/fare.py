"""FARE: adversarial images keep the vectors that the original model gave the clean ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.bounds import Weight
from secondlook.hardening.base import AdversarialMethod, BatchLoss, DistanceObjective, StepContext, fare_loss
from secondlook.hardening.dataset import Batch, Dataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.models.base import evaluating
from secondlook.registry import register


@register("method", "fare")
@dataclass(frozen=True, kw_only=True)
class FARE(AdversarialMethod):
    """Unsupervised adversarial training of the image tower (Schlarmann et al. 2024).

    Attributes:
        clean_weight: share of the same loss on the clean images.
    """

    part = "image"
    need = "images"

    clean_weight: Weight = 0.0

    def make_loss(self, trainable: TrainableEmbedder, dataset: Dataset) -> BatchLoss:
        """Squared distance to the vectors of the clean images by a frozen copy of the model."""
        original = copy.deepcopy(trainable)
        original.network.requires_grad_(False)

        def loss(batch: Batch, context: StepContext) -> Tensor:
            with torch.no_grad(), evaluating([original.network]):
                targets = original.image_features(batch.images)
            attacked = self.generate(DistanceObjective(trainable=trainable, targets=targets), batch.images, context)
            value = fare_loss(trainable.image_features(attacked), targets).mean()
            if not self.clean_weight:
                return value
            clean = fare_loss(trainable.image_features(batch.images), targets).mean()
            return self.clean_weight * clean + (1 - self.clean_weight) * value

        return loss
