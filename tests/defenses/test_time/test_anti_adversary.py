"""The anti-adversary layer repeats what the model says, and takes the gradient away from who asks it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import differentiate
from secondlook.attacks.synthesis import Synthesis
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.anti_adversary import AntiAdversary, OwnLabel
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.base import Classifier
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.threat import Threat
from tests.against import line
from tests.analytic import LinearClassifier, directions
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import eye

SMALL = AntiAdversary(step=2 / 255)


def own_label(guarded: Guarded) -> OwnLabel:
    assert isinstance(guarded.adaptation, OwnLabel)
    return guarded.adaptation


def test_a_linear_model_is_moved_by_the_sign_of_its_lead_to_the_same_answer() -> None:
    model, on = LinearClassifier(directions(2)), line(2, "linf", 12)
    guarded, named = Guarded(model, SMALL), model(on.clean).argmax(1)
    lead = model.weights[named] - model.weights[1 - named]
    wanted = (on.clean + 4 / 255 * lead.sign()).clamp(0, 1)
    assert torch.allclose(own_label(guarded).counter(on.clean, on.keys), wanted, atol=1e-6)
    assert torch.equal(guarded.decide(on.clean, on.keys).answer, named)


def test_what_fools_the_bare_model_fools_it_and_its_own_gradient_is_gone() -> None:
    """Its answer to every input is the bare model's; the cross-entropy behind it is flat."""
    on = line(2, "linf", 40)
    steep = LinearClassifier(400 * on.objective.victim.model.weights)  # type: ignore[attr-defined]
    bare = replace(on.objective, victim=Guarded(steep))
    through = replace(on.objective, victim=Guarded(steep, AntiAdversary()))
    replayed = APGD(steps=10, loss="ce")(bare, on.clean, on.threat, on.keys).x
    assert torch.equal(through(replayed, on.keys).success, bare(replayed, on.keys).success)
    own, open_side = (
        torch.nn.functional.cross_entropy(each.logits(on.clean, on.keys).scores[:, 0], on.objective.goal.truth)
        for each in (through, bare)
    )
    assert float(own) == 0 and float(open_side) >= 0
    found = Synthesis(steps=10)(through, on.clean, on.threat, on.keys)
    assert torch.equal(~through(found.x, on.keys).success, on.robust)
    assert found.by is not None
    first = [found.members[by] for by in found.by[~on.robust].tolist()]
    assert all(name.startswith("bare") for name in first) and first


def test_on_a_trained_classifier_the_bare_replay_wins() -> None:
    """Against the published form and one of small steps, as Croce et al. 2022 found it (62 % left, and 81 %)."""
    model = load("scenes:classifier")
    assert isinstance(model, Classifier)
    for settings, eps in ((AntiAdversary(step=4 / 255), 2 / 255), (AntiAdversary(), 1 / 255)):
        victim, threat = Guarded(model, settings), Threat(eps=eps, grid=255)
        through = UntargetedObjective(goal=Untargeted(truth=victim.decide(X, KEYS).answer), victim=victim)
        bare, attack = replace(through, victim=victim.undefended), APGD(steps=10, loss="ce", early_exit=False)
        replayed, climbed = (int(through(attack(at, X, threat, KEYS).x, KEYS).success.sum()) for at in (bare, through))
        assert replayed >= climbed + 2, (settings, replayed, climbed)
    found = Synthesis(steps=5)(through, X, threat, KEYS)
    assert found.by is not None
    first = [found.members[by] for by in found.by.tolist() if by >= 0]
    assert len(first) >= 4 and all(name.startswith("bare") for name in first)


def test_the_gradient_straight_through_is_the_one_of_the_unrolled_loop() -> None:
    guarded = Guarded(clip(), SMALL)
    x, keys = (X[:3] * 0.8 + 0.1).requires_grad_(), KEYS[:3]
    unrolled = clip()(own_label(guarded).counter(x, keys)).sum(1)
    through = guarded.surrogate(x, keys, gradient="bpda").scores.sum((1, 2))
    assert same(through, unrolled)
    past, whole = differentiate(through, x), differentiate(unrolled, x)
    assert float((past - whole).norm() / whole.norm()) < 1e-4


def test_the_published_form_leaves_the_cube_of_pixels() -> None:
    published = own_label(Guarded(clip(), AntiAdversary(legacy_unclipped=True)))
    clipped = own_label(Guarded(clip(), AntiAdversary()))
    found, ours = (each.counter(X, KEYS).detach() for each in (published, clipped))
    assert bool((found < -0.01).any())
    assert float(ours.min()) >= 0 and float(ours.max()) <= 1
    assert Guarded(clip(), AntiAdversary(legacy_unclipped=True)).decide(X, KEYS).scores.shape == (len(X), 6)


def test_it_costs_four_forwards_and_two_backwards_and_feels_no_neighbor() -> None:
    guarded = Guarded(clip(), SMALL)
    with counting() as ledger:
        guarded.decide(X, KEYS)
    assert (ledger.forwards, ledger.backwards) == (4 * len(X), 2 * len(X))
    assert float(coupling(guarded, X[:3], KEYS[:3], kept=1).max()) < COUPLED
    assert not guarded.stochastic


def test_cosines_are_divided_by_a_temperature_and_logits_are_not() -> None:
    assert own_label(Guarded(clip(), AntiAdversary())).scale == 0.01
    assert own_label(Guarded(LinearClassifier(directions(3)), AntiAdversary())).scale == 1.0


def test_models_without_classes_and_pixels_that_cannot_be_shown_are_refused() -> None:
    with pytest.raises(InvalidInput, match="anti-adversary works with the scores of classes, and tiny:eye has none"):
        Guarded(eye(), AntiAdversary())
    with pytest.raises(InvalidInput, match="legacy_unclipped shows pixels outside"):
        Guarded(LinearClassifier(directions(3)), AntiAdversary(legacy_unclipped=True))
    with pytest.raises(InvalidInput, match="temperature=0"):
        AntiAdversary(temperature=0.0)
