"""A goal and a victim together: draws folded into the batch, ensembles, parts and rows."""

import torch
from torch import Tensor

from secondlook.decision import Glimpse
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.undefended import Undefended
from secondlook.goals.base import Aim, Ensemble
from secondlook.goals.targeted import WinVotes
from secondlook.ledger import counting
from secondlook.models.noise import NoisePurifier
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, ReadOut, directions, images, written

KEYS = Keys.of(0, range(4))
CLASSES = torch.tensor([0, 1, 2, 0])


def aim(name: str = "linear", seed: int = 0, draws: int = 1) -> Aim:
    model = LinearClassifier(directions(3, seed), name)
    victim = Consensus(model=model, purifier=NoisePurifier(0.1))
    return Aim(goal=WinVotes(classes=CLASSES), victim=victim, draws=draws)


def test_an_aim_is_its_goal_seen_through_its_victim() -> None:
    one = aim(draws=3)
    with counting() as ledger:
        judged = one(images(4), KEYS)
    seen = one.victim.glimpse(images(4), KEYS, draws=3)
    assert seen.features.shape[:2] == (4, 3)
    assert torch.equal(judged.loss, one.goal.loss(seen))
    assert torch.equal(judged.reached, one.goal.reached(seen))
    assert ledger.by_model == {"linear": [12, 0], "noise:0.1": [12, 0]}
    assert one.parts == (one,)


def test_an_aim_passes_on_how_the_gradient_is_taken() -> None:
    asked: list[tuple[int, str]] = []

    class Witness(Undefended):
        def glimpse(self, x: Tensor, keys: Keys, draws: int = 1, gradient: str = "full") -> Glimpse:  # type: ignore[override]
            asked.append((draws, gradient))
            return super().glimpse(x, keys)

    victim = Witness(model=LinearClassifier(directions(3)))
    Aim(goal=WinVotes(classes=CLASSES), victim=victim, draws=5, gradient="bpda")(images(4), KEYS)
    assert asked == [(5, "bpda")]


def test_taking_rows_is_judging_them_alone() -> None:
    rows = torch.tensor([3, 1])
    for whole in (aim(draws=2), Ensemble(members=(aim(draws=2), aim("other", 1)))):
        judged = whole(images(4), KEYS)
        alone = whole.take(rows)(images(4)[rows], KEYS[rows])
        assert torch.equal(alone.loss, judged.loss[rows])
        assert torch.equal(alone.reached, judged.reached[rows])


def test_the_loss_of_an_ensemble_is_the_mean_over_draws_of_their_own() -> None:
    members = (aim("first"), aim("second", seed=1), aim("third"))
    judged = Ensemble(members=members)(images(4), KEYS)
    losses = [member(images(4), KEYS.fold("member", i)).loss for i, member in enumerate(members)]
    assert torch.allclose(judged.loss, sum(losses, torch.zeros(4)) / 3)
    assert not torch.equal(losses[0], losses[2]), "the same model, but draws of its own"


def test_an_ensemble_reaches_its_goal_where_every_member_does() -> None:
    answers = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    goal = WinVotes(classes=torch.ones(4, dtype=torch.long))
    blank = torch.zeros(4, 3, 4, 4)

    class Fixed(ReadOut):
        def __init__(self, answer: Tensor) -> None:
            super().__init__(2)
            self.answer = answer

        def features(self, x: Tensor) -> Tensor:
            return super().features(written(torch.eye(2)[self.answer], x))

    members = tuple(
        Aim(goal=goal, victim=Undefended(model=Fixed(answers[:, member]))) for member in range(2)
    )
    judged = Ensemble(members=members)(blank, KEYS)
    assert judged.reached.tolist() == [False, False, False, True]


def test_an_ensemble_is_split_into_members_or_is_one() -> None:
    members = (aim("first"), aim("second"))
    assert Ensemble(members=members).parts == members
    whole = Ensemble(members=members, split=False)
    assert whole.parts == (whole,)
    taken = whole.take(torch.tensor([0]))
    assert not taken.split
    assert len(taken.members) == 2
