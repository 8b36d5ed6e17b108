"""Consensus: reconstruct the input several times, look at each reconstruction, and vote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secondlook.decision import Decision, Glimpse
from secondlook.defenses.base import Defence, Gradient, single
from secondlook.defenses.voting import RULES, Poll, Rule
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.base import Model, Purifier
from secondlook.models.jpeg import straight_through
from secondlook.randomness import Keys
from secondlook.registry import register


@register("defence", "consensus")
@dataclass(frozen=True, kw_only=True)
class Consensus(Defence):
    """Votes over N stochastic reconstructions of the input (arXiv 2511.21893).

    Attributes:
        purifier: what reconstructs: a :class:`Purifier`, or its name, ``scenes:vae``.
        samples: reconstructions N; a deterministic purifier is asked once, since N of its votes
            are one vote.
        noise: strength of the purifier's randomness: a VAE's posterior temperature, the share of
            a diffusion's thousand steps that is undone, a deviation in the latent of an AE; a
            negative number keeps the purifier's own.
        rule: ``plurality`` (ties go to the higher mean score), ``majority`` (more than N / 2
            votes, else the input is rejected) or ``mean`` (of the scores).
        early_stop: stop drawing once the outcome cannot change; the answer is the same.

    Raises:
        InvalidInput: N below one, an unknown rule, or a purifier that is none.
    """

    purifier: Any = "scenes:vae"
    samples: int = 10
    noise: float = -1.0
    rule: Rule = "plurality"
    early_stop: bool = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InvalidInput(f"samples={self.samples} leaves nobody to vote; write 1 or more")
        if self.rule not in RULES:
            raise UnknownName("rule", self.rule, RULES)
        made = load(self.purifier) if isinstance(self.purifier, str) else self.purifier
        if not isinstance(made, Purifier):
            raise InvalidInput(f"purifier={self.purifier!r} is no purifier; try scenes:vae")
        object.__setattr__(self, "_purifier", made if self.noise < 0 else made.tuned(self.noise))

    @property
    def eye(self) -> Purifier:
        """The purifier itself."""
        purifier: Purifier = self.__dict__["_purifier"]
        return purifier

    @property
    def parts(self) -> tuple[Model, ...]:
        """The model and the purifier."""
        return (self.model, self.eye)

    @property
    def stochastic(self) -> bool:
        """Whether the purifier is."""
        return self.eye.stochastic

    @property
    def unseen(self) -> frozenset[str]:
        """The count of the votes: an attacker climbs single looks, as many as he draws."""
        return frozenset({"samples", "rule", "early_stop"})

    @property
    def votes(self) -> int:
        """The votes that can differ: N, or one if the purifier is deterministic."""
        return self.samples if self.eye.stochastic else 1

    def judge(self, x: Tensor, keys: Keys) -> Decision:
        """Draws in rounds: first as many as could decide, then one by one where it is close."""
        if not len(x):
            features = self.model.features(x)
            return single(self.model.scores(features), features)
        poll = Poll(x, self.votes, self.rule)
        rows = poll.open()
        stops = self.early_stop and self.rule != "mean"
        first, size = 0, self.votes // 2 + 1 if stops else self.votes
        while first < self.votes and len(rows):
            size = min(size, self.votes - first)
            features = self._look(x[rows], keys[rows], size, first)
            poll.count(rows, features, self.model.scores(features))
            first, size = first + size, 1
            rows = poll.open() if stops else rows
        return poll.decision(self.model.features(x))

    def glimpse(
        self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full"
    ) -> Glimpse:
        """``draws`` looks in one batch, with the gradient through the purifier or past it."""
        features = self._look(x, keys, draws if self.eye.stochastic else 1, 0, gradient)
        return Glimpse(features=features, scores=self.model.scores(features))

    def views(
        self, x: Tensor, keys: Keys, draws: int, first: int = 0, gradient: Gradient = "full"
    ) -> Tensor:
        """``draws`` reconstructions of each image, side by side, ``[B * draws, 3, H, W]``.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            keys: one per image.
            draws: reconstructions of each.
            first: the number of the first draw.
            gradient: through the purifier, or past it; where it has none, past it anyway.
        """
        many, children = x.repeat_interleave(draws, 0), keys.repeat(draws, first)
        if gradient == "full" and self.eye.differentiable:
            return self.eye.purify(many, children)
        return straight_through(many, self.eye.purify(many.detach(), children))

    def _look(
        self, x: Tensor, keys: Keys, draws: int, first: int, gradient: Gradient = "full"
    ) -> Tensor:
        features = self.model.features(self.views(x, keys, draws, first, gradient))
        return features.view(len(x), draws, *features.shape[1:])
