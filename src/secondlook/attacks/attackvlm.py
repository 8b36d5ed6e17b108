"""AttackVLM: transfer from a surrogate's encoder, then queries to the victim."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.base import Attack, AttackResult, Objective, Passes
from secondlook.attacks.pgd import PGD
from secondlook.attacks.rgf import RGF
from secondlook.bounds import Count, Natural, Part
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Length, Reach, Threat, per_sample


@register("attack", "adv-transfer")
@dataclass(frozen=True, kw_only=True)
class AdvTransfer(PGD):
    """The transfer stage of AttackVLM: MF-it and MF-ii (arXiv 2305.16934, section 3.2).

    Sign steps of 1/255 from the clean image; the objective says what the surrogate should embed.
    The published code clips to [0, 1] at the end alone, here every iterate is an image.
    """

    steps: Count = 100
    step: Length = 1 / 255
    random_start: bool = False
    keep_best: bool = False


@register("attack", "attackvlm")
@dataclass(frozen=True, kw_only=True)
class AttackVLM(Attack):
    """Transfer, then queries: MF-ii + MF-tt (arXiv 2305.16934, section 3.3).

    The objective's first part is maximized by gradients, its last by queries. Both stages stay in
    the one ball of the threat (the paper's fixed budget). Its *more budget*, where the query stage
    has a ball of its own, is a threat of twice the eps and ``share = 0.5``: what is allowed in all
    is then what the threat says.

    Attributes:
        transfer_steps: of the first stage; 0 leaves it out.
        transfer_step: length of its step, in pixel units.
        share: of eps that the first stage may use.
        line: places between the clean image and where the first stage ended that the victim is
            asked about; the second starts from the best. 0 starts from the end. A victim that
            holds its answers back there gives no slope.
        steps, step, queries, sigma, chunk, keep_best: of the second stage; see ``RGF``.

    Raises:
        InvalidInput: a number outside its range, or a single objective where there are two stages.
    """

    transfer_steps: Natural = 100
    transfer_step: Length = 1 / 255
    share: Part = 1.0
    line: Natural = 0
    steps: Count = 8
    step: Reach = 1 / 255
    queries: Count = 100
    sigma: Reach = 8 / 255
    chunk: Natural = 800
    keep_best: bool = True

    @property
    def query_stage(self) -> RGF:
        """The query stage."""
        return RGF(
            steps=self.steps,
            step=self.step,
            queries=self.queries,
            sigma=self.sigma,
            chunk=self.chunk,
            keep_best=self.keep_best,
        )

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Gradients of the surrogate, then queries to the victim from where they led."""
        first, last = self._surrogate_and_victim(objective)
        start = clean.clone()
        if self.transfer_steps:
            steps = AdvTransfer(steps=self.transfer_steps, step=self.transfer_step)
            ball = replace(threat, eps=self.share * threat.eps)
            with torch.enable_grad():
                start = steps.search(first, clean, ball, keys.fold("transfer")).x
            if self.line:
                start = self.best_between(last, clean, start, keys)
        return self.query_stage.search_from(start, last, clean, threat, keys.fold("query"))

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """The gradients of the first stage, and the queries along the line and of the second.

        Raises:
            InvalidInput: there is no surrogate to climb.
        """
        _, last = self._surrogate_and_victim(objective)
        asked = self.line + 1 if self.line and self.transfer_steps else 0
        return Passes(self.transfer_steps, asked) + self.query_stage.passes(last, threat)

    def _surrogate_and_victim(self, objective: Objective) -> tuple[Objective, Objective]:
        first, last = objective.parts[0], objective.parts[-1]
        if self.transfer_steps and first is last:
            raise InvalidInput(
                "attackvlm needs a surrogate's objective before the victim's; give it both, or write transfer_steps = 0"
            )
        return first, last

    @torch.no_grad()
    def best_between(self, victim: Objective, clean: Tensor, end: Tensor, keys: Keys) -> Tensor:
        """Where the victim's loss is highest of ``line + 1`` places from ``clean`` to ``end``."""
        best, most = clean, clean.new_full((len(clean),), float("-inf"))
        for place in range(self.line + 1):
            there = clean + place / self.line * (end - clean)
            loss = victim(there, keys.fold("line", place)).loss
            best = torch.where(per_sample(loss > most), there, best)
            most = torch.maximum(loss, most)
        return best
