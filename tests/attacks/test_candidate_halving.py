"""Halving tries many ways, spends on the better half, and believes what the objective itself says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation
from secondlook.attacks.candidate_halving import CandidateHalving
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.threat import Threat

KEYS = Keys.of(0, "abc")
CLEAN = torch.full((3, 1, 2, 2), 0.5)
THREAT = Threat(eps=0.1, grid=None)


@dataclass(frozen=True, kw_only=True)
class Toward:
    """Climbs to points by their distance, ``[B, 1, 2, 2]``."""

    points: Tensor
    runs: list[int]
    modules: Sequence[nn.Module] = ()

    @property
    def parts(self) -> Sequence[Toward]:
        return (self,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        self.runs.append(len(x) * x.requires_grad)
        loss = -(x - self.points).abs().flatten(1).sum(1)
        return Evaluation(loss, loss > -1e-4)

    def take(self, rows: Tensor) -> Toward:
        return Toward(points=self.points[rows], runs=self.runs)


@dataclass(frozen=True, kw_only=True)
class Points:
    """Reached at any of the points of each sample, values of all pixels ``[B][W]``."""

    ways: tuple[tuple[float, ...], ...]
    runs: list[int] = field(default_factory=list)
    modules: Sequence[nn.Module] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(map(len, self.ways))

    @property
    def parts(self) -> Sequence[Points]:
        return (self,)

    def choosing(self, chosen: Sequence[int]) -> Toward:
        values = torch.tensor([each[at] for each, at in zip(self.ways, chosen, strict=True)])
        return Toward(points=values[:, None, None, None].expand(-1, 1, 2, 2), runs=self.runs)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        near = [
            min((abs(float(p.mean()) - w) for w in ways), default=9.0) for p, ways in zip(x, self.ways, strict=True)
        ]
        return Evaluation(torch.zeros(len(x)), torch.tensor(near) < 2e-2)

    def take(self, rows: Tensor) -> Points:
        return Points(ways=tuple(self.ways[row] for row in rows.tolist()), runs=self.runs)


def test_the_way_that_is_within_reach_is_found_wherever_it_stands() -> None:
    goal = Points(ways=((0.9, 0.1, 0.8, 0.95, 0.55), (0.42, 0.0), ()))
    found = CandidateHalving(steps=24)(goal, CLEAN, THREAT, KEYS)
    assert found.success is not None and found.success.tolist() == [True, True, False]
    assert float((found.x[0] - 0.55).abs().max()) < 0.05 and torch.equal(found.x[2], CLEAN[2])


def test_rounds_halve_the_ways_and_double_the_steps() -> None:
    rounds = CandidateHalving(steps=80).rounds
    assert list(rounds(8)) == [(8, 20), (4, 40), (2, 80)] and list(rounds(5)) == [(5, 20), (3, 40), (2, 80)]
    assert list(rounds(1)) == [(1, 80)] and list(rounds(0)) == []


def test_a_run_costs_its_steps_and_who_succeeds_leaves() -> None:
    far = Points(ways=((0.9, 0.8, 0.1, 0.0),))
    CandidateHalving(steps=8)(far, CLEAN[:1], THREAT, KEYS[:1])
    assert sum(far.runs) == 4 * 4 + 2 * 8
    near = Points(ways=((0.5, 0.8, 0.1, 0.0),))
    CandidateHalving(steps=8)(near, CLEAN[:1], THREAT, KEYS[:1])
    assert sum(near.runs) <= 4


def test_a_sample_is_attacked_alike_alone_and_among_others() -> None:
    ways = ((0.9, 0.7, 0.3, 0.2), (0.1, 0.8), (0.75,))
    among = CandidateHalving(steps=8)(Points(ways=ways), CLEAN, THREAT, KEYS)
    narrow = CandidateHalving(steps=8, width=1)(Points(ways=ways), CLEAN, THREAT, KEYS)
    alone = CandidateHalving(steps=8)(Points(ways=ways[1:2]), CLEAN[1:2], THREAT, KEYS[1:2])
    assert torch.allclose(among.x, narrow.x) and torch.allclose(among.x[1:2], alone.x)


def test_an_objective_without_ways_is_refused() -> None:
    goal = Toward(points=CLEAN, runs=[])
    with pytest.raises(InvalidInput, match="attack it with apgd"):
        CandidateHalving()(goal, CLEAN, THREAT, KEYS)
