"""Candidates tried in turn: their order in closed form, who has none, and success as what is answered."""

from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Evaluation
from secondlook.attacks.synthesis import Synthesis
from secondlook.objectives.candidates import AnsweredGoal, CandidateObjectives, Candidates, Found, easiest
from secondlook.objectives.caption import GreedyCaption
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.defenses.mirror_models import colors_behind
from tests.models.test_captioner import Colors, color

X = torch.cat([color(0.6, 0.3, 0.1), color(0.2, 0.5, 0.3)])
KEYS = Keys.of(0, "ab")
TELLER = Colors()


def saying(texts: tuple[str, ...]) -> GreedyCaption:
    return GreedyCaption(captioner=TELLER, texts=texts)


def aiming(options: Sequence[Sequence[str]], asked: list[int] | None = None, whole: bool = False) -> AnsweredGoal:
    guarded = colors_behind(threshold=2.0)

    def find() -> Found:
        def of(chosen: tuple[int, ...]) -> GreedyCaption:
            return saying(tuple(o[at] if at >= 0 else "" for o, at in zip(options, chosen, strict=True)))

        return Found(tuple(map(len, options)), of)

    def judge(x: Tensor, keys: Keys, rows: tuple[int, ...]) -> Tensor:
        if asked is not None:
            asked.append(len(x))
        said = guarded.decide(x, keys).texts
        return torch.tensor([text in options[row] for text, row in zip(said, rows, strict=True)], dtype=torch.bool)

    return AnsweredGoal(
        victim=guarded,
        judge=judge,
        rows=(0, 1),
        candidates=Candidates("near miss", 4, find),
        whole=saying(("blue again", "blue again")) if whole else None,
    )


def test_the_loss_ends_where_a_sentence_is_written_with_a_lead() -> None:
    found = saying(("red again", "red again"))(X, KEYS)
    assert float(found.loss[0]) == 0 and bool(found.success[0])
    wanted = (0.5 + torch.tensor(0.5).log() - torch.tensor(0.2).log()) / 3
    assert torch.allclose(-found.loss[1], wanted, atol=1e-5) and not found.success[1]


def test_a_lead_that_is_too_small_is_no_success() -> None:
    near = color(0.40, 0.38, 0.1)
    assert TELLER.caption(near, KEYS[:1]) == ["red again"]
    assert not saying(("red again",))(near, KEYS[:1]).success


def test_an_image_without_a_sentence_has_no_gradient_and_no_success() -> None:
    x = X.clone().requires_grad_()
    found = saying(("", "green again"))(x, KEYS)
    (gradient,) = torch.autograd.grad(found.loss.sum(), x)
    assert not found.success[0] and float(found.loss[0].detach()) == 0 and not gradient[0].any()
    none = saying(("", ""))(x, KEYS)
    assert not none.success.any() and not torch.autograd.grad(none.loss.sum(), x)[0].any()


def test_the_nearest_texts_come_first() -> None:
    options = [["blue again", "green again", "red again"], ["blue again"]]
    assert easiest(saying, options, X, KEYS, 2) == [["red again", "green again"], ["blue again"]]
    assert easiest(saying, [[], []], X, KEYS, 2) == [[], []]
    alone = easiest(saying, options[:1], X[:1], KEYS[:1], 2)
    assert alone == [["red again", "green again"]]


def test_an_attack_may_choose_among_the_candidates_of_each_image() -> None:
    goal = aiming([["green again", "blue again"], ["red again"]])
    manners = goal.manners(False, KEYS)
    assert list(manners) == ["near miss"] and goal.notices == ()
    contest = manners["near miss"]
    assert isinstance(contest, CandidateObjectives) and contest.counts == (2, 1)
    assert isinstance(found := contest.choosing([1, 0]), GreedyCaption) and found.texts == ("blue again", "red again")
    half = contest.take(torch.tensor([1]))
    assert half.counts == (1,)
    assert isinstance(found := half.choosing([0]), GreedyCaption) and found.texts == ("red again",)


def test_who_has_no_aim_is_told_and_left_as_it_is() -> None:
    goal = aiming([["green again"], []])
    says = "1 of 2 images have no near miss, and are left as they are"
    assert goal.notices == (says,) and goal.manners(False, KEYS)["no near miss"] == says
    found = Synthesis(steps=8)(goal, X, Threat.parse("linf", 0.3), KEYS)
    assert found.success is not None and found.success.tolist() == [True, False]
    assert any(says in notice for notice in found.notices)
    nobody = aiming([[], []])
    found = Synthesis(steps=8)(nobody, X, Threat.parse("linf", 0.3), KEYS)
    assert found.success is not None and not found.success.any()


def test_success_is_what_is_answered_and_asked_for_only_without_a_gradient() -> None:
    asked: list[int] = []
    goal = aiming([["red again"], ["red again"]], asked, whole=True)
    steep: Evaluation = goal(X.clone().requires_grad_(), KEYS)
    assert not asked and not steep.success.any()
    assert goal(X, KEYS).success.tolist() == [True, False] and asked == [2]
    assert goal.take(torch.tensor([1]))(X[1:], KEYS[1:]).success.tolist() == [False]


def test_an_attack_gets_what_is_nearest() -> None:
    """Blue is out of reach within the budget, and green is not: whoever may choose gets green."""
    threat, options = Threat.parse("linf", 0.2), [["green again", "blue again"], ["green again", "blue again"]]
    x = torch.cat([color(0.6, 0.4, 0.05), color(0.6, 0.4, 0.05)])
    lone = APGD(steps=20, loss="")(aiming([["blue again"]] * 2), x, threat, KEYS)
    assert not aiming([["blue again"]] * 2)(lone.x, KEYS).success.any()
    found = Synthesis(steps=20)(aiming(options, whole=True), x, threat, KEYS)
    assert found.success is not None and found.success.all() and found.by is not None
    assert [found.members[at] for at in found.by.tolist()] == ["near miss"] * 2
