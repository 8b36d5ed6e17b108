"""What the gradient of a guarded model is worth: each manner by itself, and finite differences, on a few samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Final, NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Evaluation, Objective, input_gradient
from secondlook.attacks.synthesis import BARE, OWN, QUERIES, Mannered, MannerSearch, Synthesis, searched
from secondlook.errors import InvalidInput
from secondlook.models.base import evaluating
from secondlook.randomness import Keys
from secondlook.threat import Threat

STEP: Final = 1e-3
"""Of the finite differences, to either side, in pixel units: a quarter of an 8-bit level."""


class MannerFinding(NamedTuple):
    """What one manner does alone, from the clean samples on.

    Attributes:
        success: ``[B]`` bool, whether what it has made succeeds by the true objective, under fresh draws.
        rise: ``[B]``, by how much the true objective's loss has risen.
        size: ``[B]``, length of its gradient over that of the bare model's, at a random point of the
            threat; none of a manner that takes no gradient.
    """

    success: Tensor
    rise: Tensor
    size: Tensor | None


class Differences(NamedTuple):
    """A directional derivative of the true objective at that point, ``[B]`` each, in two ways.

    Attributes:
        measured: by central differences, under the draws that the gradient has had.
        by_gradient: by its own gradient, as it is; zero where there is none.
        bare: of the bare model's objective, by its gradient.
    """

    measured: Tensor
    by_gradient: Tensor
    bare: Tensor


class Measurements(NamedTuple):
    """All that is measured of a guarded model.

    Attributes:
        manners: of those that ran.
        refused: why others did not, by name.
        bare_success: ``[B]`` bool, what the attack on the bare model reaches there.
        cosines: of two manners' gradients, ``[B, 2]``: at the random point, and where the attack
            that knows the defense has ended.
        differences: along the sign of its own gradient (``as-is``), and of the bare model's (``bare``).
        end: where the attack as it is has ended, or the bare one, ``[B, ...]``.
    """

    manners: Mapping[str, MannerFinding]
    refused: Mapping[str, str]
    bare_success: Tensor
    cosines: Mapping[tuple[str, str], Tensor]
    differences: Mapping[str, Differences]
    end: Tensor


def diagnosed(
    objective: Objective, clean: Tensor, threat: Threat, keys: Keys, attack: Synthesis | None = None
) -> Measurements | None:
    """Measures a guarded model by its objective; None where nothing stands before the model.

    Each manner has all samples to itself, as many steps as the others and the threat's whole
    budget, so that they can be compared in pairs, which ``by`` of :class:`Synthesis` cannot: there
    a manner is only given what no other has taken.

    Args:
        objective: what the attacker of the guarded model maximizes.
        clean: the samples, ``[B, C, H, W]`` in [0, 1].
        threat: what may be done to them.
        keys: one for each.
        attack: its steps, looks and budget are those of the diagnosis.
    """
    attack = Synthesis(steps=10) if attack is None else attack
    with torch.inference_mode(False), torch.enable_grad(), evaluating(objective.modules):
        searches, refused = _manners(objective, attack, keys)
        if BARE not in searches:
            return None
        return _Bench(objective, clean.detach(), threat, keys, attack).measured(searches, refused)


def _manners(objective: Objective, attack: Synthesis, keys: Keys) -> tuple[dict[str, MannerSearch], dict[str, str]]:
    """One search for each manner, and why some have none."""
    if not isinstance(objective, Mannered):
        return {}, {}
    full = attack.budget == "full"
    known = objective.manners(full, keys.fold("recorded"))
    searches = {each.name: each for each in attack.searches(objective, keys)[0]}
    kept = {name: searches[name] for name in [*known, *([QUERIES] if full else [])] if name in searches}
    return kept, {name: why for name, why in known.items() if isinstance(why, str)}


class _Bench:
    """The samples on which everything is measured."""

    def __init__(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys, attack: Synthesis) -> None:
        self.objective, self.clean, self.threat, self.attack = objective, clean, threat, attack
        self.keys, self.look = keys, keys.fold("gradient")
        self.rows = torch.arange(len(clean), device=clean.device)
        noise = 2 * keys.fold("start").uniform(clean.shape[1:], like=clean) - 1
        self.start = threat.project(clean + threat.radius(clean) * noise, clean).clamp(STEP, 1 - STEP)

    def measured(self, searches: Mapping[str, MannerSearch], refused: dict[str, str]) -> Measurements:
        ends, bare_success = dict[str, Tensor](), torch.zeros(len(self.clean), dtype=torch.bool)
        searches = {
            name: each._replace(objective=each.on(self.rows, self.clean, self.keys)) for name, each in searches.items()
        }
        for name, search in searches.items():
            try:
                ends[name], claimed = self._end(search)
            except InvalidInput as error:
                refused[name] = str(error)
                continue
            if name == BARE:
                bare_success = claimed
        end = ends.get(OWN, ends.get(BARE, self.clean))
        climbed = {name: each for name, each in searches.items() if isinstance(each.attack, APGD)}
        slopes = {name: (self._slope(each, self.start), self._slope(each, end)) for name, each in climbed.items()}
        before = self._judged(self.clean, "clean").loss
        return Measurements(
            manners={name: self._finding(name, x, before, slopes) for name, x in ends.items()},
            refused=refused,
            bare_success=bare_success,
            cosines=dict(_cosines({name: slopes[name] for name in slopes if name in ends})),
            differences=self._differences(slopes),
            end=end,
        )

    def _end(self, search: MannerSearch) -> tuple[Tensor, Tensor]:
        """Where a manner alone has come to, on the threat's grid, and what it takes for a success."""
        own = self.keys.fold("alone", search.name)
        x = searched(search, self.rows, self.clean, self.clean, self.threat, own).x.detach()
        x = self.threat.quantize(self.threat.project(x, self.clean), self.clean)
        with torch.no_grad():
            return x, search.objective(x, self.look).success.cpu()

    def _judged(self, x: Tensor, moment: str) -> Evaluation:
        return self.attack.confirmed(self.objective, x, self.keys.fold("judge alone", moment))

    def _finding(
        self, name: str, x: Tensor, before: Tensor, slopes: Mapping[str, tuple[Tensor, Tensor]]
    ) -> MannerFinding:
        told, size = self._judged(x, name), None
        if name in slopes:
            size = _length(slopes[name][0]) / _length(slopes[BARE][0])
        return MannerFinding(told.success, told.loss - before, size)

    def _slope(self, search: MannerSearch, x: Tensor) -> Tensor:
        """The gradient of each sample's loss; zero where a manner has none."""
        try:
            return input_gradient(search.objective, x, self.look)[0]
        except InvalidInput:
            return torch.zeros_like(x)

    def _differences(self, slopes: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Differences]:
        own, bare = slopes[OWN][0], slopes[BARE][0]
        found = {}
        for name, way in ((OWN, own.sign()), (BARE, bare.sign())):
            dots = [(each * way).flatten(1).sum(1) for each in (own, bare)]
            found[name] = Differences(self._central(way), dots[0], dots[1])
        return found

    @torch.no_grad()
    def _central(self, way: Tensor) -> Tensor:
        """The central difference of the true objective along a way, ``[B]``."""
        ahead, behind = (self.objective(self.start + side * STEP * way, self.look).loss for side in (1, -1))
        return (ahead.double() - behind.double()) / (2 * STEP)


def _length(gradient: Tensor) -> Tensor:
    length: Tensor = gradient.double().flatten(1).norm(dim=1)
    return length


def _cosines(slopes: Mapping[str, tuple[Tensor, Tensor]]) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Of each two manners; not a number where one of the gradients is zero."""
    for (one, first), (other, second) in combinations(slopes.items(), 2):
        pairs = [
            (a.double() * b.double()).flatten(1).sum(1) / (_length(a) * _length(b))
            for a, b in zip(first, second, strict=True)
        ]
        yield (one, other), torch.stack(pairs, 1)
