"""An embedder as it is trained: its networks, its vectors with their gradients, its tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.hardening import losses
from secondlook.hardening.team import Team
from secondlook.models.base import Embedder, evaluating

Part = Literal["image", "all"]
SCALE = 100.0
"""The inverse temperature of a model that shows none: CLIP's own, at its bound."""
_SIDE = 224


class Student:
    """An embedder whose networks learn.

    Args:
        embedder: what is trained, in place.
        part: its image tower alone, or all of it.
        bf16: whether its encoders run in bf16; vectors and losses are fp32 all the same.
        team: the processes that train it.

    Attributes:
        network: all its networks as one.
        parameters: those that learn, by name.

    Raises:
        InvalidInput: it has no weights that its image vectors depend on.
    """

    def __init__(
        self, embedder: Embedder, part: Part, bf16: bool = False, team: Team | None = None
    ) -> None:
        self.embedder, self.bf16, self.team = embedder, bf16, team or Team()
        self.network = nn.ModuleList(embedder.modules)
        self.network.requires_grad_(True)
        tower = self._tower()
        if not tower:
            raise InvalidInput(f"{embedder.name} has no weights to train; name another model")
        self.parameters = tower if part == "image" else dict(self.network.named_parameters())
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

    def casting(self) -> torch.autocast:
        """Where the encoders run in bf16, if they shall."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def vectors(self, x: Tensor) -> Tensor:
        """Images to vectors ``[B, D]`` as the encoder gives them, in fp32."""
        with self.casting():
            out = self.embedder.encode_image(self.embedder.see(x))
        return out.float()

    def look(self, x: Tensor) -> Tensor:
        """Images to unit vectors ``[B, D]``."""
        return F.normalize(self.vectors(x), dim=-1)

    def read(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``[B, D]``, with their gradient."""
        with self.casting():
            out = self.embedder.encode_text(texts)
        return F.normalize(out.float(), dim=-1)

    def contrast(self, images: Tensor, texts: Tensor) -> Tensor:
        """InfoNCE over the pairs of the whole team, a scalar.

        Args:
            images: unit vectors ``[b, D]`` of this process's share.
            texts: those of their texts, ``[b, D]``.
        """
        everyone = self.team.gather(images), self.team.gather(texts)
        return losses.infonce(*everyone, self.scale).mean()

    def _tower(self) -> dict[str, nn.Parameter]:
        """The parameters that an image's vector depends on."""
        named = dict(self.network.named_parameters())
        if not named:
            return {}
        height, width = getattr(self.embedder, "size", None) or (_SIDE, _SIDE)
        blank = torch.full((1, 3, height, width), 0.5, device=self.device)
        with evaluating([self.network]), torch.enable_grad():
            total = self.embedder.encode_image(blank).sum()
            slopes = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        pairs = zip(named.items(), slopes, strict=True)
        return {name: weight for (name, weight), slope in pairs if slope is not None}
