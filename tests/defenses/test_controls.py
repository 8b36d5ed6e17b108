"""The two controls: what neither of them knows, and that an attack of either finds nothing."""

import torch

from secondlook import registry
from secondlook.attacks.pgd import PGD
from secondlook.defenses.controls import AlwaysAccept, AlwaysReject
from secondlook.defenses.undefended import Undefended
from secondlook.goals.mislead import Bout, Mislead
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import LinearClassifier, directions, images

KEYS = Keys.of(0, range(5))
MODEL = LinearClassifier(directions(3))
X = images(5)
CONTROLS = ((AlwaysAccept(model=MODEL), True), (AlwaysReject(model=MODEL), False))
"""Each with whether it accepts."""


def test_the_answers_are_the_models_and_only_acceptance_differs() -> None:
    bare = Undefended(model=MODEL).decide(X, KEYS)
    for control, accepted in (
        (AlwaysAccept(model=MODEL), True),
        (AlwaysReject(model=MODEL), False),
    ):
        seen = control.decide(X, KEYS)
        assert torch.equal(seen.scores, bare.scores)
        assert seen.accepted.tolist() == [accepted] * 5
        assert not control.stochastic
        assert registry.describe(control) == {"name": control.registered_name}  # type: ignore[attr-defined]


def test_suspicion_tells_a_control_nothing() -> None:
    assert AlwaysReject(model=MODEL).decide(X, KEYS).suspicion.unique().tolist() == [1]
    assert AlwaysAccept(model=MODEL).decide(X, KEYS).suspicion.unique().tolist() == [0]


def test_rejecting_all_shows_no_way_to_acceptance() -> None:
    x = X.clone().requires_grad_()
    seen = AlwaysReject(model=MODEL).glimpse(x, KEYS)
    assert seen.acceptance is not None
    assert seen.acceptance.tolist() == [[-1]] * 5
    assert not seen.acceptance.requires_grad
    assert AlwaysAccept(model=MODEL).glimpse(x, KEYS).acceptance is None


def test_nobody_who_rejects_all_is_ever_fooled_and_whoever_accepts_all_is() -> None:
    goal = Mislead(truth=MODEL(X).argmax(1))
    threat = Threat(eps=1.0)
    for control, fooled in CONTROLS:
        bout = Bout(goal=goal, victim=control, rejects=not fooled, classes=3)
        found = PGD(steps=10)(bout, X, threat, KEYS)
        assert bout(found.x, KEYS).reached.tolist() == [fooled] * 5
        assert control.decide(found.x, KEYS).accepted.tolist() == [fooled] * 5
