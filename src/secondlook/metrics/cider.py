"""CIDEr-D: how much of what people say of an image a caption says too (arXiv 1411.5726)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from secondlook.errors import InvalidInput
from secondlook.metrics.ngrams import LONGEST, Run, paired, runs, words

SIGMA: Final = 6.0
"""Deviation, in words, of the Gaussian that a difference in length is punished by."""
SCALE: Final = 10.0
"""A caption that is its image's only reference scores this."""


class Weighed(NamedTuple):
    """A text as tf-idf weights of its runs, one table for each length of a run.

    Attributes:
        weights: count times log(images / images that have the run).
        norms: the Euclidean length of each table.
        length: of the text in words.
    """

    weights: tuple[dict[Run, float], ...]
    norms: tuple[float, ...]
    length: int


@dataclass(frozen=True, kw_only=True)
class Cider:
    """The references of a set of images, weighed once; captions are scored against them.

    A run of words that many images' references have weighs little, one that all have nothing. The
    weights are those of the whole set, so that scores of two sets do not compare.

    Attributes:
        references: for each image its texts, weighed.
        bearers: in how many images' references each run comes.
    """

    references: tuple[tuple[Weighed, ...], ...]
    bearers: Counter[Run]

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
        bearers = Counter(run for texts in references for run in _all_runs(texts))
        weighed = tuple(
            tuple(_weighed(text, bearers, len(references)) for text in texts)
            for texts in references
        )
        return cls(references=weighed, bearers=bearers)

    def scores(self, candidates: Sequence[str], images: Sequence[int] = ()) -> list[float]:
        """The score of each caption, from 0 on; 10 where it is all that is said of its image.

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
            self._score(_weighed(text, self.bearers, len(self.references)), self.references[image])
            for text, image in zip(candidates, which, strict=True)
        ]

    def between(self, said: str, meant: str) -> float:
        """The score of one text against one other, words weighed as in these references."""
        texts = (_weighed(text, self.bearers, len(self.references)) for text in (said, meant))
        return SCALE * _likeness(*texts)

    def _score(self, said: Weighed, references: Sequence[Weighed]) -> float:
        return SCALE * sum(_likeness(said, meant) for meant in references) / len(references)


def _all_runs(texts: Sequence[str]) -> set[Run]:
    return {
        run
        for text in texts
        for length in range(1, LONGEST + 1)
        for run in runs(words(text), length)
    }


def _weighed(text: str, bearers: Counter[Run], images: int) -> Weighed:
    spoken = words(text)
    weights = tuple(
        {run: times * math.log(images / max(1, bearers[run])) for run, times in found.items()}
        for found in (runs(spoken, length) for length in range(1, LONGEST + 1))
    )
    norms = tuple(math.hypot(*table.values()) for table in weights)
    return Weighed(weights, norms, len(spoken))


def _likeness(said: Weighed, meant: Weighed) -> float:
    """Mean over the lengths of runs of the clipped cosine, times the punishment for length."""
    close = math.exp(-((said.length - meant.length) ** 2) / (2 * SIGMA**2))
    cosines = map(_clipped_cosine, said.weights, meant.weights, said.norms, meant.norms)
    return close * sum(cosines) / LONGEST


def _clipped_cosine(
    said: dict[Run, float], meant: dict[Run, float], long: float, other: float
) -> float:
    """A run that is said more often than it is meant counts no more for it."""
    if not long or not other:
        return 0.0
    shared = sum(min(said[run], meant[run]) * meant[run] for run in said.keys() & meant.keys())
    return shared / (long * other)
