"""Several embedders that compare an image with paintings, all of them or a few drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secondlook.defenses.mirrors import Mirrors, embedded
from secondlook.defenses.noisy import shaken
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.randomness import Keys


def many(given: Any, kind: type, field: str, example: str) -> tuple[Any, ...]:
    """The models that ``given`` names or holds: a name, several with commas, or objects.

    Raises:
        InvalidInput: there is none, one is of another kind, or one is there twice.
    """
    listed = given.split(",") if isinstance(given, str) else given
    listed = listed if isinstance(listed, list | tuple) else [listed]
    made = tuple(load(each.strip()) if isinstance(each, str) else each for each in listed)
    for each in made:
        if not isinstance(each, kind):
            raise InvalidInput(
                f"{field}={getattr(each, 'name', each)!r} is no {kind.__name__.lower()}; "
                f"try {example}"
            )
    names = [each.name for each in made]
    if not made or len(set(names)) < len(names):
        raise InvalidInput(f"{field}={', '.join(names)!r} must name one or more, each once")
    return made


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """Embedders that look at an image and at what was painted of its caption.

    Attributes:
        encoders: the embedders, E of them.
        choose: how many of them, drawn at random for each input, look at it; 0 is all.
        sigma: deviation of the noise that each parameter carries for the one look.
        legacy: draw the subset and the noise once, for all inputs of the run: what the published
            code does (arXiv 2406.09250), though it calls the noise one-time-use.
        seed: of the draws of ``legacy``.

    Raises:
        InvalidInput: fewer encoders than are to be chosen, or a negative deviation.
    """

    encoders: tuple[Embedder, ...]
    choose: int = 0
    sigma: float = 0.0
    legacy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.choose <= len(self.encoders):
            raise InvalidInput(
                f"choose={self.choose} of {len(self.encoders)} encoder(s); write 1 to "
                f"{len(self.encoders)}, or 0 for all"
            )
        if not 0 <= self.sigma < float("inf"):
            raise InvalidInput(f"sigma={self.sigma:g} must be 0 or more; the paper has 5e-6")

    @property
    def stochastic(self) -> bool:
        """Whether two looks at one input may differ."""
        drawn = self.sigma > 0 or 0 < self.choose < len(self.encoders)
        return drawn and not self.legacy

    def likeness(self, x: Tensor, mirrors: Mirrors, keys: Keys) -> Tensor:
        """Mean cosine of each image to its paintings, over the eyes that look: ``[B]``.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1]; the likeness is differentiable in them.
            mirrors: what was painted of each image's caption.
            keys: one for each image.
        """
        keys = Keys.of(self.seed, ["run"] * len(x)) if self.legacy else keys
        looks = self._chosen(keys)
        total = x.new_zeros(len(x))
        for number, encoder in enumerate(self.encoders):
            rows = torch.nonzero(looks[:, number]).flatten()
            if len(rows):
                whole = len(rows) == len(x)
                near = self._compared(
                    encoder, x if whole else x[rows.to(x.device)],
                    mirrors if whole else mirrors.take(rows), keys[rows],
                )  # fmt: skip
                total = total.index_add(0, rows.to(x.device), near)
        return total / looks.sum(1).to(total)

    def _chosen(self, keys: Keys) -> Tensor:
        """Who looks at what, ``[B, E]`` bool."""
        every = len(self.encoders)
        if not self.choose:
            return torch.ones(len(keys), every, dtype=torch.bool)
        ranks = keys.fold("eyes").uniform((every,)).argsort(1).argsort(1)
        return ranks < self.choose

    def _compared(self, encoder: Embedder, x: Tensor, mirrors: Mirrors, keys: Keys) -> Tensor:
        """Mean cosine over the paintings, ``[R]``, by one encoder."""
        if not self.sigma:
            return _near(encoder.embed(x), mirrors.seen_by(encoder))
        folded = keys.fold("noise", encoder.name)
        if self.legacy:
            return self._shaken(encoder, x, mirrors.pictures, folded[:1])
        rows = [slice(row, row + 1) for row in range(len(x))]
        parts = [self._shaken(encoder, x[r], mirrors.pictures[r], folded[r]) for r in rows]
        return torch.cat(parts)

    def _shaken(self, encoder: Embedder, x: Tensor, pictures: Tensor, key: Keys) -> Tensor:
        """The same under one noise, which the images and their paintings share."""
        with shaken(encoder.modules, self.sigma, key):
            return _near(encoder.embed(x), embedded(encoder, pictures))


def _near(seen: Tensor, painted: Tensor) -> Tensor:
    """Mean cosine of vectors ``[R, D]`` to ``[R, P, D]``."""
    return (seen[:, None] * painted.to(seen.device)).sum(-1).mean(1)
