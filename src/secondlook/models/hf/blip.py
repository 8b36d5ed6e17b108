"""BLIP: an embedder by its contrastive heads, and a matcher of pairs by its fusion encoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from secondlook.models.hf.embedder import HubEmbedder
from secondlook.models.matcher import Matcher


class BlipEmbedder(HubEmbedder, Matcher):
    """BLIP for retrieval (arXiv 2201.12086): ITC vectors to search, ITM to rank again.

    As in transformers, the fused text begins with the token that it begins with alone.
    """

    def encode_image(self, x: Tensor) -> Tensor:
        projected: Tensor = self.network.vision_proj(self._seen(x)[:, 0])
        return projected

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer.encode(texts, self.device)
        first: Tensor = self.network.text_encoder(**tokens).last_hidden_state[:, 0]
        projected: Tensor = self.network.text_proj(first)
        return projected

    def encode_pairs(self, x: Tensor, texts: Sequence[str], pairs: Tensor) -> Tensor:
        images, rows = pairs.unbind(1)
        tokens = self.tokenizer.encode(texts, self.device)
        seen = self._seen(x)[images]
        fused = self.network.text_encoder(
            **{key: value[rows.to(value.device)] for key, value in tokens.items()},
            encoder_hidden_states=seen, encoder_attention_mask=seen.new_ones(seen.shape[:2]),
        ).last_hidden_state  # fmt: skip
        logits: Tensor = self.network.itm_head(fused[:, 0])
        return logits

    def _seen(self, x: Tensor) -> Tensor:
        """The tokens of the image tower, ``[B, L, D]``."""
        tokens: Tensor = self.network.vision_model(self.preprocessing(x)).last_hidden_state
        return tokens
