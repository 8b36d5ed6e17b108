"""Synthesis finds the manner that a defense does not withstand, and believes none of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import AttackResult, Objective
from secondlook.attacks.synthesis import MannerSearch, Synthesis, searched
from secondlook.defenses.base import Defense, Detector, DetectorDefense
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.base import Model
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.targeted import Targeted
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.against import Line, line
from tests.analytic import Bowl, LinearClassifier, Slope, directions, images
from tests.closeness import same

SHORT = Synthesis(steps=12, queries=30)
FULL = replace(SHORT, budget="full")


@dataclass(frozen=True, kw_only=True)
class Steep(Defense):
    """Hands on the image itself, by a way whose gradient is nearly nothing."""

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        return x.detach() + 1e-15 * (x - x.detach())


@dataclass(frozen=True, kw_only=True)
class Cut(Steep):
    """Hands on the image itself without a gradient, and says that there is one."""

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        return x.detach().clone()


@dataclass(frozen=True, kw_only=True)
class Pale(Defense):
    """Takes contrast away, and has no gradient."""

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        return 0.5 + 0.9 * (x.detach() - 0.5)


def behind(on: Line, defense: Defense, **settings: object) -> UntargetedObjective:
    return replace(on.objective, victim=Guarded(on.objective.victim.model, defense), **settings)


def left(on: Line, objective: Objective, found: AttackResult) -> Tensor:
    return ~objective(found.x, on.keys.fold("fresh")).success


def names(objective: Objective, attack: Synthesis = SHORT) -> list[str]:
    searches, _ = attack.searches(objective, Keys.of(0, range(40)))
    return [each.name for each in searches]


@pytest.mark.parametrize("attack", [SHORT, FULL])
def test_a_linear_model_is_attacked_to_its_closed_form(attack: Synthesis) -> None:
    on = line(5, "linf", 40)
    found = attack(on.objective, on.clean, on.threat, on.keys)
    assert torch.equal(left(on, on.objective, found), on.robust)
    assert found.by is not None and found.members[0] == "as-is"
    assert torch.equal(found.by < 0, on.robust)


def test_every_manner_reaches_the_closed_form_of_an_honest_defense() -> None:
    on = line(5, "linf", 40)
    objective = behind(on, Consensus(purifier=NoisePurifier(1e-6)))
    for each in SHORT.searches(objective, on.keys)[0]:
        found = each.attack(each.objective, on.clean, on.threat, on.keys)
        assert int((left(on, objective, found) ^ on.robust).sum()) <= 1, each.name


@pytest.mark.parametrize("defense", [Steep(), Cut()])
def test_a_masked_gradient_saves_nobody(defense: Defense) -> None:
    on = line(5, "linf", 40)
    objective = behind(on, defense)
    found = SHORT(objective, on.clean, on.threat, on.keys)
    assert torch.equal(left(on, objective, found), on.robust)
    assert found.by is not None
    taken = found.by[~on.robust]
    assert set(taken.tolist()) <= {0, 1}
    assert found.members[:2] == ("bare", "bare, targeted margin")


def test_what_is_replayed_lies_as_deep_as_the_threat_allows() -> None:
    """What the bare model is wrong on already goes on, to where a defense that was right is wrong too."""
    on = line(2, "linf", 40)
    weights = on.objective.victim.model.weights  # type: ignore[attr-defined]
    away = on.threat.eps * (weights[1] - weights[0]).sign()
    assert not bool(on.objective.goal.truth.any()), "all are of the first class"  # type: ignore[attr-defined]
    clean, objective = on.clean + away, behind(on, Pale())
    wrong = on.objective(clean, on.keys).success
    reached = objective(clean + away, on.keys).success
    bare = SHORT.searches(objective, on.keys)[0][0]
    found = searched(bare, torch.arange(40), clean, clean, on.threat, on.keys)
    assert torch.equal(objective(found.x, on.keys).success, reached)
    assert bool((wrong & reached & ~objective(clean, on.keys).success).any())


def test_a_manner_without_a_gradient_is_told_and_skipped() -> None:
    on = line(5, "linf", 40)
    found = SHORT(behind(on, Cut()), on.clean, on.threat, on.keys)
    assert any(notice.startswith("manner as-is could not run: the loss has no gradient") for notice in found.notices)


def test_where_no_manner_can_run_the_error_is_the_first_one_s() -> None:
    on = line(5, "linf", 8)

    class Mute(LinearClassifier):
        def features(self, x: Tensor) -> Tensor:
            return super().features(x.detach())

    objective = replace(on.objective, victim=Guarded(Mute(directions(5))))
    with pytest.raises(InvalidInput, match="no gradient to the pixels"):
        SHORT(objective, on.clean, on.threat, on.keys)


def test_the_manners_are_those_that_the_defense_has() -> None:
    on = line(5, "linf", 40)
    bare, own = (["bare", "bare, targeted margin"], ["as-is", "as-is, targeted margin"])
    assert names(on.objective) == own
    assert names(behind(on, Steep())) == [*bare, *own, "straight-through"]
    noisy = behind(on, Consensus(purifier=NoisePurifier(0.1)))
    drawn = ["recorded draws", "1 draws", "4 draws", "16 draws"]
    assert names(noisy, FULL) == [*bare, *own, "straight-through", *drawn, "latent", "continued", "queries"]
    assert names(replace(noisy, gradient="bpda")) == [*bare, *own]
    assert names(Slope(weights=images(40))) == ["as-is"], "an objective that knows no manners has one"


class Lead(Detector):
    """Suspects whatever is brighter than the clean images are."""

    parts: tuple[Model, ...] = ()

    def suspicion(self, x: Tensor, keys: Keys, captions: object = ()) -> Tensor:
        return x.flatten(1).mean(1)


@dataclass(frozen=True, kw_only=True)
class Gate(DetectorDefense):
    """Rejects bright images."""

    false_rejection: float = 0.0  # type: ignore[misc]
    threshold: float = 0.7  # type: ignore[misc]

    def detector(self, model: Model) -> Detector:
        return Lead()


def test_a_gate_is_climbed_with_its_hinge_and_taken_away() -> None:
    on = line(3, "linf", 40)
    objective = behind(on, Gate())
    searches, _ = FULL.searches(objective, on.keys)
    free = {each.name: each.objective for each in searches}
    x = on.clean * 0 + 0.9
    assert not bool(objective(x, on.keys).success.any()), "all of them are rejected"
    taken_away = free["gate taken away"](x, on.keys).success
    assert torch.equal(taken_away, free["bare"](x, on.keys).success)
    assert bool(taken_away.any())


def test_a_claim_is_judged_by_draws_that_the_search_has_not_seen() -> None:
    """Behind much noise a single draw is easily won, and four of them are not."""
    on = line(5, "linf", 40)
    objective = behind(on, Consensus(purifier=NoisePurifier(0.3)))
    found = SHORT(objective, on.clean, on.threat, on.keys)
    assert found.success is not None and found.by is not None
    assert torch.equal(found.success, found.by >= 0)
    one = replace(SHORT, looks=1)(objective, on.clean, on.threat, on.keys)
    assert one.success is not None
    assert int(found.success.sum()) < int(one.success.sum())


def test_a_sample_that_is_taken_is_not_tried_again() -> None:
    on = line(5, "linf", 40)
    objective = behind(on, Steep())
    with counting() as all_of_them:
        SHORT(objective, on.clean, on.threat, on.keys)
    with counting() as robust_alone:
        SHORT(objective.take(on.robust.nonzero().flatten()), on.clean[on.robust], on.threat, on.keys[on.robust])
    first_alone = (SHORT.steps + 2) * int((~on.robust).sum())
    assert first_alone <= all_of_them.forwards - robust_alone.forwards <= 1.2 * first_alone


@pytest.mark.parametrize("attack", [SHORT, FULL])
def test_a_sample_does_not_feel_the_others(attack: Synthesis) -> None:
    on = line(5, "linf", 12)
    objective = behind(on, Consensus(purifier=NoisePurifier(0.05)), draws=2)
    whole = attack(objective, on.clean, on.threat, on.keys)
    rows = torch.tensor([7, 2, 9])
    alone = attack(objective.take(rows), on.clean[rows], on.threat, on.keys[rows])
    assert same(alone.x, whole.x[rows])
    narrow = replace(attack, width=5)(objective, on.clean, on.threat, on.keys)
    assert same(narrow.x, whole.x)
    assert narrow.by is not None and whole.by is not None
    assert torch.equal(narrow.by, whole.by)


def test_a_targeted_goal_is_climbed_by_its_own_loss() -> None:
    clean = images(20, 96, 160)
    model = LinearClassifier(directions(4))
    truth = model(clean).argmax(1)
    goal = Targeted(classes=(truth + 1) % 4)
    objective = GuardedObjective(goal=goal, victim=Guarded(model))
    threat = Threat(eps=24 / 255)
    found = SHORT(objective, clean, threat, Keys.of(0, range(20)))
    apgd = APGD(steps=12, loss="")(objective, clean, threat, Keys.of(0, range(20)))
    assert found.success is not None and apgd.success is not None
    assert torch.equal(found.success, apgd.success)
    assert bool(found.success.any())


def test_the_continued_search_starts_from_the_best_point() -> None:
    """Who starts at the optimum keeps it; from a random point one step does not get there."""
    clean, threat, keys = images(6), Threat(eps=8 / 255), Keys.of(0, range(6))
    bowl = Bowl(center=clean + threat.eps / 3)
    manner = MannerSearch("continued", bowl, APGD(steps=1, loss="", early_exit=False), continued=True)
    found = searched(manner, torch.arange(6), clean, bowl.center, threat, keys).x
    assert same(found, bowl.center)
    anew = searched(manner._replace(continued=False), torch.arange(6), clean, bowl.center, threat, keys).x
    assert bool((bowl(anew, keys).loss < -1e-4).all())


@pytest.mark.parametrize("field", ["steps", "restarts", "looks", "queries"])
def test_numbers_below_their_least_are_refused(field: str) -> None:
    with pytest.raises(InvalidInput, match=f"{field}=0; write 1 or more"):
        Synthesis(**{field: 0})


def test_objectives_that_take_turns_are_refused() -> None:
    on = line(3, "linf", 4)
    two = Slope(weights=images(4))

    class Turns:
        parts = (two, two)
        modules = ()

    with pytest.raises(InvalidInput, match="ensemble='mean'"):
        SHORT(Turns(), on.clean, on.threat, on.keys)  # type: ignore[arg-type]


def test_untargeted_goals_are_carried_over_to_the_bare_model() -> None:
    on = line(3, "linf", 8)
    bare = SHORT.searches(behind(on, Steep()), on.keys)[0][0]
    assert isinstance(bare.objective, UntargetedObjective)
    assert isinstance(bare.objective.goal, Untargeted)
    assert isinstance(bare.objective.victim, Guarded) and bare.objective.victim.bare
