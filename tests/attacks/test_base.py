"""What holds for every attack, by the frame around it or over the whole registry."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.base import Attack, Attacked, Objective, Trace, input_gradient
from secondlook.attacks.pgd import PGD
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.undefended import Undefended
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.goals.base import Aim, Victim
from secondlook.goals.mislead import Bout, Mislead
from secondlook.goals.targeted import WinVotes
from secondlook.models.noise import NoisePurifier
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat
from tests.analytic import (
    SHAPE,
    LinearClassifier,
    MoodyClassifier,
    Slope,
    directions,
    global_generators,
    images,
)

THREATS = (Threat(eps=8 / 255), Threat(norm="l2", eps=0.5))
KEYS = Keys.of(0, range(8))
OVER_CLASSES = ("apgd", "autoattack", "fab", "square")
"""Attacks that bring losses over the scores of classes, and so need a contest."""
OF_STAGES = {"attackvlm": {"transfer_steps": 0}}
"""Attacks that climb one objective after another, as far as a single one leads them."""
STRIDES = ("adv-transfer", "attackvlm", "rgf")
"""Attacks whose published step is the length along one pixel; in L2 it is along all of them."""
every_attack = pytest.mark.parametrize("name", registry.names("attack"))


def made(name: str) -> Attack:
    """The attack under its name, as it is but with few steps and queries."""
    fields = registry.settings(registry.find("attack", name))
    short = {key: few for key, few in {"steps": 4, "queries": 20}.items() if key in fields}
    attack: Attack = registry.build("attack", name, short | OF_STAGES.get(name, {}))
    return attack


def aim_at(victim: Victim, name: str, temperature: float = 1.0, draws: int = 1) -> Aim:
    """An objective over three classes that the attack under that name can climb."""
    classes = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    if name in OVER_CLASSES:
        return Bout(goal=Mislead(truth=classes), victim=victim, draws=draws, classes=3)
    goal = WinVotes(classes=classes, temperature=temperature)
    return Aim(goal=goal, victim=victim, draws=draws)


# --- every attack there is ---------------------------------------------------------------------


@every_attack
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_the_result_is_legal_8_bit_and_off_the_graph(name: str, threat: Threat) -> None:
    clean = images(8, low=0, high=256).requires_grad_()
    model = MoodyClassifier()
    with torch.no_grad():
        x = made(name)(aim_at(Undefended(model=model), name), clean, threat, KEYS).x
    threat.check(x, clean.detach())
    assert torch.allclose(x * 255, (x * 255).round(), atol=1e-3)
    assert not x.requires_grad
    assert not torch.equal(x, clean), "an attack that moves nothing is none"


@every_attack
def test_the_networks_are_as_they_were(name: str) -> None:
    model = MoodyClassifier()
    network = model.network.train()
    network.body[2].eval()
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    network.head.weight.grad = torch.ones_like(network.head.weight)
    modes = [part.training for part in network.modules()]
    made(name)(aim_at(Undefended(model=model), name), images(8), THREATS[0], KEYS)
    assert [part.training for part in network.modules()] == modes
    assert torch.equal(network.head.weight.grad, torch.ones_like(network.head.weight))
    assert network.head.bias.grad is None
    for key, value in network.state_dict().items():
        assert torch.equal(value, weights[key]), f"{key} was changed"


@every_attack
def test_the_search_sees_eval_mode(name: str) -> None:
    model, clean = MoodyClassifier(), images(8)
    model.network.train()
    in_training = made(name)(aim_at(Undefended(model=model), name), clean, THREATS[0], KEYS).x
    model.network.eval()
    assert torch.equal(
        in_training, made(name)(aim_at(Undefended(model=model), name), clean, THREATS[0], KEYS).x
    )


@every_attack
def test_no_global_generator_is_touched(name: str) -> None:
    aim = aim_at(Undefended(model=MoodyClassifier()), name)
    before = global_generators()
    made(name)(aim, images(8), THREATS[0], KEYS)
    assert global_generators() == before


BATCHES: tuple[Sequence[Sequence[int]], ...] = (
    [[0], [1], [2], [3], [4], [5], [6], [7]],
    [[0, 1, 2], [3, 4, 5, 6, 7]],
    [[6, 1, 4], [7, 0], [2, 3, 5]],
    [[7, 6, 5, 4, 3, 2, 1, 0]],
)


@every_attack
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("batches", BATCHES, ids=["alone", "split", "shuffled", "reversed"])
def test_a_sample_is_attacked_alike_in_any_company(
    name: str, threat: Threat, batches: Sequence[Sequence[int]]
) -> None:
    """Exactly, and against a victim that draws: three classes make each draw count."""
    linear = LinearClassifier(directions(3))
    victim = Consensus(model=linear, purifier=NoisePurifier(0.2))
    aim, clean, attack = aim_at(victim, name, temperature=0.5, draws=3), images(8), made(name)
    whole = attack(aim, clean, threat, KEYS)
    for rows in batches:
        index = torch.tensor(rows)
        part = attack(aim.take(index), clean[index], threat, KEYS[index])
        assert torch.equal(part.x, whole.x[index])
        assert torch.equal(part.trace.last_loss, whole.trace.last_loss[index])
    other = attack(aim, clean, threat, Keys.of(1, range(8)))
    assert not torch.equal(other.trace.last_loss, whole.trace.last_loss), "the draws must matter"


@pytest.mark.parametrize("name", OVER_CLASSES)
def test_an_attack_over_classes_refuses_what_has_none(name: str) -> None:
    with pytest.raises(InvalidInput, match="needs the scores of classes"):
        made(name)(Slope(weights=directions(8)), images(8), THREATS[0], KEYS)


@pytest.mark.parametrize("name", [n for n in registry.names("attack") if n not in OVER_CLASSES])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_larger_ball_is_never_worse(name: str, norm: Norm) -> None:
    slope, clean = Slope(weights=directions(8)), images(8)
    losses = []
    for level in (1, 2, 4, 8):
        threat = Threat(norm=norm, eps=level / 255 * (1 if norm == "linf" else 8))
        # As many steps as the published step length needs to cross the largest ball.
        longer = {"step": 8 / 255} if norm == "l2" and name in STRIDES else {}
        attack = registry.build("attack", name, {"steps": 30, **longer, **OF_STAGES.get(name, {})})
        losses.append(slope(attack(slope, clean, threat, KEYS).x, KEYS).loss)
    for smaller, larger in zip(losses, losses[1:], strict=False):
        assert bool((larger > smaller).all())


# --- the frame ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Careless(Attack):
    """Returns the clean image plus ``delta``, still on the graph, and ball or no ball."""

    delta: Tensor | float

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        nothing = torch.zeros(len(clean))
        trace = Trace(
            first_loss=nothing, middle_loss=nothing, last_loss=nothing,
            zero_gradient=nothing, bad_gradient=nothing, steps=nothing,
        )  # fmt: skip
        return Attacked(clean + torch.as_tensor(self.delta).requires_grad_(), trace)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("delta", [0.9, -0.9, 0.04])
def test_what_leaves_the_ball_is_put_back(threat: Threat, delta: float) -> None:
    clean = images(8)
    x = Careless(delta=delta)(Slope(weights=directions(8)), clean, threat, KEYS).x
    threat.check(x, clean)
    assert not x.requires_grad


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_what_cannot_be_put_back_is_caught(threat: Threat) -> None:
    with pytest.raises(BrokenThreat, match="NaN"):
        Careless(delta=float("nan"))(Slope(weights=directions(8)), images(8), threat, KEYS)


@pytest.mark.parametrize("shape", [(1, *SHAPE), (8, 3, 4, 1), (7, *SHAPE), (2, 8, *SHAPE)])
def test_a_result_of_another_shape_is_caught(shape: tuple[int, ...]) -> None:
    """Even one that could be broadcast to the right shape."""

    class Misshapen(PGD):
        def search(self, *args: Any) -> Attacked:
            return Attacked(torch.zeros(shape), super().search(*args).trace)

    with pytest.raises(BrokenThreat, match="shape"):
        Misshapen(steps=1)(Slope(weights=directions(8)), images(8), THREATS[0], KEYS)


def test_the_call_is_final() -> None:
    with pytest.raises(TypeError, match="Cheat.__call__ is final; write search"):

        class Cheat(PGD):
            def __call__(self, *args: object) -> Attacked:  # type: ignore[misc]
                raise NotImplementedError


@pytest.mark.parametrize(
    ("clean", "keys", "says"),
    [
        (images(8), KEYS[:7], "7 keys for 8 samples; one key per sample"),
        (images(8) * 255, KEYS, "divide by 255"),
        (images(8) * 2 - 1, KEYS, r"not \[0, 1\]; normalisation belongs inside the model"),
        (images(8) * float("nan"), KEYS, "NaN"),
        (images(8)[0], KEYS, r"images are \[B, 3, H, W\]"),
        (images(8)[:, :1], KEYS, r"images are \[B, 3, H, W\]"),
        ((images(8) * 255).byte(), KEYS, "uint8"),
    ],
)
def test_bad_input_is_refused(clean: Tensor, keys: Keys, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        PGD(steps=1)(Slope(weights=directions(8)), clean, THREATS[0], keys)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_a_batch_of_nothing_stays_one(threat: Threat) -> None:
    found = PGD(steps=2)(Slope(weights=directions(0)), images(0), threat, KEYS[:0])
    assert found.x.shape == (0, *SHAPE)


def test_modes_come_back_when_the_search_fails() -> None:
    model = MoodyClassifier()
    model.network.train()
    with pytest.raises(BrokenThreat):
        Careless(delta=float("nan"))(
            aim_at(Undefended(model=model), ""), images(8), THREATS[0], KEYS
        )
    assert all(part.training for part in model.network.modules())


# --- gradients ---------------------------------------------------------------------------------


def test_a_gradient_does_not_depend_on_the_size_of_the_batch() -> None:
    weights, clean = directions(8), images(8)
    gradient, judged = input_gradient(Slope(weights=weights), clean, KEYS)
    assert torch.equal(gradient, weights)
    assert not judged.loss.requires_grad
    alone, _ = input_gradient(Slope(weights=weights[5:6]), clean[5:6], KEYS[5:6])
    assert torch.equal(alone, weights[5:6])


@dataclass(frozen=True, kw_only=True)
class Flat(Slope):
    """Answers the same everywhere; ``how`` it forgets its input."""

    how: str = "detached"

    def __call__(self, x: Tensor, keys: Keys) -> object:  # type: ignore[override]
        forget = {"detached": x.detach(), "zero": x * 0}
        judged = super().__call__(forget[self.how], keys)
        bias = torch.zeros(1, requires_grad=self.how == "detached")
        return judged._replace(loss=judged.loss + bias)


@pytest.fixture(params=["detached", "zero"])
def flat(request: pytest.FixtureRequest) -> Iterator[Flat]:
    yield Flat(weights=directions(8), how=request.param)


def test_no_gradient_is_a_zero_gradient(flat: Flat) -> None:
    gradient, _ = input_gradient(flat, images(8), KEYS)
    assert not gradient.any()


def test_zero_gradients_are_counted(flat: Flat) -> None:
    found = PGD(steps=3, random_start=False)(flat, images(8), THREATS[0], KEYS)
    assert found.trace.zero_gradient.tolist() == [1.0] * 8
    assert found.trace.bad_gradient.tolist() == [0.0] * 8
    assert torch.equal(found.x, images(8))
