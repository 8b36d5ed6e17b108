"""The bare model behind the same door as every defence."""

import pytest
import torch

from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, MoodyClassifier, directions, images

KEYS = Keys.of(0, range(5))
MODEL = LinearClassifier(directions(3))


def test_the_first_look_is_the_answer() -> None:
    with counting() as ledger:
        seen = Undefended(model=MODEL).decide(images(5), KEYS)
    scores = (images(5)[:, None] * MODEL.weights).flatten(2).sum(2)
    assert torch.allclose(seen.scores, scores)
    assert seen.answer.tolist() == scores.argmax(1).tolist()
    assert torch.equal(seen.votes, torch.nn.functional.one_hot(scores.argmax(1), 3))
    assert torch.equal(seen.features, images(5).flatten(1))
    assert seen.accepted.tolist() == [True] * 5
    assert seen.draws.tolist() == [1] * 5
    assert seen.suspicion.tolist() == [0] * 5
    assert ledger.by_model == {"linear": [5, 0]}


def test_a_glimpse_is_one_look_with_the_models_own_gradient() -> None:
    x = images(5).requires_grad_()
    with counting() as ledger:
        seen = Undefended(model=MODEL).glimpse(x, KEYS, draws=7)
        (gradient,) = torch.autograd.grad(seen.scores[:, 0, 1].sum(), x)
    assert seen.scores.shape == (5, 1, 3)
    assert torch.allclose(gradient, MODEL.weights[1].expand(5, -1, -1, -1))
    assert ledger.by_model == {"linear": [5, 5]}


def test_a_decision_is_taken_in_eval_mode() -> None:
    defence = Undefended(model=MoodyClassifier())
    network = defence.model.modules[0].eval()
    calm = defence.decide(images(5), KEYS)
    network.train()
    assert torch.equal(defence.decide(images(5), KEYS).scores, calm.scores)
    assert all(part.training for part in network.modules())


def test_a_decision_has_no_gradient_and_needs_a_key_for_each_sample() -> None:
    defence = Undefended(model=MODEL)
    assert not defence.decide(images(5).requires_grad_(), KEYS).scores.requires_grad
    assert not defence.stochastic
    with pytest.raises(InvalidInput, match="4 keys for 5 samples"):
        defence.decide(images(5), KEYS[:4])
    with pytest.raises(InvalidInput, match="divide by 255"):
        defence.decide(images(5) * 255, KEYS)
