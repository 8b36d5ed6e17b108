"""Images made of captions, and the encoders that compare an input with them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from secondlook.defenses.weight_noise import with_weight_noise
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, resized
from secondlook.models.painter import Painter, strokes
from secondlook.randomness import Keys
from secondlook.threat import LEVELS

_log = logging.getLogger(__name__)


class RegeneratedImages:
    """Paintings of the captions of a batch; each is embedded once by each encoder.

    Args:
        pictures: ``[B, P, 3, h, w]`` in [0, 1].
        labels: what tells each of the ``B * P`` from others; equal ones are equal pictures.
        known: vectors that were seen before, by label and embedder; it is added to.
    """

    def __init__(
        self, pictures: Tensor, labels: Sequence[Hashable] = (), known: dict[Hashable, dict[str, Tensor]] | None = None
    ) -> None:
        self.pictures = pictures
        self._labels = list(labels or range(pictures.shape[0] * pictures.shape[1]))
        self._known = {} if known is None else known

    def __len__(self) -> int:
        return len(self.pictures)

    def embedded_by(self, encoder: Embedder) -> Tensor:
        """Unit vectors ``[B, P, D]`` of the pictures, without a gradient."""
        fresh = {label: row for row, label in enumerate(self._labels) if encoder.name not in self._known.get(label, {})}
        if fresh:
            flat = self.pictures.flatten(0, 1)[list(fresh.values())]
            for label, vector in zip(fresh, embedded(encoder, flat[:, None])[:, 0], strict=True):
                self._known.setdefault(label, {})[encoder.name] = vector
        seen = torch.stack([self._known[label][encoder.name] for label in self._labels])
        vectors: Tensor = seen.unflatten(0, self.pictures.shape[:2])
        return vectors

    def take(self, rows: Tensor) -> RegeneratedImages:
        """Those of some of the samples."""
        each = self.pictures.shape[1]
        labels = [self._labels[row * each + copy] for row in rows.tolist() for copy in range(each)]
        return RegeneratedImages(self.pictures[rows.to(self.pictures.device)], labels, self._known)


@torch.no_grad()
def embedded(encoder: Embedder, pictures: Tensor) -> Tensor:
    """Unit vectors ``[B, P, D]`` of pictures ``[B, P, 3, h, w]``."""
    vectors: Tensor = encoder.embed(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
    return vectors


@dataclass(frozen=True, kw_only=True)
class ImageCache:
    """Paints captions, some times each, by one painter or one of several drawn for each input.

    A painting is a function of its painter, its caption and its number under ``seed``: whoever
    asks again gets the same, and what lies in the cache is what would be painted anew. Pixels are
    rounded to 8 bits, so that it takes no more memory than a file of pixels.

    Attributes:
        painters: who paints.
        paintings: of each caption, P.
        seed: of the painters' draws.
        steps: of a painting, and ``guidance``; 0 and below 0 take the painter's own.
        guidance: see ``steps``.
        kept: paintings that are kept at most; the oldest go first.
        batch: captions that are painted together.

    Raises:
        InvalidInput: no painting at all, or a negative number of steps.
    """

    painters: tuple[Painter, ...]
    paintings: int = 1
    seed: int = 0
    steps: int = 0
    guidance: float = -1.0
    kept: int = 4096
    batch: int = 32
    _cache: dict[Any, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _known: dict[Hashable, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.paintings < 1 or self.steps < 0 or self.batch < 1:
            raise InvalidInput(
                f"paintings={self.paintings}, steps={self.steps}, batch={self.batch}: write 1 "
                "painting or more, 0 steps for the painter's own, and a batch of 1 or more"
            )

    @property
    def stochastic(self) -> bool:
        """Whether the painter of an input is drawn."""
        return len(self.painters) > 1

    def forget(self) -> None:
        """Keeps nothing of what was painted."""
        self._cache.clear()
        self._known.clear()

    def regenerate(self, captions: Sequence[str], keys: Keys) -> RegeneratedImages:
        """P paintings of each caption, all of the first painter's size.

        Args:
            captions: one for each input, none of them empty.
            keys: one for each input; they choose the painter, where there are several.

        Raises:
            InvalidInput: a painter fails, or paints what is no picture.
        """
        chosen = keys.fold("painter").integers(len(self.painters))
        wanted = [
            (number, caption, copy)
            for number, caption in zip(chosen, captions, strict=True)
            for copy in range(self.paintings)
        ]
        missing = [each for each in dict.fromkeys(wanted) if each not in self._cache]
        for number, painter in enumerate(self.painters):
            own = [each for each in missing if each[0] == number]
            for some in (own[at : at + self.batch] for at in range(0, len(own), self.batch)):
                self._cache.update(zip(some, self._painted(painter, some), strict=True))
        flat = torch.stack([self._cache[each] for each in wanted]).float() / LEVELS
        self._evict()
        pictures = flat.unflatten(0, (len(captions), self.paintings))
        return RegeneratedImages(pictures, wanted, self._known)

    def _painted(self, painter: Painter, wanted: Sequence[tuple[int, str, int]]) -> Iterator[Tensor]:
        """The pixels of some paintings of one painter, ``[3, h, w]`` in 8 bits each."""
        texts = [caption for _, caption, _ in wanted]
        keys = strokes(painter, texts, [copy for *_, copy in wanted], self.seed)
        guidance = None if self.guidance < 0 else self.guidance
        made = painter.paint(texts, keys, steps=self.steps or None, guidance=guidance)
        _warn_of_context(painter, texts)
        return iter((resized(made, *self.painters[0].size) * LEVELS).round().byte().cpu())

    def _evict(self) -> None:
        while len(self._cache) > self.kept:
            oldest = next(iter(self._cache))
            del self._cache[oldest]
            self._known.pop(oldest, None)


def _warn_of_context(painter: Painter, texts: Sequence[str]) -> None:
    """Says how many captions lose their end, where the painter tells how much it reads."""
    long = [text for text in texts if painter.truncates(text)]
    if long:
        _log.warning(
            "%s reads no more than a part of %d of %d captions; the longest has %d words",
            painter.name,
            len(long),
            len(texts),
            max(len(text.split()) for text in long),
        )


@dataclass(frozen=True, kw_only=True)
class EncoderEnsemble:
    """Embedders that compare an image with what was painted of its caption.

    Attributes:
        encoders: the embedders, E of them.
        choose: how many of them, drawn at random for each input, compare it; 0 is all.
        sigma: deviation of the noise that each parameter carries for one comparison.
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
        """Whether two comparisons of one input may differ."""
        drawn = self.sigma > 0 or 0 < self.choose < len(self.encoders)
        return drawn and not self.legacy

    def similarity(self, x: Tensor, images: RegeneratedImages, keys: Keys) -> Tensor:
        """Mean cosine of each image to its paintings, over the encoders that are drawn: ``[B]``.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1]; the similarity is differentiable in them.
            images: what was painted of each image's caption.
            keys: one for each image.
        """
        keys = Keys.of(self.seed, ["run"] * len(x)) if self.legacy else keys
        drawn = self._drawn(keys)
        total = x.new_zeros(len(x))
        for number, encoder in enumerate(self.encoders):
            rows = torch.nonzero(drawn[:, number]).flatten()
            if len(rows):
                whole = len(rows) == len(x)
                near = self._compared(
                    encoder, x if whole else x[rows.to(x.device)], images if whole else images.take(rows), keys[rows]
                )
                total = total.index_add(0, rows.to(x.device), near.to(total))
        return total / drawn.sum(1).to(total)

    def _drawn(self, keys: Keys) -> Tensor:
        """Which encoders are drawn for each input, ``[B, E]`` bool."""
        every = len(self.encoders)
        if not self.choose:
            return torch.ones(len(keys), every, dtype=torch.bool)
        ranks = keys.fold("eyes").uniform((every,)).argsort(1).argsort(1)
        return ranks < self.choose

    def _compared(self, encoder: Embedder, x: Tensor, images: RegeneratedImages, keys: Keys) -> Tensor:
        """Mean cosine over the paintings, ``[R]``, by one encoder."""
        if not self.sigma:
            return _mean_cosine(encoder.embed(x), images.embedded_by(encoder))
        folded = keys.fold("noise", encoder.name)
        if self.legacy:
            return self._with_noise(encoder, x, images.pictures, folded[:1])
        rows = [slice(row, row + 1) for row in range(len(x))]
        parts = [self._with_noise(encoder, x[r], images.pictures[r], folded[r]) for r in rows]
        return torch.cat(parts)

    def _with_noise(self, encoder: Embedder, x: Tensor, pictures: Tensor, key: Keys) -> Tensor:
        """The same under one noise, which the images and their paintings share."""
        with with_weight_noise(encoder.modules, self.sigma, key):
            return _mean_cosine(encoder.embed(x), embedded(encoder, pictures))


def _mean_cosine(seen: Tensor, painted: Tensor) -> Tensor:
    """Mean cosine of vectors ``[R, D]`` to ``[R, P, D]``."""
    return (seen[:, None] * painted.to(seen.device)).sum(-1).mean(1)
