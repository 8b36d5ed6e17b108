"""What an attack says that it needs at most is what it needs where nothing comes of it, and never less."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from secondlook import registry
from secondlook.attacks.base import Attack, AttackResult, Objective, Passes
from secondlook.attacks.synthesis import Synthesis
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.anti_adversary import AntiAdversary
from secondlook.ledger import counting
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.base import Ensemble
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.against import line
from tests.analytic import Bowl

HELD = line(4, "linf", 6)
TIGHT = replace(HELD.threat, eps=1e-4)
"""Nobody is fooled in so small a ball, so that no search ends early."""

ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "pgd": ("pgd", {"steps": 7}),
    "pgd without its best": ("pgd", {"steps": 7, "keep_best": False}),
    "fgsm": ("fgsm", {}),
    "vmi-fgsm": ("vmi-fgsm", {"steps": 3, "neighbors": 2}),
    "illusion": ("illusion", {"steps": 4}),
    "apgd": ("apgd", {"steps": 6, "restarts": 2}),
    "apgd, targets": ("apgd", {"steps": 6, "targets": 2, "restarts": 2, "loss": "dlr"}),
    "apgd, draws": ("apgd", {"steps": 6, "draws": 3}),
    "fab": ("fab", {"steps": 5, "restarts": 2}),
    "fab, targets": ("fab", {"steps": 5, "targets": 2}),
    "square": ("square", {"queries": 20, "restarts": 2}),
    "rgf": ("rgf", {"steps": 2, "queries": 5}),
    "autoattack": ("autoattack", {"steps": 6, "queries": 20}),
    "autoattack plus": ("autoattack", {"steps": 6, "queries": 20, "version": "plus"}),
    "autoattack rand": ("autoattack", {"steps": 3, "version": "rand"}),
    "autoattack fast": ("autoattack", {"steps": 20, "queries": 20, "version": "fast", "check": 1.0}),
    "synthesis": ("synthesis", {"steps": 5}),
    "synthesis, full": ("synthesis", {"steps": 5, "budget": "full", "queries": 20}),
}

NEEDED = {"fab": 0.3, "apgd, draws": 0.3, "autoattack rand": 0.04, "autoattack fast": 0.4}
"""Where less than the half is: one forward serves several gradients, draws of who draws nothing are one, and
the version ``fast`` asks at length about none whose gradients are no worse than queries."""


@pytest.mark.parametrize("name", ATTACKS)
def test_a_search_that_finds_nothing_needs_what_it_says(name: str) -> None:
    attack: Attack = registry.build("attack", *ATTACKS[name])
    said = attack.passes(HELD.objective, TIGHT)
    assert said is not None
    with counting() as ledger:
        attack(HELD.objective, HELD.clean, TIGHT, HELD.keys)
    forwards, backwards = (count / len(HELD.clean) for count in (ledger.forwards, ledger.backwards))
    assert forwards <= said.gradients + said.queries
    assert backwards <= said.gradients
    assert forwards >= NEEDED.get(name, 0.55) * (said.gradients + said.queries)


def test_members_that_take_turns_each_need_a_gradient() -> None:
    both = Ensemble(members=(HELD.objective, HELD.objective))
    attack: Attack = registry.build("attack", "pgd", {"steps": 5, "keep_best": False})
    assert attack.passes(both, TIGHT) == Passes(gradients=10)


def test_two_stages_are_told_apart() -> None:
    attack: Attack = registry.build("attack", "attackvlm", {"transfer_steps": 4, "line": 2, "steps": 2, "queries": 5})
    both = Ensemble(members=(HELD.objective, replace(HELD.objective)))
    assert attack.passes(both, TIGHT) == Passes(gradients=4, queries=3 + 2 * 6 + 1)


def test_the_iterates_of_a_loop_and_the_clean_vector_are_counted() -> None:
    """A gradient at four points of a loop needs no more than four of the whole loop."""
    objective = replace(HELD.objective, victim=Guarded(HELD.objective.victim.model, AntiAdversary(steps=5)))
    attack = Synthesis(steps=4, budget="full", queries=5)
    assert {"iterates", "latent"} <= {each.name for each in attack.searches(objective, HELD.keys)[0]}
    said = attack.passes(objective, TIGHT)
    assert said is not None
    with counting() as one:
        objective(HELD.clean, HELD.keys)
    with counting() as ledger:
        attack(objective, HELD.clean, TIGHT, HELD.keys)
    assert ledger.forwards <= (said.gradients + said.queries) * one.forwards
    members = len(objective.victim.iterates)
    assert members == 4
    without = (said.gradients - (members - 1) * 5 + said.queries) * one.forwards
    assert ledger.forwards > 0.5 * without


def test_the_draws_of_a_manner_are_counted() -> None:
    """Against a randomized defense the full budget tries more draws, which cost as much more."""
    model = HELD.objective.victim.model
    guarded = Guarded(model, Consensus(purifier=NoisePurifier(0.01), samples=2))
    objective = replace(HELD.objective, victim=guarded)
    attack: Attack = registry.build("attack", "synthesis", {"steps": 3, "budget": "full", "queries": 5})
    said = attack.passes(objective, TIGHT)
    with counting() as one, torch.no_grad():
        objective(HELD.clean, HELD.keys)
    with counting() as ledger:
        attack(objective, HELD.clean, TIGHT, HELD.keys)
    assert said is not None
    assert ledger.forwards <= (said.gradients + said.queries) * one.forwards
    assert ledger.forwards >= 0.5 * (said.gradients + said.queries) * one.forwards


@dataclass(frozen=True, kw_only=True)
class Quiet(Attack):
    """Says nothing of its passes."""

    def search(self, objective: Objective, clean: torch.Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Does nothing."""
        raise AssertionError


def test_an_attack_of_one_s_own_need_not_say() -> None:
    assert Quiet().passes(Bowl(center=HELD.clean), TIGHT) is None
