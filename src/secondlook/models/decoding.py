"""How a captioner chooses its words: greedily, by beams, or at random with a key of each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.randomness import Keys

Style = Literal["greedy", "beam", "sample"]
_STYLES: Final = ("greedy", "beam", "sample")
# Uniform draws are multiples of 2^-24; a zero would forbid its token.
_LEAST: Final = 2.0**-25


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The rule that makes a caption of the scores of the next token.

    Attributes:
        style: the likeliest token each time; the likeliest caption among ``beams`` that are kept;
            or a random token.
        temperature: of a random token; scores are divided by it.
        top_p: of a random token: it is one of the likeliest, which have this share of the
            probability between them (nucleus sampling, arXiv 1904.09751).
        beams: captions that are kept side by side.
        length: tokens at most.

    Raises:
        InvalidInput: no such style, or a number outside its range.
    """

    style: Style = "greedy"
    temperature: float = 1.0
    top_p: float = 1.0
    beams: int = 3
    length: int = 30

    def __post_init__(self) -> None:
        if self.style not in _STYLES:
            raise InvalidInput(f"style={self.style!r} is unknown; write {', '.join(_STYLES)}")
        if self.temperature <= 0:
            raise InvalidInput(
                f"temperature={self.temperature:g} must be above 0; write style='greedy' for none"
            )
        if not 0 < self.top_p <= 1:
            raise InvalidInput(f"top_p={self.top_p:g} is outside (0, 1]; 1 keeps all tokens")
        if min(self.beams, self.length) < 1:
            raise InvalidInput(f"beams={self.beams}, length={self.length}: write 1 or more")

    @property
    def width(self) -> int:
        """How many captions of an image are kept side by side."""
        return self.beams if self.style == "beam" else 1

    def choose(self, scores: Tensor, keys: Keys, step: int) -> Tensor:
        """The next token ``[B]`` by its scores ``[B, V]``; it is the ``step``-th of the caption.

        Raises:
            InvalidInput: the style is ``beam``, which chooses among captions.
        """
        if self.style == "beam":
            raise InvalidInput("style='beam' chooses no single token; write 'greedy'")
        if self.style == "sample":
            scores = self.perturbed(scores, keys, step)
        return scores.argmax(-1)

    def perturbed(self, scores: Tensor, keys: Keys, step: int) -> Tensor:
        """Scores ``[B, V]`` whose largest is a random draw: Gumbel noise on log-probabilities.

        The noise belongs to a sample, a step and a token. A small change of the scores, as by
        another batch size, seldom changes a word, and two images share their luck.
        """
        kept = nucleus(scores.float() / self.temperature, self.top_p)
        uniform = keys.fold("token", step).uniform(kept.shape[1:], like=kept).clamp_min(_LEAST)
        return kept - (-uniform.log()).log()


def nucleus(scores: Tensor, top_p: float) -> Tensor:
    """Scores ``[B, V]`` with ``-inf`` for all but the fewest tokens that hold ``top_p``."""
    if top_p >= 1:
        return scores
    ordered, places = scores.sort(dim=-1, descending=True, stable=True)
    shares = ordered.softmax(-1)
    spare = shares.cumsum(-1) - shares >= top_p
    return scores.masked_fill(torch.zeros_like(spare).scatter(-1, places, spare), -torch.inf)
