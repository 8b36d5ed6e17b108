"""Away from where the clean image is seen, whatever that is then called."""

from __future__ import annotations

import torch

from secondlook.attacks.synthesis import MannerSearch, Synthesis
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.anti_adversary import AntiAdversary
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.latent import LatentDistance
from secondlook.objectives.targeted import Targeted
from tests.against import line
from tests.attacks.test_synthesis import Gate, behind
from tests.closeness import same

ON = line(3, "linf", 6)


def latent(objective: GuardedObjective) -> LatentDistance:
    found = objective.manners(True, ON.keys)["latent"]
    assert isinstance(found, LatentDistance)
    return found


def test_the_loss_is_one_less_the_cosine_to_the_clean_features_and_success_the_goal_s() -> None:
    made = latent(ON.objective).anchored(ON.clean, ON.keys)
    assert same(made(ON.clean, ON.keys).loss, torch.zeros(6))
    x = (ON.clean + ON.threat.eps * torch.ones_like(ON.clean).triu()).clamp(0, 1)
    expected = 1 - torch.cosine_similarity(x.flatten(1), ON.clean.flatten(1))
    assert same(made(x, ON.keys).loss, expected)
    assert torch.equal(made(x, ON.keys).success, ON.objective(x, ON.keys).success)
    rows = torch.tensor([4, 1])
    assert same(made.take(rows)(x[rows], ON.keys[rows]).loss, expected[rows])


def test_what_a_detector_would_reject_counts_against_it() -> None:
    made = latent(behind(ON, Gate())).anchored(ON.clean, ON.keys)
    bright = torch.full_like(ON.clean, 0.9)
    expected = 1 - torch.cosine_similarity(bright.flatten(1), ON.clean.flatten(1)) - (0.9 - 0.7)
    assert same(made(bright, ON.keys).loss, expected)


def test_the_features_are_those_behind_the_defense_and_its_draws() -> None:
    noisy = latent(behind(ON, Consensus(purifier=NoisePurifier(0.2)), draws=4)).anchored(ON.clean, ON.keys)
    assert bool((noisy(ON.clean, ON.keys).loss > 0.01).all()), "other draws are another place"
    moved = latent(behind(ON, AntiAdversary(steps=1))).anchored(ON.clean, ON.keys)
    assert not same(moved.origin, latent(ON.objective).anchored(ON.clean, ON.keys).origin)


def test_a_search_is_told_of_the_clean_images() -> None:
    (search,) = [
        each for each in Synthesis(steps=3, budget="full").searches(ON.objective, ON.keys)[0] if each.name == "latent"
    ]
    assert isinstance(search, MannerSearch)
    rows = torch.tensor([2, 0])
    made = search.on(rows, ON.clean[rows], ON.keys[rows])
    assert same(made(ON.clean[rows], ON.keys[rows]).loss, torch.zeros(2))


def test_goals_that_name_a_class_have_none() -> None:
    goal = Targeted(classes=torch.zeros(6, dtype=torch.long))
    manners = GuardedObjective(goal=goal, victim=Guarded(ON.objective.victim.model)).manners(True, ON.keys)
    assert "latent" not in manners or isinstance(manners["latent"], str)
