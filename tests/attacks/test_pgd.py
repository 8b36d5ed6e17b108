"""PGD finds the optima that are known, stops where it may, and counts what it spends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation
from secondlook.attacks.pgd import PGD
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.targeted import Targeted
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat, per_sample
from tests.analytic import Bowl, LinearClassifier, Slope, directions, images

KEYS = Keys.of(0, range(6))
LINF = Threat(eps=8 / 255)
STEP = 1 / 255


def levels(x: Tensor) -> list[list[int]]:
    """8-bit levels of each image."""
    return (x * 255).round().int().flatten(1).tolist()


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """Has the gradient ``gradients[s]`` at the s-th question, wherever it is asked."""

    gradients: Tensor
    fed: list[Keys] = field(default_factory=list)
    modules: tuple[nn.Module, ...] = ()

    @property
    def parts(self) -> tuple[Rehearsed, ...]:
        return (self,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        loss = (x * self.gradients[len(self.fed)]).flatten(1).sum(1)
        self.fed.append(keys)
        return Evaluation(loss, torch.zeros(len(x), dtype=torch.bool))

    def take(self, rows: Tensor) -> Rehearsed:
        return self


# --- the optimum -------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("random_start", [True, False])
def test_the_linf_optimum_of_a_line_is_a_corner(random_start: bool, momentum: float) -> None:
    clean, weights = images(6), directions(6)
    attack = PGD(steps=20, random_start=random_start, momentum=momentum)
    up = attack(Slope(weights=weights), clean, LINF, KEYS).x
    down = attack(Slope(weights=-weights), clean, LINF, KEYS).x
    assert levels(up) == levels(clean + LINF.eps * weights.sign())
    assert levels(down) == levels(clean - LINF.eps * weights.sign())


@pytest.mark.parametrize("random_start", [True, False])
def test_the_l2_optimum_of_a_line_is_along_it(random_start: bool) -> None:
    clean, weights = images(6), directions(6)
    threat = Threat(norm="l2", eps=0.5)
    attack, slope = PGD(steps=99, step=0.1, random_start=random_start), Slope(weights=weights)
    best = clean + threat.eps * weights / per_sample(threat.size(weights))
    exact = attack.search(slope, clean, threat, KEYS).x
    assert torch.allclose(exact, best, atol=1e-4)
    rounded = attack(slope, clean, threat, KEYS).x
    assert torch.allclose(rounded, best, atol=STEP)
    gain = slope(rounded, KEYS).loss - slope(clean, KEYS).loss
    assert bool((gain > 0.97 * threat.eps * threat.size(weights)).all())


def test_the_optimum_stops_at_black_and_white() -> None:
    clean, weights = images(6, low=0, high=4), directions(6)
    x = PGD(steps=20)(Slope(weights=weights), clean, LINF, KEYS).x
    assert levels(x) == levels((clean + LINF.eps * weights.sign()).clamp(0, 1))


# --- the random start --------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_random_start_is_spread_over_the_ball(norm: Norm) -> None:
    clean, keys = images(100), Keys.of(0, range(100))
    threat = Threat(norm=norm, eps=0.1)
    start = PGD(step=1e-9, steps=1, keep_best=False)
    x = start.search(Slope(weights=directions(100)), clean, threat, keys).x
    sizes = threat.size(x - clean) / threat.eps
    assert float(sizes.max()) <= 1 + 1e-5
    assert abs(float((x - clean).mean())) < 0.01
    assert float(sizes.mean()) == pytest.approx(48 / 49 if norm == "linf" else 1 / 2, abs=0.1)


def test_without_a_random_start_the_first_look_is_at_the_clean_image() -> None:
    slope, clean = Slope(weights=directions(6)), images(6)
    trace = PGD(steps=2, random_start=False)(slope, clean, LINF, KEYS).trace
    assert torch.equal(trace.first_loss, slope(clean, KEYS).loss)


# --- the step ----------------------------------------------------------------------------------


def test_the_length_of_a_step() -> None:
    published = PGD(steps=700, step=0.01, decay=0.9)
    lengths = [published.step_length(step, LINF, torch.zeros(1, 3, 2, 2)) for step in (0, 299, 300, 599, 600)]
    assert lengths == pytest.approx([0.01, 0.01, 0.009, 0.009, 0.0081])
    assert PGD(steps=50).step_length(49, LINF, torch.zeros(1, 3, 2, 2)) == pytest.approx(2.5 * LINF.eps / 50)


def test_the_schedule_is_the_one_that_is_walked() -> None:
    attack = PGD(steps=4, step=4 * STEP, decay=0.5, decay_every=2, random_start=False)
    x = attack(Slope(weights=directions(6)), images(6), Threat(eps=0.2), KEYS).x
    assert levels(x) == levels(images(6) + (4 + 4 + 2 + 2) * STEP * directions(6).sign())


@pytest.mark.parametrize(("momentum", "moved"), [(0.0, (0, 0)), (0.8, (2, 0)), (0.5, (0, 0)), (0.9, (2, 0))])
def test_momentum_keeps_a_share_of_the_normalized_gradients(momentum: float, moved: tuple[int, int]) -> None:
    """First (30, 10), that is (1.5, 0.5) of its mean size; then (-1, -1)."""
    gradients = torch.zeros(3, 1, 3, 1, 2)
    gradients[0] = torch.tensor([30.0, 10.0])
    gradients[1] = -1
    clean = torch.full((1, 3, 1, 2), 128 / 255)
    attack = PGD(steps=2, step=STEP, momentum=momentum, random_start=False, keep_best=False)
    x = attack(Rehearsed(gradients=gradients), clean, LINF, KEYS[:1]).x
    assert levels(x - clean) == [list(moved) * 3]


# --- the best iterate --------------------------------------------------------------------------


@pytest.mark.parametrize(("keep_best", "moved"), [(True, 0), (False, 2)])
def test_the_best_iterate_is_kept_where_asked(keep_best: bool, moved: int) -> None:
    """Steps of 2 around a peak at 0.5 go to 2, to 0 and to 2 again."""
    clean = images(6)
    attack = PGD(steps=3, step=2 * STEP, random_start=False, keep_best=keep_best)
    x = attack(Bowl(center=clean + 0.5 * STEP), clean, LINF, KEYS).x
    assert levels(x - clean) == levels(torch.full_like(clean, moved * STEP))


# --- early exit --------------------------------------------------------------------------------

NEEDED = (0, 2, 5, 10, 11, 3)
"""Steps of 1/255 until each sample reaches its bar, of 10 that may be taken."""


def race(early_exit: bool, momentum: float = 0.0, keep_best: bool = True) -> PGD:
    return PGD(steps=10, step=STEP, random_start=False, early_exit=early_exit, keep_best=keep_best, momentum=momentum)


def hurdles() -> Slope:
    weights = directions(6)
    gain = weights.flatten(1).abs().sum(1) * STEP
    start = Slope(weights=weights)(images(6), KEYS).loss
    return Slope(weights=weights, bar=start + (torch.tensor(NEEDED) - 0.5) * gain)


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_sample_that_is_done_leaves_with_what_did_it(momentum: float, keep_best: bool) -> None:
    threat, clean, slope = Threat(eps=20 / 255), images(6), hurdles()
    found = race(True, momentum, keep_best)(slope, clean, threat, KEYS)
    walked = torch.tensor([min(steps, 10) for steps in NEEDED])
    # The closed form of each sample: whoever is mixed up with a neighbor lands elsewhere.
    assert levels(found.x) == levels(clean + per_sample(walked) * STEP * slope.weights.sign())
    assert found.trace.steps.tolist() == [1, 3, 6, 10, 10, 4]


def test_early_exit_succeeds_as_often_and_costs_less() -> None:
    threat, clean, slope = Threat(eps=20 / 255), images(6), hurdles()
    success, spent = {}, {}
    for early_exit in (True, False):
        with counting() as ledger:
            x = race(early_exit)(slope, clean, threat, KEYS).x
        spent[early_exit] = (ledger.forwards, ledger.backwards)
        success[early_exit] = slope(x, KEYS).success.tolist()
    assert success[True] == success[False] == [True, True, True, True, False, True]
    # One look more than steps needed; the two that are still there at the end are looked at again.
    assert spent[True] == (1 + 3 + 6 + 10 + 10 + 4 + 2, 1 + 3 + 6 + 10 + 10 + 4)
    assert spent[False] == (6 * 11, 6 * 10)


def test_a_batch_that_is_done_at_once_costs_one_look() -> None:
    slope = replace(hurdles(), bar=torch.full((6,), -1e9))
    with counting() as ledger:
        found = race(True)(slope, images(6), LINF, KEYS)
    assert (ledger.forwards, ledger.backwards) == (6, 6)
    assert torch.equal(found.x, images(6))


def test_who_leaves_early_does_not_change_the_draws_of_who_stays() -> None:
    linear = LinearClassifier(directions(3))
    victim = Guarded(linear, Consensus(purifier=NoisePurifier(0.1)))
    goal = Targeted(classes=torch.tensor([0, 1, 2, 0, 1, 2]), temperature=0.5)
    aim, clean, threat = (GuardedObjective(goal=goal, victim=victim, draws=2), images(6), Threat(eps=40 / 255))
    attack = PGD(steps=12, early_exit=True)
    whole = attack(aim, clean, threat, KEYS)
    assert len(set(whole.trace.steps.tolist())) > 2, "some leave early, some late"
    for row in range(6):
        index = torch.tensor([row])
        alone = attack(aim.take(index), clean[index], threat, KEYS[index])
        assert torch.equal(alone.x, whole.x[index])
        assert torch.equal(alone.trace.last_loss, whole.trace.last_loss[index])


# --- sick gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("sick", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_sick_gradient_is_counted_and_does_not_spread(norm: Norm, sick: float, momentum: float) -> None:
    weights = directions(3)
    gradients = weights.expand(5, -1, -1, -1, -1).clone()
    gradients[1, 1, 0, 0, 0] = sick
    gradients[2, 1] = sick
    threat = Threat(norm=norm, eps=0.2)
    attack = PGD(steps=4, step=STEP, momentum=momentum, random_start=False, keep_best=False)
    found = attack(Rehearsed(gradients=gradients), images(3), threat, KEYS[:3])
    well = attack(Rehearsed(gradients=weights.expand(5, -1, -1, -1, -1)), images(3), threat, KEYS[:3])
    assert found.trace.bad_gradient.tolist() == [0, 0.5, 0]
    assert found.trace.zero_gradient.tolist() == [0, 0, 0]
    assert torch.equal(found.x[[0, 2]], well.x[[0, 2]])
    assert not torch.equal(found.x[1], images(3)[1])
    if norm == "linf" and not momentum:
        walked = torch.full((1, 3, 4, 4), 3.0)
        walked[0, 0, 0, 0] = 2
        expected = images(3)[1:2] + walked * STEP * weights[1:2].sign()
        assert levels(found.x[1:2]) == levels(expected)


def test_a_loss_of_nan_is_never_the_best() -> None:
    weights = directions(3)
    weights[1] = float("nan")
    found = PGD(steps=3, random_start=False)(Slope(weights=weights), images(3), LINF, KEYS[:3])
    assert torch.equal(found.x[1], images(3)[1])
    assert found.trace.bad_gradient.tolist() == [0, 1, 0]


# --- the ledger, the trace, the settings -------------------------------------------------------


def test_each_look_has_draws_of_its_own() -> None:
    looks = Rehearsed(gradients=directions(1).expand(8, -1, -1, -1, -1))
    PGD(steps=7)(looks, images(6), LINF, KEYS)
    words = [word for keys in looks.fed for word in keys.words.tolist()]
    assert len(set(words)) == len(words) == 6 * 8


@pytest.mark.parametrize(("keep_best", "forwards"), [(True, 6 * 8), (False, 6 * 7)])
def test_what_a_search_costs(keep_best: bool, forwards: int) -> None:
    with counting() as ledger:
        PGD(steps=7, keep_best=keep_best)(Slope(weights=directions(6)), images(6), LINF, KEYS)
    assert (ledger.forwards, ledger.backwards) == (forwards, 6 * 7)


def test_the_trace_tells_how_the_loss_rose() -> None:
    attack = PGD(steps=8, step=STEP, random_start=False)
    slope = Slope(weights=directions(6))
    trace = attack(slope, images(6), LINF, KEYS).trace
    start, gain = slope(images(6), KEYS).loss, slope.weights.flatten(1).abs().sum(1) * STEP
    assert torch.allclose(trace.first_loss, start)
    assert torch.allclose(trace.middle_loss, start + 4 * gain, atol=1e-4)
    assert torch.allclose(trace.last_loss, start + 7 * gain, atol=1e-4)
    assert trace.steps.tolist() == [8] * 6


@pytest.mark.parametrize("field", ["steps", "decay_every"])
def test_no_steps_are_no_search(field: str) -> None:
    with pytest.raises(InvalidInput, match=f"{field}=0; write 1 or more"):
        PGD(**{field: 0})  # type: ignore[arg-type]
