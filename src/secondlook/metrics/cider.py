"""CIDEr-D: consensus of a caption with its references (Vedantam et al. 2015, arXiv 1411.5726)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from secondlook.errors import InvalidInput
from secondlook.metrics.ngrams import MAX_N, NGram, ngrams, paired, words

SIGMA: Final = 6.0
"""Deviation, in words, of the Gaussian that a difference in length is punished by."""
SCALE: Final = 10.0
"""A caption that is its image's only reference scores this."""


class Weighed(NamedTuple):
    """A text as tf-idf weights of its n-grams, one table for each n.

    Attributes:
        weights: count times log(images / images that have the n-gram).
        norms: the Euclidean length of each table.
        length: of the text in words.
    """

    weights: tuple[dict[NGram, float], ...]
    norms: tuple[float, ...]
    length: int


@dataclass(frozen=True, kw_only=True)
class Cider:
    """The references of a set of images, weighed once; captions are scored against them.

    An n-gram of many images' references weighs little, one of all images nothing. The
    weights are those of the whole set, so that scores of two sets do not compare.

    Attributes:
        references: for each image its texts, weighed.
        bearers: in how many images' references each n-gram occurs.
    """

    references: tuple[tuple[Weighed, ...], ...]
    document_frequency: Counter[NGram]

    @classmethod
    def of(cls, references: Sequence[Sequence[str]]) -> Cider:
        """Weighs the references, one or more for each image.

        Raises:
            InvalidInput: fewer than two images, or an image without a reference.
        """
        if len(references) < 2:
            raise InvalidInput(
                f"CIDEr of {len(references)} image(s); it weighs words by how few images have "
                "them, which needs two or more"
            )
        paired([""] * len(references), references)
        document_frequency = Counter(ngram for texts in references for ngram in _all_ngrams(texts))
        weighed = tuple(
            tuple(_weighed(text, document_frequency, len(references)) for text in texts) for texts in references
        )
        return cls(references=weighed, document_frequency=document_frequency)

    def scores(self, candidates: Sequence[str], images: Sequence[int] = ()) -> list[float]:
        """The score of each caption, from 0 on; 10 where it equals all references of its image.

        Args:
            candidates: one caption for each image.
            images: the images that they are of, by position; empty takes all of them in order.

        Raises:
            InvalidInput: not as many captions as images.

        Example:
            >>> cider = Cider.of([["a red cat"], ["a blue dog on a mat"]])
            >>> [round(score, 6) for score in cider.scores(["a red cat", "a red cat"])]
            [7.5, 0.0]
        """
        which = images or range(len(self.references))
        if isinstance(candidates, str) or len(candidates) != len(which):
            raise InvalidInput(f"{len(candidates)} caption(s) for {len(which)} image(s)")
        return [
            self._score(_weighed(text, self.document_frequency, len(self.references)), self.references[image])
            for text, image in zip(candidates, which, strict=True)
        ]

    def between(self, candidate: str, reference: str) -> float:
        """The score of one text against one other, words weighed as in these references."""
        texts = (_weighed(text, self.document_frequency, len(self.references)) for text in (candidate, reference))
        return SCALE * _similarity(*texts)

    def _score(self, candidate: Weighed, references: Sequence[Weighed]) -> float:
        return SCALE * sum(_similarity(candidate, reference) for reference in references) / len(references)


def _all_ngrams(texts: Sequence[str]) -> set[NGram]:
    return {ngram for text in texts for length in range(1, MAX_N + 1) for ngram in ngrams(words(text), length)}


def _weighed(text: str, document_frequency: Counter[NGram], images: int) -> Weighed:
    tokens = words(text)
    weights = tuple(
        {ngram: times * math.log(images / max(1, document_frequency[ngram])) for ngram, times in found.items()}
        for found in (ngrams(tokens, length) for length in range(1, MAX_N + 1))
    )
    norms = tuple(math.hypot(*table.values()) for table in weights)
    return Weighed(weights, norms, len(tokens))


def _similarity(candidate: Weighed, reference: Weighed) -> float:
    """Mean over n of the clipped cosine, times the penalty for a different length."""
    close = math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2))
    cosines = map(_clipped_cosine, candidate.weights, reference.weights, candidate.norms, reference.norms)
    return close * sum(cosines) / MAX_N


def _clipped_cosine(candidate: dict[NGram, float], reference: dict[NGram, float], long: float, other: float) -> float:
    """An n-gram that is more frequent in the candidate than in the reference is clipped."""
    if not long or not other:
        return 0.0
    # In the order of the words: that of a set changes with each process, and with it the last digit of the sum.
    shared = sum(
        min(weight, reference[ngram]) * reference[ngram] for ngram, weight in candidate.items() if ngram in reference
    )
    return shared / (long * other)
