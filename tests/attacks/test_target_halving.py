"""Short runs towards many targets, of which the closer half goes on: who is fooled, by what, at what cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.class_objective import Logits
from secondlook.attacks.search_state import BestPoints, TraceRecorder
from secondlook.attacks.target_halving import Standings, TargetHalving
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.logits import LogitClassifier
from secondlook.objectives.untargeted import UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat
from tests.against import Line, against, everything, held, line
from tests.analytic import LinearClassifier, directions, images


def left_by(on: Line, attack: TargetHalving) -> Tensor:
    x = attack(on.objective, on.clean, on.threat, on.keys).x
    return ~on.objective(x, on.keys).success


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3, 5, 10, 101])
def test_the_closed_form_is_met(classes: int, norm: Norm) -> None:
    on = line(classes, norm, 40)
    left = left_by(on, TargetHalving())
    assert bool(left[on.robust].all()), "nobody can do better than the closed form"
    # In L1 two classes leave as many to APGD with a hundred steps.
    assert int(left.sum() - on.robust.sum()) <= (2 if norm == "l1" else 0)


def test_each_round_halves_the_targets_and_doubles_the_steps() -> None:
    rounds = TargetHalving(steps=10, targets=9).rounds
    assert list(rounds(9)) == [(9, 10), (4, 20), (2, 40), (1, 80)]
    assert list(rounds(1)) == [(1, 10), (1, 80)]
    assert list(rounds(3)) == [(3, 10), (2, 40), (1, 80)]
    assert list(TargetHalving(targets=1).rounds(1)) == [(1, 10)]


def test_a_survivor_costs_the_rounds_and_no_more() -> None:
    on = line(12, "linf", 12)
    robust = torch.nonzero(on.robust).flatten()
    objective, clean, keys = on.objective.take(robust), on.clean[robust], on.keys[robust]
    few = Threat(eps=on.threat.eps / 20)
    for patience, most in ((0.0, 9 * 10 + 4 * 20 + 2 * 40 + 80), (1.0, 9 * 10)):
        with counting() as ledger:
            TargetHalving(patience=patience)(objective, clean, few, keys)
        runs = 16 if patience == 0 else 9
        looks = min(len(robust), 8)
        # The first run has its first look at the clean image; the last of a run has no gradient.
        assert ledger.forwards <= len(robust) * (most + runs) + looks
        assert ledger.forwards >= len(robust) * most
        assert ledger.backwards <= ledger.forwards


def test_what_one_step_fools_costs_that_step() -> None:
    model, clean = LinearClassifier(directions(5)), images(4)
    objective, keys = held(model, clean), Keys.of(0, range(4))
    with counting() as ledger:
        found = TargetHalving()(objective, clean, Threat(eps=0.25), keys)
    assert bool(objective(found.x, keys).success.all())
    assert (ledger.forwards, ledger.backwards) == (4 + 4 + 4, 4 + 4)


def test_whoever_is_wrong_already_stays_as_it_is() -> None:
    model, clean = LinearClassifier(directions(5)), images(4)
    wrong = against(model, (model(clean).argmax(1) + 1) % 5)
    with counting() as ledger:
        found = TargetHalving()(wrong, clean, Threat(), Keys.of(0, range(4)))
    assert torch.equal(found.x, clean)
    assert (ledger.forwards, ledger.backwards) == (2 * 4, 4)


def test_without_hope_a_sample_is_given_up_and_no_other_is() -> None:
    clean = torch.tensor([[-1.0, -2.0], [-1.0, -2.0], [float("nan"), float("nan")]])
    reached = torch.tensor([[-0.8, -0.7], [-0.9, -1.9], [float("nan"), float("nan")]])
    image = torch.zeros(3, 1, 1, 1)
    standings = Standings(torch.zeros(3, 2).long(), clean, reached, image, BestPoints(image), TraceRecorder(image))
    assert standings.worth(0.5).tolist() == [0]
    assert standings.worth(0.0).tolist() == [0, 1, 2]
    assert standings.closest(1)[:2].tolist() == [[1], [0]]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_sample_does_not_feel_its_neighbors(norm: Norm) -> None:
    on, attack = line(6, norm, 9), TargetHalving(steps=3)
    whole = everything(attack, on.objective, on.clean, on.threat, on.keys)
    order = torch.tensor([7, 2, 5])
    some = everything(attack, on.objective.take(order), on.clean[order], on.threat, on.keys[order])
    assert torch.equal(whole[order], some)
    narrow = replace(attack, width=2)(on.objective, on.clean, on.threat, on.keys)
    assert torch.equal(whole[:, : on.clean[0].numel()], narrow.x.flatten(1))


@dataclass(frozen=True, kw_only=True)
class Watched(UntargetedObjective):
    """Writes down what it is shown."""

    shown: list[Tensor] = field(default_factory=list)

    def logits(self, x: Tensor, keys: Keys) -> Logits:
        self.shown.append(x.detach().clone())
        return super().logits(x, keys)

    def take(self, rows: Tensor) -> Watched:
        return replace(self, goal=self.goal.take(rows))


def test_every_run_but_the_first_starts_where_the_keys_say() -> None:
    on = line(6, "linf", 12)
    robust = torch.nonzero(on.robust).flatten()
    shown = []
    for keys in (on.keys, on.keys, on.keys.fold("other")):
        watched = Watched(goal=on.objective.goal.take(robust), victim=on.objective.victim)
        TargetHalving(steps=2, targets=2)(watched, on.clean[robust], on.threat, keys[robust])
        shown.append(watched.shown)
    # Two looks, two steps of the first run, and then the second one's start.
    start = 4
    for before in range(start):
        assert torch.equal(shown[0][before], shown[2][before])
    assert all(torch.equal(*pair) for pair in zip(shown[0], shown[1], strict=True))
    assert not torch.equal(shown[0][start], shown[2][start])


def test_scores_that_are_no_numbers_are_no_success() -> None:
    model = LogitClassifier("nan", lambda x: x.flatten(1)[:, :5] * float("nan"), list("abcde"))
    objective = against(model, torch.zeros(2, dtype=torch.long))
    found = TargetHalving(steps=2)(objective, images(2), Threat(), Keys.of(0, range(2)))
    assert found.success is not None
    assert not bool(found.success.any())
    assert found.trace.bad_gradient.tolist() == [1.0, 1.0]


@dataclass
class Drifting:
    """Answers a bit otherwise each time."""

    turn: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.turn += 1
        return x.flatten(1)[:, :4] * (1 + 0.1 * self.turn) + 0.05 * self.turn * torch.arange(4)


def test_a_randomized_victim_is_refused_though_it_does_not_say_so() -> None:
    clean = images(3)
    objective = against(LogitClassifier("drift", Drifting(), list("abcd")), torch.zeros(3, dtype=torch.long))
    with pytest.raises(InvalidInput, match="write version='rand'"):
        TargetHalving()(objective, clean, Threat(), Keys.of(0, range(3)))


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("targets", 0), ("width", -1), ("patience", 1.5)])
def test_what_makes_no_search(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"{field}={value}"):
        TargetHalving(**{field: value})  # type: ignore[arg-type]
