"""Objectives of AttackVLM: to be embedded where the target is, or to be captioned like it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.objectives.base import TransferThenQuery
from secondlook.randomness import Keys

_LARGE: Final = 1024
"""Numbers in a weight that two models do not have in common by chance."""


class AskedCaptioner(Protocol):
    """Who can be asked for captions: a guarded captioner."""

    @property
    def model(self) -> Model: ...

    @property
    def modules(self) -> Sequence[nn.Module]: ...

    def texts(self, x: Tensor, keys: Keys) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class MatchEmbedding:
    """Cosine of the image to a vector, by a surrogate (arXiv 2305.16934, section 3.2).

    With the vectors of target texts it is MF-it, with those of images of the targets MF-ii.

    Attributes:
        embedder: the surrogate.
        vectors: the targets, unit vectors ``[B, D]``.
    """

    embedder: Embedder
    vectors: Tensor

    @property
    def parts(self) -> Sequence[MatchEmbedding]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the surrogate."""
        return self.embedder.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """The cosines ``[B]``; what a victim says of them, a surrogate does not know."""
        near = (self.embedder.embed(x) * self.vectors.to(x)).sum(1)
        return Evaluation(near, torch.zeros_like(near, dtype=torch.bool))

    def take(self, rows: Tensor) -> MatchEmbedding:
        """The same objective for some of the samples."""
        return replace(self, vectors=self.vectors[rows.to(self.vectors.device)])


@dataclass(frozen=True, kw_only=True)
class MatchCaption:
    """Cosine of what the victim says to what it should say, by a text encoder: MF-tt's reward.

    The victim is only asked for captions, and every image it is asked about is a query. The reward
    has no gradient. An empty caption is worth -1.

    Attributes:
        victim: the guarded captioner, which says nothing where it holds its answer back.
        reader: whose text encoder compares.
        texts: what should be said of each image.
    """

    victim: AskedCaptioner
    reader: Embedder
    texts: tuple[str, ...]

    @property
    def parts(self) -> Sequence[MatchCaption]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim and of the reader."""
        return [*self.victim.modules, *self.reader.modules]

    @torch.no_grad()
    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """The cosines ``[B]``; reached where the captions are the targets, word for word."""
        said = self.victim.texts(x, keys.fold("caption"))
        wanted = [text.strip().lower() for text in self.texts]
        success = [text.strip().lower() == want for text, want in zip(said, wanted, strict=True)]
        return Evaluation(self._alike(said).to(x), torch.tensor(success, device=x.device))

    def _alike(self, said: Sequence[str]) -> Tensor:
        """Cosines of texts to the targets; each different text is read once."""
        known = {text: row for row, text in enumerate(dict.fromkeys([*self.texts, *said]))}
        known_texts = {text: row for text, row in known.items() if text.strip()}
        vectors = self.reader.embed_text(list(known_texts))
        at = {text: row for row, text in enumerate(known_texts)}
        near = [
            float(vectors[at[text]] @ vectors[at[want]]) if text.strip() else -1.0
            for text, want in zip(said, self.texts, strict=True)
        ]
        return torch.tensor(near)

    def take(self, rows: Tensor) -> MatchCaption:
        """The same objective for some of the samples."""
        return replace(self, texts=tuple(self.texts[row] for row in rows.tolist()))


@dataclass(frozen=True, kw_only=True)
class MatchThenAsk(TransferThenQuery):
    """To be embedded like the target, and then to be captioned like it: MF-ii, then MF-tt.

    Raises:
        InvalidInput: the surrogate is the victim, which makes no black box.
    """

    surrogate: MatchEmbedding
    victim: MatchCaption

    def __post_init__(self) -> None:
        refuse_the_victim(self.surrogate.embedder, self.victim.victim.model)


def refuse_the_victim(surrogate: Embedder, victim: Model) -> None:
    """Refuses to call an attack black-box whose surrogate shares the victim's image encoder.

    Raises:
        InvalidInput: both have the same name, or weights in common.
    """
    if surrogate.name == victim.name or _prints(surrogate) & _prints(victim):
        raise InvalidInput(
            f"surrogate {surrogate.name!r} is the victim {victim.name!r} or its own encoder, and "
            "no black box; name another surrogate, or call the attack white-box"
        )


def _prints(model: Model) -> set[bytes]:
    """What tells each large weight from others; constant ones tell nothing."""
    weights = (weight.detach() for part in model.modules for weight in part.parameters())
    return {
        hashlib.blake2b(weight.float().cpu().numpy().tobytes(), digest_size=16).digest()
        for weight in weights
        if weight.numel() >= _LARGE and float(weight.min()) < float(weight.max())
    }
