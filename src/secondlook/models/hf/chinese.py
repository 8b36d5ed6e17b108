"""Chinese-CLIP: two towers, of which the one for texts is read by its first token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from secondlook.models.hf.embedder import HubEmbedder


class ChineseEmbedder(HubEmbedder):
    """Chinese-CLIP (arXiv 2211.01335).

    Release 4 of transformers asks its text tower for a pooled vector that it has no layer for, so
    the first token is projected here, as the paper and release 5 do it.
    """

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer.encode(texts, self.device)
        first = self.network.text_model(**tokens).last_hidden_state[:, 0]
        projected: Tensor = self.network.text_projection(first)
        return projected
