"""The network of ALBEF: an image encoder, a text encoder, and a fusion of the two."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.albef.arguments import Arguments
from secondlook.models.albef.bert import Bert
from secondlook.models.albef.vit import VisionTransformer
from secondlook.models.wordpiece import Tokens


class AlbefNetwork(nn.Module):
    """Contrastive vectors (ITC) and matching logits (ITM) (arXiv 2107.07651, sections 3.1, 3.2)."""

    def __init__(self, sizes: Arguments) -> None:
        super().__init__()
        self.visual_encoder = VisionTransformer(sizes.vision, sizes.image_res)
        self.text_encoder = Bert(sizes.bert)
        self.vision_proj = nn.Linear(sizes.vision.embed_dim, sizes.embed_dim)
        self.text_proj = nn.Linear(sizes.bert.hidden_size, sizes.embed_dim)
        self.itm_head = nn.Linear(sizes.bert.hidden_size, 2)

    def see(self, x: Tensor) -> Tensor:
        """Normalised images ``[B, 3, side, side]`` to states ``[B, 1 + N, Dv]``."""
        out: Tensor = self.visual_encoder(x)
        return out

    def read(self, tokens: Tokens) -> Tensor:
        """Tokens ``[B, L]`` to states ``[B, L, Dt]``."""
        return self.text_encoder.read(*tokens)

    def image_vectors(self, states: Tensor) -> Tensor:
        """States of images to unit vectors ``[B, D]``."""
        return F.normalize(self.vision_proj(states[:, 0]), dim=-1)

    def text_vectors(self, states: Tensor) -> Tensor:
        """States of texts to unit vectors ``[B, D]``."""
        return F.normalize(self.text_proj(states[:, 0]), dim=-1)

    def match(self, seen: Tensor, read: Tensor, mask: Tensor) -> Tensor:
        """States of ``B`` images and ``B`` texts to logits ``[B, 2]`` of no match and match."""
        out: Tensor = self.itm_head(self.text_encoder.fuse(read, mask, seen)[:, 0])
        return out
