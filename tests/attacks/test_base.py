"""What holds for every attack, by the frame around it or over the whole registry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.base import Attack, AttackResult, Evaluation, Objective, Trace, input_gradient
from secondlook.attacks.pgd import PGD
from secondlook.attacks.square import Square
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.models.logits import LogitClassifier
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.base import GuardedModel, GuardedObjective
from secondlook.objectives.targeted import Targeted
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat
from tests.analytic import SHAPE, LinearClassifier, MoodyClassifier, Slope, directions, global_generators, images

THREATS = (Threat(eps=8 / 255), Threat(norm="l2", eps=0.5))
KEYS = Keys.of(0, range(8))
OVER_CLASSES = ("apgd", "autoattack", "fab", "square")
"""Attacks that bring losses over the scores of classes, and so need a contest."""
OF_STAGES = {"attackvlm": {"transfer_steps": 0}}
"""Attacks that climb one objective after another, as far as a single one leads them."""
STRIDES = ("adv-transfer", "attackvlm", "rgf")
"""Attacks whose published step is the length along one pixel; in L2 it is along all of them."""
TRANSFERRED = [name for name in registry.names("attack") if registry.find("attack", name).transfers]
"""Attacks that cannot do without a surrogate; each has tests of its own."""
every_attack = pytest.mark.parametrize("name", [n for n in registry.names("attack") if n not in TRANSFERRED])


class FourChannels(LinearClassifier):
    """A linear model of images with four channels."""

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def made(name: str) -> Attack:
    """The attack under its name, as it is but with few steps and queries."""
    fields = registry.settings(registry.find("attack", name))
    short = {key: few for key, few in {"steps": 4, "queries": 20}.items() if key in fields}
    attack: Attack = registry.build("attack", name, short | OF_STAGES.get(name, {}))
    return attack


def aim_at(victim: GuardedModel, name: str, temperature: float = 1.0, draws: int = 1) -> GuardedObjective:
    """An objective over three classes that the attack under that name can climb."""
    classes = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    if name in OVER_CLASSES:
        return UntargetedObjective(goal=Untargeted(truth=classes), victim=victim, draws=draws)
    goal = Targeted(classes=classes, temperature=temperature)
    return GuardedObjective(goal=goal, victim=victim, draws=draws)


# --- every attack there is ---------------------------------------------------------------------


@every_attack
@pytest.mark.parametrize("grid", [None, 255, 15])
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_the_result_is_legal_and_off_the_graph(name: str, threat: Threat, grid: int | None) -> None:
    clean = images(8, low=0, high=256)
    clean = ((clean * grid).round() / grid if grid else clean).requires_grad_()
    threat = replace(threat, grid=grid, eps=max(threat.eps, 1.5 / (grid or 255)))
    model = MoodyClassifier()
    with torch.no_grad():
        x = made(name)(aim_at(Guarded(model), name), clean, threat, KEYS).x
    threat.check(x, clean.detach())
    if grid:
        assert torch.allclose(x * grid, (x * grid).round(), atol=1e-3)
    assert not x.requires_grad
    assert grid == 15 or not torch.equal(x, clean), "an attack that moves nothing is none"


@every_attack
def test_any_number_of_channels_is_attacked(name: str) -> None:
    clean = images(8)[:, :1].repeat(1, 4, 1, 1)
    model = FourChannels(directions(3)[:, :1].repeat(1, 4, 1, 1))
    x = made(name)(aim_at(Guarded(model), name), clean, THREATS[0], KEYS).x
    assert x.shape == clean.shape
    assert not torch.equal(x, clean)


@every_attack
def test_the_callers_pixels_are_not_touched(name: str) -> None:
    clean = images(8)
    before = clean.clone()
    found = made(name)(aim_at(Guarded(MoodyClassifier()), name), clean, THREATS[0], KEYS)
    assert found.x.data_ptr() != clean.data_ptr()
    found.x.zero_()
    assert torch.equal(clean, before)


@every_attack
def test_a_model_that_works_in_place_is_attacked_like_its_copying_twin(name: str) -> None:
    weights, clean = directions(3).flatten(1), images(8)
    before = clean.clone()

    def copying(x: Tensor) -> Tensor:
        return ((x * 0.5 + 0.25).flatten(1)[:, None] * weights).sum(2)

    def in_place(x: Tensor) -> Tensor:
        return (x.mul_(0.5).add_(0.25).flatten(1)[:, None] * weights).sum(2)

    one, other = (
        made(name)(aim_at(Guarded(LogitClassifier("twin", function, ["a", "b", "c"])), name), clean, THREATS[0], KEYS).x
        for function in (copying, in_place)
    )
    assert torch.equal(one, other)
    assert torch.equal(clean, before)


@every_attack
def test_inference_mode_around_the_call_is_left(name: str) -> None:
    aim, clean = aim_at(Guarded(LinearClassifier(directions(3))), name), images(8)
    expected = made(name)(aim, clean, THREATS[0], KEYS).x
    with torch.inference_mode():
        found = made(name)(aim, clean.clone(), THREATS[0], KEYS).x
    assert torch.equal(found, expected)


@every_attack
def test_the_networks_are_as_they_were(name: str) -> None:
    model = MoodyClassifier()
    network = model.network.train()
    network.body[2].eval()
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    network.head.weight.grad = torch.ones_like(network.head.weight)
    modes = [part.training for part in network.modules()]
    made(name)(aim_at(Guarded(model), name), images(8), THREATS[0], KEYS)
    assert [part.training for part in network.modules()] == modes
    assert torch.equal(network.head.weight.grad, torch.ones_like(network.head.weight))
    assert network.head.bias.grad is None
    for key, value in network.state_dict().items():
        assert torch.equal(value, weights[key]), f"{key} was changed"


@every_attack
def test_the_search_sees_eval_mode(name: str) -> None:
    model, clean = MoodyClassifier(), images(8)
    model.network.train()
    in_training = made(name)(aim_at(Guarded(model), name), clean, THREATS[0], KEYS).x
    model.network.eval()
    assert torch.equal(in_training, made(name)(aim_at(Guarded(model), name), clean, THREATS[0], KEYS).x)


@every_attack
def test_no_global_generator_is_touched(name: str) -> None:
    aim = aim_at(Guarded(MoodyClassifier()), name)
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
def test_a_sample_is_attacked_alike_in_any_company(name: str, threat: Threat, batches: Sequence[Sequence[int]]) -> None:
    """Exactly, and against a victim that draws: three classes make each draw count."""
    linear = LinearClassifier(directions(3))
    victim = Guarded(linear, Consensus(purifier=NoisePurifier(0.2)))
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


@pytest.mark.parametrize("name", [n for n in registry.names("attack") if n not in (*OVER_CLASSES, *TRANSFERRED)])
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

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        nothing = torch.zeros(len(clean))
        trace = Trace(
            first_loss=nothing,
            middle_loss=nothing,
            last_loss=nothing,
            zero_gradient=nothing,
            bad_gradient=nothing,
            steps=nothing,
        )
        return AttackResult(clean + torch.as_tensor(self.delta).requires_grad_(), trace)


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
        def search(self, *args: Any) -> AttackResult:
            return AttackResult(torch.zeros(shape), super().search(*args).trace)

    with pytest.raises(BrokenThreat, match="shape"):
        Misshapen(steps=1)(Slope(weights=directions(8)), images(8), THREATS[0], KEYS)


def test_the_call_is_final() -> None:
    with pytest.raises(TypeError, match="Cheat.__call__ is final; write search"):

        class Cheat(PGD):
            def __call__(self, *args: object) -> AttackResult:  # type: ignore[misc]
                raise NotImplementedError


@pytest.mark.parametrize(
    ("clean", "keys", "says"),
    [
        (images(8), KEYS[:7], "7 keys for 8 samples; one key per sample"),
        (images(8) * 255, KEYS, "divide by 255"),
        (images(8) * 2 - 1, KEYS, r"not \[0, 1\]; normalization belongs inside the model"),
        (images(8) * float("nan"), KEYS, "NaN"),
        (images(8)[0], KEYS, r"images are \[B, C, H, W\]"),
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
        Careless(delta=float("nan"))(aim_at(Guarded(model), ""), images(8), THREATS[0], KEYS)
    assert all(part.training for part in model.network.modules())


# --- gradients ---------------------------------------------------------------------------------


def test_a_gradient_does_not_depend_on_the_size_of_the_batch() -> None:
    weights, clean = directions(8), images(8)
    gradient, evaluation = input_gradient(Slope(weights=weights), clean, KEYS)
    assert torch.equal(gradient, weights)
    assert not evaluation.loss.requires_grad
    alone, _ = input_gradient(Slope(weights=weights[5:6]), clean[5:6], KEYS[5:6])
    assert torch.equal(alone, weights[5:6])


@dataclass(frozen=True, kw_only=True)
class Flat(Slope):
    """Answers the same everywhere; ``how`` it forgets its input."""

    how: str = "zero"

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        bias = torch.zeros(1, requires_grad=True)
        if self.how == "no_grad":
            with torch.no_grad():
                return super().__call__(x, keys)
        if self.how == "inference_mode":
            with torch.inference_mode():
                return super().__call__(x, keys)
        evaluation = super().__call__({"zero": x * 0, "detached": x.detach()}[self.how], keys)
        return evaluation._replace(loss=evaluation.loss + bias)


def test_a_zero_gradient_is_counted() -> None:
    flat = Flat(weights=directions(8))
    gradient, _ = input_gradient(flat, images(8), KEYS)
    assert not gradient.any()
    found = PGD(steps=3, random_start=False)(flat, images(8), THREATS[0], KEYS)
    assert found.trace.zero_gradient.tolist() == [1.0] * 8
    assert found.trace.bad_gradient.tolist() == [0.0] * 8
    assert torch.equal(found.x, images(8))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no_grad", r"in torch.no_grad\(\), or detaches"),
        ("inference_mode", r"in torch.inference_mode\(\)"),
        ("detached", "detached, rounded or replaced on their way"),
    ],
)
def test_no_gradient_at_all_is_an_error_that_says_why(how: str, says: str) -> None:
    flat = Flat(weights=directions(8), how=how)
    with pytest.raises(InvalidInput, match=says):
        PGD(steps=3)(flat, images(8), THREATS[0], KEYS)
    found = Square(queries=5, loss="")(flat, images(8), THREATS[0], KEYS)
    assert found.trace.steps.tolist() == [6.0] * 8, "queries need none"


def test_weights_that_were_made_in_inference_mode_are_named() -> None:
    with torch.inference_mode():
        slope = Slope(weights=directions(8))
    with pytest.raises(InvalidInput, match="made in torch.inference_mode"):
        PGD(steps=3)(slope, images(8), THREATS[0], KEYS)
