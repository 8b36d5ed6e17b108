"""AttackVLM: two stages in one ball, the second of which only asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secondlook import registry
from secondlook.attacks.attackvlm import AdvTransfer, AttackVLM
from secondlook.attacks.base import Evaluation
from secondlook.attacks.rgf import RGF
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Slope, directions, images

KEYS = Keys.of(0, range(4))


@dataclass(frozen=True, kw_only=True)
class Two:
    """A surrogate's slope and a victim's."""

    parts: Sequence[Any]
    modules: tuple[nn.Module, ...] = ()

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        raise AssertionError("a stage asks its own part alone")

    def take(self, rows: Tensor) -> "Two":
        return Two(parts=[part.take(rows) for part in self.parts])


def stages() -> Two:
    return Two(parts=[Slope(weights=directions(4), name="surrogate"), Slope(weights=directions(4, 1), name="victim")])


def test_the_transfer_stage_is_signs_from_the_clean_image() -> None:
    x, threat = images(4), Threat(eps=8 / 255)
    found = AdvTransfer(steps=3)(stages().parts[0], x, threat, KEYS).x
    assert torch.allclose(found, x + 3 / 255 * directions(4).sign(), atol=1e-6)


def test_gradients_go_to_the_surrogate_and_queries_to_the_victim() -> None:
    with counting() as ledger:
        AttackVLM(transfer_steps=5, steps=2, queries=3)(stages(), images(4), Threat(eps=0.05), KEYS)
    assert ledger.by_model == {"surrogate": [20, 20], "victim": [4 * (2 * 4 + 1), 0]}


def test_the_query_stage_starts_where_the_transfer_ended_and_shares_its_ball() -> None:
    x, threat = images(4), Threat(eps=8 / 255)
    found = AttackVLM(steps=1, queries=1, step=1e-6, keep_best=False)(stages(), x, threat, KEYS).x
    assert torch.allclose(found, x + 8 / 255 * directions(4).sign(), atol=1.1e-2 / 255 + 1e-6)


def test_more_budget_is_a_share_of_a_ball_that_is_told() -> None:
    x, threat = images(4), Threat(eps=16 / 255)
    search = AttackVLM(steps=40, queries=400, share=0.5, sigma=1 / 255).search
    away = search(stages(), x, threat, KEYS).x - x
    agree = directions(4).sign() == directions(4, 1).sign()
    assert float(away.abs().max()) == pytest.approx(16 / 255, abs=1e-6)
    assert float(away[agree].abs().mean()) > 15 / 255
    first = AttackVLM(steps=1, queries=1, step=1e-9, share=0.5).search(stages(), x, threat, KEYS).x
    assert float((first - x).abs().max()) == pytest.approx(8 / 255, abs=1e-6)


def test_without_a_transfer_it_is_the_query_stage_alone() -> None:
    victim, threat = stages().parts[1], Threat(eps=0.05)
    found = AttackVLM(transfer_steps=0, queries=5).search(victim, images(4), threat, KEYS).x
    same = RGF(queries=5).search_from(images(4), victim, images(4), threat, KEYS.fold("query")).x
    assert torch.equal(found, same)


def test_one_objective_is_no_two_stages() -> None:
    with pytest.raises(InvalidInput, match="transfer_steps = 0"):
        AttackVLM()(stages().parts[0], images(4), Threat(eps=0.05), KEYS)
    with pytest.raises(InvalidInput, match="share=2"):
        AttackVLM(share=2.0)


def test_they_are_known_by_name() -> None:
    assert registry.build("attack", "attackvlm", {"sigma": "8/255"}) == AttackVLM()
    assert registry.build("attack", "adv-transfer", {}) == AdvTransfer()


@dataclass(frozen=True, kw_only=True)
class Silent:
    """A victim that answers nothing beyond half of the way, as a detector would have it."""

    clean: Tensor
    reach: float
    modules: tuple[nn.Module, ...] = ()

    @property
    def parts(self) -> Sequence[Any]:
        return (self,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        away = (x - self.clean).abs().amax((1, 2, 3))
        loss = torch.where(away <= self.reach + 1e-6, away, -torch.ones_like(away))
        return Evaluation(loss, torch.zeros(len(x), dtype=torch.bool))

    def take(self, rows: Tensor) -> "Silent":
        return Silent(clean=self.clean[rows], reach=self.reach)


def test_it_goes_back_to_where_the_victim_still_answers() -> None:
    x = images(4)
    end = x + 8 / 255 * directions(4).sign()
    victim = Silent(clean=x, reach=4.5 / 255)
    found = AttackVLM(line=8).best_between(victim, x, end, KEYS)
    assert torch.allclose((found - x).abs().amax((1, 2, 3)), torch.full((4,), 4 / 255), atol=1e-6)
    deaf = Silent(clean=x, reach=-1.0)
    assert torch.equal(AttackVLM(line=8).best_between(deaf, x, end, KEYS), x)


def test_the_line_costs_one_look_more_than_its_places() -> None:
    with counting() as ledger:
        AttackVLM(transfer_steps=5, line=4, steps=1, queries=1, keep_best=False)(
            stages(), images(4), Threat(eps=0.05), KEYS
        )
    assert ledger.by_model["victim"] == [4 * (5 + 2), 0]
    with pytest.raises(InvalidInput, match="line=-1; write 0 or more"):
        AttackVLM(line=-1)
