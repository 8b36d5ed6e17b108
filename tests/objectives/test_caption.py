"""Goals against a captioner, on one whose probabilities are known in closed form."""

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import input_gradient
from secondlook.attacks.pgd import PGD
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.objectives.caption import TargetedCaption, UntargetedCaption
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.models.test_captioner import Colors, color, keys

X = torch.cat([color(0.6, 0.3, 0.1), color(0.2, 0.2, 0.6)])
TRUE = (("red again", "red red again"), ("blue again", "blue blue again"))


def log(*chances: float) -> float:
    return float(torch.tensor(chances).log().sum())


def test_the_untargeted_loss_is_minus_the_mean_log_probability() -> None:
    found = UntargetedCaption(captioner=Colors(), texts=TRUE)(X, keys(2))
    wanted = [-(log(p, 0.75) / 3 + log(p, 0.25, 0.75) / 4) / 2 for p in (0.6, 0.6)]
    assert found.loss.tolist() == pytest.approx(wanted, abs=1e-5)
    assert not found.success.any()


def test_the_targeted_loss_is_that_of_the_likeliest_sentence() -> None:
    texts = (("green again", "red again"), ("blue", "green blue again"))
    found = TargetedCaption(captioner=Colors(), texts=texts)(X, keys(2))
    assert found.loss[0].item() == pytest.approx(log(0.6, 0.75) / 3, abs=1e-5)
    assert found.success.tolist() == [True, False]


def test_reached_is_what_it_writes() -> None:
    teller = Colors()
    for target in ("red again", "blue again", "green again"):
        goal = TargetedCaption(captioner=teller, texts=((target,),) * 2)
        assert goal(X, keys(2)).success.tolist() == [t == target for t in teller.caption(X, keys(2))]


def test_some_of_the_samples_are_judged_as_among_all() -> None:
    for goal in (UntargetedCaption(captioner=Colors(), texts=TRUE), TargetedCaption(captioner=Colors(), texts=TRUE)):
        whole, rows = goal(X, keys(2)), torch.tensor([1])
        part = goal.take(rows)(X[rows], keys(2)[rows])
        assert torch.allclose(part.loss, whole.loss[rows]) and type(goal.take(rows)) is type(goal)
        assert goal.parts == (goal,)


def test_a_step_costs_a_forward_of_each_text() -> None:
    """This captioner looks at an image anew for each of its texts, and the ledger says so."""
    with counting() as ledger:
        input_gradient(UntargetedCaption(captioner=Colors(), texts=TRUE), X, keys(2))
    assert (ledger.forwards, ledger.backwards) == (4, 4)


@pytest.mark.parametrize("name", ["red", "green", "blue"])
def test_an_attack_makes_it_say_the_target(name: str) -> None:
    x = torch.full((2, 3, 4, 4), 0.5)
    threat, ids = Threat.parse("linf", 0.1), Keys.of(1, ["a", "b"])
    goal = TargetedCaption(captioner=Colors(), texts=((f"{name} again",),) * 2)
    attacked = PGD(steps=5)(goal, x, threat, ids).x
    assert Colors().caption(attacked, ids) == [f"{name} again"] * 2
    unsay, wider = (UntargetedCaption(captioner=Colors(), texts=((name,),) * 2), Threat.parse("linf", 0.2))
    away = PGD(steps=5)(unsay, attacked, wider, ids).x
    assert all(name not in text for text in Colors().caption(away, ids))


def test_who_says_the_target_already_is_left_alone_at_once() -> None:
    goal = TargetedCaption(captioner=Colors(), texts=(("red again",), ("green again",)))
    attack = PGD(steps=5, early_exit=True, random_start=False)
    found = attack(goal, (X * 255).round() / 255, Threat.parse("linf", 0.01), keys(2))
    assert found.trace.steps.tolist() == [1, 5]


def mean_of(x: Tensor, channel: int) -> Tensor:
    return x[:, channel].mean((1, 2))


def test_the_optimum_is_the_corner_that_raises_the_target_s_share() -> None:
    """The share of red is r / (r + g + b): its L∞ optimum is red up, the others down."""
    x, threat = torch.full((1, 3, 4, 4), 0.5), Threat.parse("linf", 0.1)
    goal = TargetedCaption(captioner=Colors(), texts=(("red",),))
    attacked = PGD(steps=20)(goal, x, threat, Keys.of(0, ["a"])).x
    for channel, wanted in enumerate((0.6, 0.4, 0.4)):
        assert mean_of(attacked, channel).item() == pytest.approx(wanted, abs=2 / 255)


def test_texts_that_do_not_fit_are_told() -> None:
    for texts in ((("a",), ("a", "b")), ((),)):
        with pytest.raises(InvalidInput, match="each image needs texts"):
            UntargetedCaption(captioner=Colors(), texts=texts)
