"""What AttackVLM wants: to be embedded where its target is, or to be captioned like it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Judged
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.randomness import Keys

_LARGE: Final = 1024
"""Numbers in a weight that two models do not have in common by chance."""


class Speaker(Protocol):
    """Who can be asked for captions: a captioner, or one behind a detector."""

    @property
    def name(self) -> str: ...
    @property
    def modules(self) -> Sequence[nn.Module]: ...
    @property
    def caption(self) -> Callable[..., list[str]]: ...


@dataclass(frozen=True, kw_only=True)
class Resemble:
    """Cosine of the image to a vector, by a surrogate's eye (arXiv 2305.16934, section 3.2).

    With the vectors of target texts it is MF-it, with those of images of the targets MF-ii.

    Attributes:
        embedder: the surrogate.
        vectors: the targets, unit vectors ``[B, D]``.
    """

    embedder: Embedder
    vectors: Tensor

    @property
    def parts(self) -> Sequence[Resemble]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the surrogate."""
        return self.embedder.modules

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """The cosines ``[B]``; what a victim says of them, a surrogate does not know."""
        near = (self.embedder.embed(x) * self.vectors.to(x)).sum(1)
        return Judged(near, torch.zeros_like(near, dtype=torch.bool))

    def take(self, rows: Tensor) -> Resemble:
        """The same objective for some of the samples."""
        return replace(self, vectors=self.vectors[rows.to(self.vectors.device)])


@dataclass(frozen=True, kw_only=True)
class Echo:
    """Cosine of what the victim says to what it should say, by a text encoder: MF-tt's reward.

    The victim is only asked for captions, and every image it is asked about is a query. The reward
    has no gradient. An empty caption is worth -1.

    Attributes:
        captioner: the victim.
        reader: whose text encoder compares.
        texts: what should be said of each image.
        said: how captions are written, as the keywords of ``Captioner.caption``.
    """

    captioner: Speaker
    reader: Embedder
    texts: tuple[str, ...]
    said: dict[str, Any] = field(default_factory=lambda: {"length": 40})

    @property
    def parts(self) -> Sequence[Echo]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim and of the reader."""
        return [*self.captioner.modules, *self.reader.modules]

    @torch.no_grad()
    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """The cosines ``[B]``; reached where the captions are the targets, word for word."""
        said = self.captioner.caption(x, keys.fold("caption"), **self.said)
        wanted = [text.strip().lower() for text in self.texts]
        reached = [text.strip().lower() == want for text, want in zip(said, wanted, strict=True)]
        return Judged(self._alike(said).to(x), torch.tensor(reached, device=x.device))

    def _alike(self, said: Sequence[str]) -> Tensor:
        """Cosines of texts to the targets; each different text is read once."""
        known = {text: row for row, text in enumerate(dict.fromkeys([*self.texts, *said]))}
        spoken = {text: row for text, row in known.items() if text.strip()}
        vectors = self.reader.embed_text(list(spoken))
        at = {text: row for row, text in enumerate(spoken)}
        near = [
            float(vectors[at[text]] @ vectors[at[want]]) if text.strip() else -1.0
            for text, want in zip(said, self.texts, strict=True)
        ]
        return torch.tensor(near)

    def take(self, rows: Tensor) -> Echo:
        """The same objective for some of the samples."""
        return replace(self, texts=tuple(self.texts[row] for row in rows.tolist()))


@dataclass(frozen=True, kw_only=True)
class Relay:
    """A transfer stage and a query stage; an attack that knows only one climbs the last.

    Attributes:
        surrogate: what the first stage climbs by gradients.
        victim: what the second stage asks.

    Raises:
        InvalidInput: the surrogate is the victim, which makes no black box.
    """

    surrogate: Resemble
    victim: Echo

    def __post_init__(self) -> None:
        refuse_the_victim(self.surrogate.embedder, self.victim.captioner)

    @property
    def parts(self) -> Sequence[Resemble | Echo]:
        """Both stages, in their order."""
        return (self.surrogate, self.victim)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of both."""
        return [*self.surrogate.modules, *self.victim.modules]

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """What the victim's stage says."""
        return self.victim(x, keys)

    def take(self, rows: Tensor) -> Relay:
        """The same objective for some of the samples."""
        return Relay(surrogate=self.surrogate.take(rows), victim=self.victim.take(rows))


def refuse_the_victim(surrogate: Embedder, victim: Speaker) -> None:
    """Refuses to call an attack black-box whose surrogate looks through the victim's own eyes.

    Raises:
        InvalidInput: both have the same name, or weights in common.
    """
    if surrogate.name == victim.name or _prints(surrogate) & _prints(victim):
        raise InvalidInput(
            f"surrogate {surrogate.name!r} is the victim {victim.name!r} or its own eye, and no "
            "black box; name another surrogate, or call the attack white-box"
        )


def _prints(model: Model | Speaker) -> set[bytes]:
    """What tells each large weight from others; constant ones tell nothing."""
    weights = (weight.detach() for part in model.modules for weight in part.parameters())
    return {
        hashlib.blake2b(weight.float().cpu().numpy().tobytes(), digest_size=16).digest()
        for weight in weights
        if weight.numel() >= _LARGE and float(weight.min()) < float(weight.max())
    }
