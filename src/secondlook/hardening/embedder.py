"""An embedder in training: its vectors with their gradients, and which parameters are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.hardening.distributed import ProcessGroup
from secondlook.models.base import Embedder, evaluating

Part = Literal["image", "all"]
SCALE = 100.0
"""The inverse temperature of a model that shows none: CLIP's own, at its bound."""
_SIDE = 224


class TrainableEmbedder:
    """An embedder whose networks are trained.

    Args:
        embedder: what is trained, in place.
        part: its image tower alone, or all of it.
        bf16: whether its encoders run in bf16; vectors and losses are fp32 all the same.
        processes: those that train it, together.

    Attributes:
        network: all its networks as one.
        parameters: those that are trained, by name.

    Raises:
        InvalidInput: it has no weights that its image vectors depend on.
    """

    def __init__(
        self, embedder: Embedder, part: Part, bf16: bool = False, processes: ProcessGroup | None = None
    ) -> None:
        self.embedder, self.bf16, self.processes = embedder, bf16, processes or ProcessGroup()
        self.network = nn.ModuleList(embedder.modules)
        self.network.requires_grad_(True)
        of_images = self._image_parameters()
        if not of_images:
            raise InvalidInput(f"{embedder.name} has no weights to train; name another model")
        self.parameters = of_images if part == "image" else dict(self.network.named_parameters())
        self.network.requires_grad_(False)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def scale(self) -> Tensor:
        """The model's own inverse temperature, with its gradient; 100 where it shows none."""
        for name, parameter in self.network.named_parameters():
            if name.rpartition(".")[2] in ("logit_scale", "log_scale") and parameter.numel() == 1:
                return parameter.exp().clamp(max=SCALE).reshape(())
        return torch.tensor(SCALE, device=self.device)

    def autocast(self) -> torch.autocast:
        """Where the encoders run in bf16, if they shall."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def image_features(self, x: Tensor) -> Tensor:
        """Images to vectors ``[B, D]`` as the encoder gives them, in fp32."""
        with self.autocast():
            out = self.embedder.encode_image(self.embedder.checked_input(x))
        return out.float()

    def embed_images(self, x: Tensor) -> Tensor:
        """Images to unit vectors ``[B, D]``."""
        return F.normalize(self.image_features(x), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``[B, D]``, with their gradient."""
        with self.autocast():
            out = self.embedder.encode_text(texts)
        return F.normalize(out.float(), dim=-1)

    def contrast(self, images: Tensor, texts: Tensor) -> Tensor:
        """InfoNCE over the pairs of all processes, a scalar.

        Args:
            images: unit vectors ``[b, D]`` of this process's shard.
            texts: those of their texts, ``[b, D]``.
        """
        everyone = self.processes.gather(images), self.processes.gather(texts)
        return info_nce(*everyone, self.scale).mean()

    def _image_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that an image's vector depends on."""
        named = dict(self.network.named_parameters())
        if not named:
            return {}
        height, width = getattr(self.embedder, "size", None) or (_SIDE, _SIDE)
        blank = torch.full((1, 3, height, width), 0.5, device=self.device)
        with evaluating([self.network]), torch.enable_grad():
            total = self.embedder.encode_image(blank).sum()
            gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        pairs = zip(named.items(), gradients, strict=True)
        return {name: weight for (name, weight), gradient in pairs if gradient is not None}


def info_nce(images: Tensor, texts: Tensor, scale: float | Tensor) -> Tensor:
    """Contrastive loss of matched pairs in both directions, ``[B]`` (Radford et al. 2021).

    Args:
        images: unit vectors ``[B, D]``.
        texts: unit vectors ``[B, D]``, in the same order.
        scale: inverse temperature.
    """
    logits = scale * images @ texts.T
    own = torch.arange(len(images), device=images.device)
    image_to_text, text_to_image = (F.cross_entropy(each, own, reduction="none") for each in (logits, logits.T))
    return (image_to_text + text_to_image) / 2
