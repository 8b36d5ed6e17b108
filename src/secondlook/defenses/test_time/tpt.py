"""TPT: a prompt tuned to what an image's clearest views say together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.defenses.adaptation import zero_shot
from secondlook.defenses.test_time.dbd import entropy
from secondlook.defenses.test_time.prompts import PromptTuning, TunedPrompt
from secondlook.models.base import Model
from secondlook.registry import register


class SharedEntropy(TunedPrompt):
    """The entropy of the views' mean distribution is descended; the image's own view is answered for."""

    def doubt(self, logits: Tensor) -> Tensor:
        """The entropy of the mean of the distributions."""
        return shared_entropy(logits)

    def shares(self, vectors: Tensor) -> Tensor:
        """1 for the image itself."""
        return torch.zeros_like(vectors[..., 0]).index_fill(1, torch.zeros(1).long().to(vectors.device), 1)


def shared_entropy(logits: Tensor) -> Tensor:
    """Of the mean of the distributions of an image's views, ``[B, V, K] -> [B]``, in nats."""
    return entropy(logits.log_softmax(-1).logsumexp(1))


@register("defense", "tpt")
@dataclass(frozen=True, kw_only=True)
class TPT(PromptTuning):
    """Tunes the prompt to what an image's clearest views say together (TPT, NeurIPS 2022, arXiv 2209.07511).

    Made for other data, not against attacks, it is what defenses by prompt tuning are measured beside,
    and what TAPT is without its trained prompts and its statistics. One step of AdamW on the context's
    token vectors descends the entropy of the mean distribution of the clearest views; the image itself
    is then answered for. It costs ``crops + 1`` forwards of the image tower, and of the text tower
    three forwards and a backward for each class.

    Attributes:
        crops, share, least, rate, decay, temperature, prompt: see ``PromptTuning``.

    Raises:
        InvalidInput: a number out of range, too few views, or, in front of a model, no embedder with
            classes, or a text tower that cannot be tuned.
    """

    def adaptation(self, model: Model) -> SharedEntropy:
        """The tuned prompt of a zero-shot classifier."""
        return SharedEntropy(zero_shot(model, "tpt"), self)
