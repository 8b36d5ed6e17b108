"""Models that look at an image and a text together and tell whether the two belong together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Model


class Matcher(Model):
    """Image-text matching (ITM): the second, slower look that re-ranks what cosines have found."""

    @abstractmethod
    def encode_pairs(self, x: Tensor, texts: Sequence[str], pairs: Tensor) -> Tensor:
        """Logits ``[P, 2]`` of *no match* and *match*; each image and text is encoded once.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            texts: ``T`` texts.
            pairs: ``[P, 2]``, the row of an image and the row of a text.
        """

    def match_logits(self, x: Tensor, texts: Sequence[str], pairs: Tensor | None = None) -> Tensor:
        """Logits ``[P, 2]`` in fp32, differentiable in ``x``; papers re-rank by the second alone.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            texts: ``T`` texts.
            pairs: ``[P, 2]``, the row of an image and the row of a text; None pairs row by row.

        Raises:
            InvalidInput: bad pixels; no pairs, and not as many texts as images; a row out of range.
        """
        x = self.see(x)
        if pairs is None:
            if len(texts) != len(x):
                raise InvalidInput(
                    f"{len(x)} image(s) and {len(texts)} text(s) do not pair; give pairs"
                )
            pairs = torch.arange(len(x))[:, None].expand(-1, 2)
        self._check(pairs, len(x), len(texts))
        return self.encode_pairs(x, texts, pairs.to(x.device)).float()

    def match(self, x: Tensor, texts: Sequence[str], pairs: Tensor | None = None) -> Tensor:
        """The probability ``[P]`` that image and text belong together; see :meth:`match_logits`."""
        return self.match_logits(x, texts, pairs).softmax(-1)[:, 1]

    def _check(self, pairs: Tensor, images: int, texts: int) -> None:
        fits = pairs.dim() == 2 and pairs.shape[1] == 2 and not pairs.is_floating_point()
        if not fits or (pairs < 0).any() or (pairs >= pairs.new_tensor([images, texts])).any():
            raise InvalidInput(
                f"pairs of {self.name} must be [P, 2]: rows of {images} images, of {texts} texts"
            )
