"""A goal and a guarded model together: draws folded into the batch, views, parts and rows."""

from dataclasses import replace

import torch
from torch import Tensor

from secondlook.attacks.base import input_gradient
from secondlook.decision import Surrogate
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import counting
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.base import Ensemble, GuardedObjective, ThroughViews
from secondlook.objectives.targeted import Targeted
from secondlook.randomness import Keys
from tests.analytic import Dimmer, LinearClassifier, ReadOut, Slope, directions, images, written

KEYS = Keys.of(0, range(4))
CLASSES = torch.tensor([0, 1, 2, 0])


def objective(name: str = "linear", seed: int = 0, draws: int = 1) -> GuardedObjective:
    model = LinearClassifier(directions(3, seed), name)
    victim = Guarded(model, Consensus(purifier=NoisePurifier(0.1)))
    return GuardedObjective(goal=Targeted(classes=CLASSES), victim=victim, draws=draws)


def test_an_objective_is_its_goal_seen_through_its_victim() -> None:
    one = objective(draws=3)
    with counting() as ledger:
        evaluation = one(images(4), KEYS)
    seen = one.victim.surrogate(images(4), KEYS, draws=3)
    assert seen.features.shape[:2] == (4, 3)
    assert torch.equal(evaluation.loss, one.goal.loss(seen))
    assert torch.equal(evaluation.success, one.goal.success(seen))
    assert ledger.by_model == {"linear": [12, 0], "noise:0.1": [12, 0]}
    assert one.parts == (one,)


def test_an_objective_passes_on_how_the_gradient_is_taken() -> None:
    asked: list[tuple[int, str]] = []

    class Witness(Guarded):
        def surrogate(self, x: Tensor, keys: Keys, draws: int = 1, gradient: str = "full") -> Surrogate:  # type: ignore[override]
            asked.append((draws, gradient))
            return super().surrogate(x, keys)

    victim = Witness(LinearClassifier(directions(3)))
    GuardedObjective(goal=Targeted(classes=CLASSES), victim=victim, draws=5, gradient="bpda")(images(4), KEYS)
    assert asked == [(5, "bpda")]


def test_taking_rows_is_judging_them_alone() -> None:
    rows = torch.tensor([3, 1])
    for whole in (objective(draws=2), Ensemble(members=(objective(draws=2), objective("other", 1)))):
        evaluation = whole(images(4), KEYS)
        alone = whole.take(rows)(images(4)[rows], KEYS[rows])
        assert torch.equal(alone.loss, evaluation.loss[rows])
        assert torch.equal(alone.success, evaluation.success[rows])


def test_the_loss_of_an_ensemble_is_the_mean_over_draws_of_their_own() -> None:
    members = (objective("first"), objective("second", seed=1), objective("third"))
    evaluation = Ensemble(members=members)(images(4), KEYS)
    losses = [member(images(4), KEYS.fold("member", i)).loss for i, member in enumerate(members)]
    assert torch.allclose(evaluation.loss, sum(losses, torch.zeros(4)) / 3)
    assert not torch.equal(losses[0], losses[2]), "the same model, but draws of its own"


def test_an_ensemble_reaches_its_goal_where_every_member_does() -> None:
    answers = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    goal = Targeted(classes=torch.ones(4, dtype=torch.long))
    blank = torch.zeros(4, 3, 4, 4)

    class Fixed(ReadOut):
        def __init__(self, answer: Tensor) -> None:
            super().__init__(2)
            self.answer = answer

        def features(self, x: Tensor) -> Tensor:
            return super().features(written(torch.eye(2)[self.answer], x))

    members = tuple(GuardedObjective(goal=goal, victim=Guarded(Fixed(answers[:, member]))) for member in range(2))
    evaluation = Ensemble(members=members)(blank, KEYS)
    assert evaluation.success.tolist() == [False, False, False, True]


def test_an_ensemble_is_split_into_members_or_is_one() -> None:
    members = (objective("first"), objective("second"))
    assert Ensemble(members=members).parts == members
    whole = Ensemble(members=members, split=False)
    assert whole.parts == (whole,)
    taken = whole.take(torch.tensor([0]))
    assert not taken.split
    assert len(taken.members) == 2


def test_through_views_is_the_mean_over_fresh_views_and_a_success_in_each() -> None:
    """The views differ by a factor alone, so the loss of a linear objective is known."""
    dimmer, x = Dimmer(), images(4)
    victim = Guarded(LinearClassifier(directions(3)), Consensus(purifier=dimmer))
    slope = Slope(weights=directions(4))
    bare = slope(x, KEYS).loss
    factors = dimmer.factors(KEYS.repeat(5)).view(4, 5)
    barred = replace(slope, bar=bare * 0.5)
    through = ThroughViews(objective=barred, victim=victim, draws=5)
    found = through(x, KEYS)
    assert torch.allclose(found.loss, bare * factors.mean(1), atol=1e-5)
    assert torch.equal(found.success, (bare[:, None] * factors >= bare[:, None] * 0.5).all(1))
    rows = torch.tensor([3, 1])
    assert torch.allclose(through.take(rows)(x[rows], KEYS[rows]).loss, found.loss[rows], atol=1e-5)
    for gradient, factor in (("full", factors.mean(1)), ("bpda", torch.ones(4))):
        passing = replace(through, gradient=gradient)
        steep, _ = input_gradient(passing, x, KEYS)
        assert torch.allclose(steep, factor.view(4, 1, 1, 1) * slope.weights, atol=1e-5)


def test_through_views_of_nothing_is_the_objective() -> None:
    slope, x = Slope(weights=directions(4)), images(4)
    bare = ThroughViews(objective=slope, victim=Guarded(LinearClassifier(directions(3))), draws=7)
    assert torch.equal(bare(x, KEYS).loss, slope(x, KEYS).loss)
    assert bare.parts == (bare,)
