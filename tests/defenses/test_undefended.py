"""The bare model as every other guarded model, and the two controls that have learned nothing."""

import pytest
import torch

from secondlook import registry
from secondlook.attacks.pgd import PGD
from secondlook.defenses.base import Defense
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.undefended import AlwaysAccept, AlwaysReject
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import LinearClassifier, MoodyClassifier, directions, images
from tests.models.test_captioner import Colors

KEYS = Keys.of(0, range(5))
MODEL = LinearClassifier(directions(3))


def test_the_model_s_answer_is_the_answer() -> None:
    with counting() as ledger:
        seen = Guarded(MODEL).decide(images(5), KEYS)
    scores = (images(5)[:, None] * MODEL.weights).flatten(2).sum(2)
    assert torch.allclose(seen.scores, scores)
    assert seen.answer.tolist() == scores.argmax(1).tolist()
    assert torch.equal(seen.votes, torch.nn.functional.one_hot(scores.argmax(1), 3))
    assert torch.equal(seen.features, images(5).flatten(1))
    assert seen.accepted.tolist() == [True] * 5
    assert seen.draws.tolist() == [1] * 5
    assert seen.suspicion.tolist() == [0] * 5
    assert ledger.by_model == {"linear": [5, 0]}


def test_a_surrogate_is_one_draw_with_the_models_own_gradient() -> None:
    x = images(5).requires_grad_()
    with counting() as ledger:
        seen = Guarded(MODEL).surrogate(x, KEYS, draws=7)
        (gradient,) = torch.autograd.grad(seen.scores[:, 0, 1].sum(), x)
    assert seen.scores.shape == (5, 1, 3)
    assert torch.allclose(gradient, MODEL.weights[1].expand(5, -1, -1, -1))
    assert ledger.by_model == {"linear": [5, 5]}


def test_a_decision_is_taken_in_eval_mode() -> None:
    defense = Guarded(MoodyClassifier())
    network = defense.model.modules[0].eval()
    calm = defense.decide(images(5), KEYS)
    network.train()
    assert torch.equal(defense.decide(images(5), KEYS).scores, calm.scores)
    assert all(part.training for part in network.modules())


def test_a_decision_has_no_gradient_and_needs_a_key_for_each_sample() -> None:
    defense = Guarded(MODEL)
    assert not defense.decide(images(5).requires_grad_(), KEYS).scores.requires_grad
    assert not defense.stochastic
    with pytest.raises(InvalidInput, match="4 keys for 5 samples"):
        defense.decide(images(5), KEYS[:4])
    with pytest.raises(InvalidInput, match="divide by 255"):
        defense.decide(images(5) * 255, KEYS)


# --- the controls -----------------------------------------------------------------------------

X = images(5)
CONTROLS = [(AlwaysAccept(), True), (AlwaysReject(), False)]
"""Each with whether it accepts."""


@pytest.mark.parametrize(("control", "accepted"), CONTROLS)
def test_the_answers_are_the_models_and_only_acceptance_differs(control: Defense, accepted: bool) -> None:
    bare, guarded = Guarded(MODEL).decide(X, KEYS), Guarded(MODEL, control)
    seen = guarded.decide(X, KEYS)
    assert torch.equal(seen.scores, bare.scores)
    assert seen.accepted.tolist() == [accepted] * 5
    assert seen.suspicion.unique().tolist() == [0 if accepted else 1]
    assert not guarded.stochastic
    assert guarded.rejects is not accepted
    assert registry.describe(control) == {"name": control.registered_name}


def test_rejecting_all_shows_no_way_to_acceptance() -> None:
    x = X.clone().requires_grad_()
    seen = Guarded(MODEL, AlwaysReject()).surrogate(x, KEYS)
    assert seen.acceptance is not None
    assert seen.acceptance.tolist() == [[-1]] * 5
    assert not seen.acceptance.requires_grad
    assert Guarded(MODEL, AlwaysAccept()).surrogate(x, KEYS).acceptance is None


@pytest.mark.parametrize(("control", "fooled"), CONTROLS)
def test_who_rejects_all_is_never_fooled_and_who_accepts_all_is(control: Defense, fooled: bool) -> None:
    guarded = Guarded(MODEL, control)
    objective = UntargetedObjective(goal=Untargeted(truth=MODEL(X).argmax(1)), victim=guarded)
    found = PGD(steps=10)(objective, X, Threat(eps=1.0), KEYS)
    assert objective(found.x, KEYS).success.tolist() == [fooled] * 5
    assert guarded.decide(found.x, KEYS).accepted.tolist() == [fooled] * 5


def test_the_controls_stand_in_front_of_any_model() -> None:
    """A captioner's texts are held back, too."""
    assert Guarded(Colors(), AlwaysReject()).texts(X, KEYS) == [""] * 5
    assert Guarded(Colors(), AlwaysAccept()).texts(X, KEYS) == Colors().caption(X, KEYS, length=40)
