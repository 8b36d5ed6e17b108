"""What a guard spends on an input, and an attacker who wants it to spend as much as it can.

An input leaves a cascade at the first stage that rejects it, and a vote may stop early: so the cheapest inputs are
those that are rejected at once, and the dearest those that every stage lets pass and whose views disagree. Who sends
such inputs takes a service's time without fooling the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Evaluation, attack_in_parts
from secondlook.defenses.cascade import cascade, stages
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import counting
from secondlook.models.base import Classifier
from secondlook.models.captioner import Captioner
from secondlook.randomness import Keys
from secondlook.threat import Threat


@dataclass(frozen=True, kw_only=True)
class Dearest:
    """An input that passes every stage and whose views vote for different classes.

    First it has to be accepted; where a vote may stop early its first class shall then lead the second by little. It is
    reached where the input is accepted and nothing is left to gain.

    Attributes:
        victim: the guarded model whose time is wanted.
        draws: fresh draws of a randomized defense in each step (EOT).
    """

    victim: Guarded
    draws: int = 4

    @property
    def parts(self) -> Sequence[Dearest]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim."""
        return self.victim.modules

    def take(self, rows: Tensor) -> Dearest:
        """The same, whatever the samples."""
        return self

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of a batch, ``[B]`` each."""
        if isinstance(self.victim.model, Captioner):
            slack = self.victim.threshold - self.victim.suspicion(x, keys)
            return Evaluation(slack.clamp_max(0), slack > 0)
        seen = self.victim.surrogate(x, keys, self.draws)
        assert seen.acceptance is not None
        accepted = (seen.acceptance >= 0).all(1)
        lacks = seen.acceptance.clamp_max(0).mean(1)
        if not _stops(self.victim):
            return Evaluation(lacks, accepted)
        first, second = seen.scores.mean(1).topk(2, 1).values.unbind(1)
        lead = first - second
        # Below 1, so that a rejected input is never ahead of an accepted one.
        return Evaluation(torch.where(accepted, -lead / (1 + lead), lacks - 1), torch.zeros_like(accepted))


def _stops(guarded: Guarded) -> bool:
    """Whether a vote of several views may stop before all of them."""
    return guarded.draws > 1 and guarded.defense.early_stop and isinstance(guarded.model, Classifier)


def dearest(guarded: Guarded, x: Tensor, threat: Threat, keys: Keys, steps: int = 40) -> Tensor:
    """Inputs within ``threat`` of ``x`` ``[B, C, H, W]`` that cost the guard what they can, by APGD."""
    attack = APGD(steps=steps, loss="")
    return attack_in_parts(attack, Dearest(victim=guarded), x, threat, keys.fold("attack", "dearest")).x


@dataclass(frozen=True)
class Expense:
    """What some inputs have cost a guard.

    Attributes:
        n: inputs.
        stages: that were asked about them, in all.
        forwards: of samples through any network, in all.
    """

    n: int = 0
    stages: int = 0
    forwards: int = 0

    def __add__(self, other: Expense) -> Expense:
        return Expense(self.n + other.n, self.stages + other.stages, self.forwards + other.forwards)


def expense(guarded: Guarded, x: Tensor, keys: Keys) -> Expense:
    """What the cascade in front of a model spends on inputs ``[B, C, H, W]``, with a key for each.

    Raises:
        InvalidInput: the model is behind nothing that rejects, or not one key for each input.
    """
    guarded.prepare()
    guarded.forget()
    with counting() as ledger:
        found = cascade(guarded, x, keys)
    asked = found.last.clamp_max(len(stages(guarded)) - 1) + 1
    return Expense(len(x), int(asked.sum()), ledger.forwards)
