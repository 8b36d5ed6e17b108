"""Consensus: reconstruct the input several times, answer for each, and vote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secondlook.bounds import Count, Share
from secondlook.defenses.base import Defense
from secondlook.defenses.voting import Rule
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Model, Purifier
from secondlook.randomness import Keys
from secondlook.registry import register


@register("defense", "consensus")
@dataclass(frozen=True, kw_only=True)
class Consensus(Defense):
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
        stop_error: stop sooner, once the chance that the outcome is not that of N draws is at most
            this, whatever the input (:mod:`~secondlook.defenses.curtailment`); 0 for never.

    Raises:
        InvalidInput: N below one, an unknown rule, a purifier that is none, or a ``stop_error``
            where nothing stops early.
    """

    purifier: Any = "scenes:vae"
    samples: Count = 10
    noise: float = -1.0
    rule: Rule = "plurality"  # type: ignore[misc]
    early_stop: bool = True  # type: ignore[misc]
    stop_error: Share = 0.0  # type: ignore[misc]

    def __post_init__(self) -> None:
        made = load(self.purifier) if isinstance(self.purifier, str) else self.purifier
        if not isinstance(made, Purifier):
            raise InvalidInput(f"purifier={self.purifier!r} is no purifier; try scenes:vae")
        if self.stop_error and (self.rule == "mean" or not self.early_stop):
            why = 'rule = "mean" needs every draw' if self.rule == "mean" else "early_stop = false makes every draw"
            raise InvalidInput(f"stop_error={self.stop_error} stops nothing: {why}; leave it out")
        object.__setattr__(self, "_purifier", made if self.noise < 0 else made.with_noise(self.noise))

    @property
    def reconstructor(self) -> Purifier:
        """The purifier itself, at the strength that was asked for."""
        purifier: Purifier = self.__dict__["_purifier"]
        return purifier

    @property
    def models(self) -> tuple[Model, ...]:
        """The purifier."""
        return (self.reconstructor,)

    @property
    def stochastic(self) -> bool:
        """Whether the purifier is."""
        return self.reconstructor.stochastic

    @property
    def differentiable(self) -> bool:
        """Whether the purifier is."""
        return self.reconstructor.differentiable

    @property
    def count(self) -> int:
        """The votes that can differ: N, or one if the purifier is deterministic."""
        return self.samples if self.stochastic else 1

    @property
    def variant(self) -> str:
        """The purifier's name."""
        return str(self.purifier) if isinstance(self.purifier, str) else ""

    @property
    def unseen(self) -> frozenset[str]:
        """The count of the votes: an attacker optimizes single draws, as many as they make."""
        return frozenset({"samples", "rule", "early_stop", "stop_error"})

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of each input."""
        return self.reconstructor.purify(x, keys)
