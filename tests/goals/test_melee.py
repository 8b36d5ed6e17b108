"""Several victims as one contest: their looks side by side, and all of them to be fooled."""

import pytest
import torch

from secondlook.attacks.contest import Contest
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.goals.base import Ensemble
from secondlook.goals.melee import Melee
from secondlook.goals.mislead import Bout, Mislead
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images

KEYS, TRUTH = Keys.of(0, range(6)), torch.tensor([0, 1, 2, 0, 1, 2])


def bout(seed: int, classes: int = 3) -> Bout:
    model = LinearClassifier(directions(classes, seed), f"linear {seed}")
    victim = Undefended(model=model)
    return Bout(goal=Mislead(truth=TRUTH), victim=victim, classes=classes)


def test_it_is_a_contest_and_an_ensemble() -> None:
    melee = Melee(members=(bout(0), bout(1)), split=False)
    assert isinstance(melee, Contest) and isinstance(melee, Ensemble)
    assert melee.parts == (melee,) and melee.classes == 3
    assert torch.equal(melee.losing, TRUTH[:, None])


def test_every_victim_s_look_is_a_draw() -> None:
    members = (bout(0), bout(1))
    seen = Melee(members=members).look(images(6), KEYS)
    alone = [member.look(images(6), KEYS) for member in members]
    assert seen.scores.shape == (6, 2, 3) and seen.opinions.shape == (6, 2, 0, 3)
    assert torch.equal(seen.scores, torch.cat([view.scores for view in alone], 1))


def test_success_is_to_fool_all_and_the_loss_is_the_mean() -> None:
    members = (bout(0), bout(1))
    judged = Melee(members=members)(images(6), KEYS)
    alone = [member(images(6), KEYS) for member in members]
    assert torch.equal(judged.reached, alone[0].reached & alone[1].reached)
    assert torch.allclose(judged.loss, (alone[0].loss + alone[1].loss) / 2)
    assert len({tuple(each.reached.tolist()) for each in alone}) == 2


def test_rows_and_draws_are_taken_of_every_member() -> None:
    melee, rows = Melee(members=(bout(0), bout(1))), torch.tensor([4, 0])
    part = melee.take(rows)
    assert torch.equal(part.losing, TRUTH[rows, None])
    whole = melee.look(images(6), KEYS).scores
    assert torch.equal(part.look(images(6)[rows], KEYS[rows]).scores, whole[rows])
    assert [member.draws for member in melee.drawing(7).members] == [7, 7]


def test_victims_of_other_classes_do_not_fit() -> None:
    with pytest.raises(InvalidInput, match="must have the same classes"):
        Melee(members=(bout(0), bout(1, classes=4)))
