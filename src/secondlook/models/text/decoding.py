"""How a caption comes about: greedily, by beams, or at random with a key of each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

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
            raise InvalidInput(f"temperature={self.temperature:g} must be above 0; write style='greedy' for none")
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
        another batch size, seldom changes a word, and two versions of an image draw the same.
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


Scores = Callable[[Tensor], Tensor]
"""The tokens so far, ``[N, t]``, to scores of the next, ``[N, V]``; ``N`` is ``B * width``."""


def generate_tokens(scores: Scores, keys: Keys, decoding: Decoding, end: int, place: Tensor) -> Tensor:
    """Tokens ``[B, L]`` of a text for each sample; what follows an ``end`` is of no meaning.

    Args:
        scores: of the next token; the ``decoding.width`` texts of a sample lie side by side.
        keys: one for each sample.
        decoding: the rule.
        end: the token that ends a text.
        place: a tensor on the device where the tokens are wanted.
    """
    if decoding.style == "beam":
        return _by_beams(scores, len(keys), decoding, end, place)
    ids = torch.empty(len(keys), 0, dtype=torch.long, device=place.device)
    for step in range(decoding.length):
        token = decoding.choose(scores(ids), keys, step)
        ids = torch.cat([ids, token[:, None]], dim=1)
        if bool((ids == end).any(1).all()):
            break
    return ids


class _Beams(NamedTuple):
    """Texts kept side by side: tokens ``[B, k, t]``, log-probabilities and lengths ``[B, k]``."""

    ids: Tensor
    total: Tensor
    length: Tensor
    ended: Tensor

    def grown(self, chances: Tensor, end: int) -> _Beams:
        """The ``k`` likeliest of all texts that are one token longer; an ended one stays."""
        batch, width, words = chances.shape
        stay = torch.full_like(chances, -torch.inf)
        stay[..., end] = 0
        total = self.total[..., None] + torch.where(self.ended[..., None], stay, chances)
        length = (self.length + ~self.ended)[..., None].expand_as(total)
        place = (total / length).flatten(1).topk(width).indices
        beam, token = place // words, place % words
        before = self.ids.gather(1, beam[..., None].expand(-1, -1, self.ids.shape[2]))
        return _Beams(
            torch.cat([before, token[..., None]], dim=2),
            total.flatten(1).gather(1, place),
            length.flatten(1).gather(1, place),
            self.ended.gather(1, beam) | (token == end),
        )


def _by_beams(scores: Scores, batch: int, decoding: Decoding, end: int, place: Tensor) -> Tensor:
    """The likeliest text among those kept, by the mean log-probability of its tokens."""
    beams = _start(batch, decoding.beams, place)
    for _ in range(decoding.length):
        chances = scores(beams.ids.flatten(0, 1)).float().log_softmax(-1)
        beams = beams.grown(chances.unflatten(0, (batch, decoding.beams)), end)
        if bool(beams.ended.all()):
            break
    best = (beams.total / beams.length).argmax(1)
    return beams.ids[torch.arange(batch, device=place.device), best]


def _start(batch: int, width: int, place: Tensor) -> _Beams:
    """Empty texts, all the same: only the first of them may grow at the first step."""
    total = torch.full((batch, width), -torch.inf, device=place.device)
    total[:, 0] = 0
    length = torch.zeros(batch, width, dtype=torch.long, device=place.device)
    ids = torch.empty(batch, width, 0, dtype=torch.long, device=place.device)
    return _Beams(ids, total, length, torch.zeros_like(length, dtype=torch.bool))
