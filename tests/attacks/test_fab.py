"""FAB finds the nearest boundary that is known, spends one forward a step, and stops when done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from secondlook.attacks.fab import FAB, reach
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.logits import LogitClassifier
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat
from tests.against import Hesitant, everything, held, veiled
from tests.analytic import SHAPE, Dimmer, LinearClassifier, Slope, directions, global_generators, images

COUNT = 8
KEYS = Keys.of(0, range(COUNT))
NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
GOLDEN = "golden/apgd_linear101.safetensors"


def boundary(weights: Tensor, clean: Tensor, truth: Tensor, norm: Norm) -> Tensor:
    """The distance to the nearest wrong class of ``<w_k, x>``, which is one of K - 1 planes."""
    flat, ways = clean.flatten(1), weights.flatten(1)
    scores, threat = flat @ ways.T, Threat(norm=norm, eps=0.5)
    found = torch.full((len(clean), len(ways)), float("inf"))
    for other in range(len(ways)):
        lead = scores[:, other] - scores.gather(1, truth[:, None])[:, 0]
        change = reach(flat, ways[other] - ways[truth], -lead, norm)
        success = (change * (ways[other] - ways[truth])).sum(1) >= -lead - 1e-4
        rows = (truth != other) & success
        found[rows, other] = threat.size(change)[rows]
    return found.amin(1)


def tightly(norm: Norm, eps: float = 0.01) -> Threat:
    """A ball that nobody is fooled in."""
    return Threat(norm=norm, eps=eps / 10)


# --- the nearest point -------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [0, 200])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 5, 10, 101])
def test_it_finds_the_nearest_boundary(classes: int, norm: Norm, targets: int) -> None:
    """In the clear of black and white, the lead over the length of its gradient in the dual."""
    clean, weights = images(COUNT, 120, 136), directions(classes)
    objective = held(LinearClassifier(weights), clean)
    flat = weights.flatten(1)
    scores = clean.flatten(1) @ flat.T
    truth = objective.goal.truth
    lead = scores.gather(1, truth[:, None]) - scores
    size = (flat[None] - flat[truth][:, None]).norm(p=1 if norm == "linf" else 2, dim=2)
    exact = (lead / size).scatter(1, truth[:, None], float("inf")).amin(1)
    steps = 2 if classes > 10 else 5
    attack = FAB(steps=steps, targets=targets, early_exit=False)
    found = attack.search(objective, clean, tightly(norm), KEYS).x
    assert bool(objective(found, KEYS).success.all())
    distance = Threat(norm=norm, eps=0.5).size(found - clean)
    assert torch.allclose(distance, exact, rtol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_it_finds_the_nearest_boundary_beside_black_and_white(norm: Norm) -> None:
    clean, weights = images(COUNT, 0, 256).round(), directions(5)
    clean[:, :, 1:] = images(COUNT)[:, :, 1:]
    objective = held(LinearClassifier(weights), clean)
    found = FAB(steps=20, targets=9, early_exit=False).search(objective, clean, tightly(norm), KEYS).x
    assert bool(objective(found, KEYS).success.all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    distance = Threat(norm=norm, eps=0.5).size(found - clean)
    assert torch.allclose(distance, boundary(weights, clean, objective.goal.truth, norm), rtol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("share", "success"), [(0.997, False), (1.003, True)])
def test_it_fools_where_the_ball_meets_the_boundary(norm: Norm, share: float, success: bool) -> None:
    clean, weights = images(COUNT), directions(5)
    objective = held(LinearClassifier(weights), clean)
    for row, distance in enumerate(boundary(weights, clean, objective.goal.truth, norm).tolist()):
        one, rows = slice(row, row + 1), torch.tensor([row])
        threat = Threat(norm=norm, eps=share * distance)
        found = FAB(steps=10, targets=9).search(objective.take(rows), clean[one], threat, KEYS[one]).x
        inside = threat.project(found, clean[one])
        assert objective.take(rows)(inside, KEYS[one]).success.tolist() == [success]


def test_a_curved_boundary_is_followed() -> None:
    """Beyond a sphere around gray lies the other class; the nearest way out is radial."""
    clean = images(COUNT, 100, 156)

    def scores(x: Tensor) -> Tensor:
        away = (x - 0.5).flatten(1).square().sum(1)
        return torch.stack([1 - away, away], 1)

    objective = held(LogitClassifier("ball", scores, ("in", "out")), clean)
    found = FAB(steps=50, early_exit=False).search(objective, clean, tightly("l2"), KEYS).x
    exact = 0.5**0.5 - (clean - 0.5).flatten(1).norm(dim=1)
    assert bool(objective(found, KEYS).success.all())
    assert torch.allclose((found - clean).flatten(1).norm(dim=1), exact, rtol=1e-3)


@pytest.mark.shared
@pytest.mark.parametrize("steps", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_of_the_golden_points_exactly_those_survive_that_can(shared: Path, steps: int) -> None:
    """A linear model of 101 classes; 35 of 64 points are robust, in closed form."""
    golden = load_file(shared / GOLDEN)
    weight, bias = golden["weights.fc.weight"], golden["weights.fc.bias"]
    model = LogitClassifier("linear101", lambda x: x.flatten(1) @ weight.T + bias, [str(k) for k in range(101)])
    clean, keys = golden["inputs.x"], Keys.of(0, range(64))
    objective = UntargetedObjective(goal=Untargeted(truth=golden["inputs.y"]), victim=Guarded(model))
    found = FAB(steps=steps, targets=9)(objective, clean, Threat(eps=8 / 255), keys)
    robust = ~objective(found.x, keys).success
    assert torch.equal(robust, golden["outputs.exact_robust"].bool())
    assert int(robust.sum()) == 35


# --- early exit --------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_what_fools_is_pushed_out_to_the_edge(norm: Norm) -> None:
    """A point just beyond the boundary would not survive the rounding to 8 bits."""
    clean, weights = images(COUNT, 120, 136), directions(3)
    objective = held(LinearClassifier(weights), clean)
    distance = boundary(weights, clean, objective.goal.truth, norm)
    threat = Threat(norm=norm, eps=1.2 * float(distance.max()))
    found = FAB(steps=10, targets=2)
    near = replace(found, early_exit=False).search(objective, clean, threat, KEYS).x
    far = found.search(objective, clean, threat, KEYS).x
    assert bool((threat.size(near - clean) < threat.eps * 0.999).any())
    assert bool((threat.size(far - clean) > threat.eps * 0.9).all())
    assert bool((threat.size(far - clean) <= threat.eps * 1.0001).all())
    assert bool((objective(far, KEYS).loss > objective(near, KEYS).loss).all())
    assert bool(objective(found(objective, clean, threat, KEYS).x, KEYS).success.all())


def test_a_narrow_miss_costs_the_line_search_alone() -> None:
    clean, steps = images(COUNT), 7
    objective = held(LinearClassifier(directions(4)), clean)
    with counting() as ledger:
        FAB(steps=steps, targets=3)(objective, clean, Threat(eps=1e-4), KEYS)
    assert ledger.forwards == COUNT * (3 * (steps + 1) + 3)
    assert ledger.backwards == COUNT * 3 * steps


def test_each_class_costs_a_backward_without_targets() -> None:
    clean = images(COUNT)
    objective = held(LinearClassifier(directions(4)), clean)
    with counting() as ledger:
        FAB(steps=7)(objective, clean, Threat(eps=1e-4), KEYS)
    assert ledger.forwards == COUNT * (8 + 3)
    assert ledger.backwards == COUNT * 7 * 3


@pytest.mark.parametrize("width", [0, 3])
def test_whoever_is_fooled_by_one_step_costs_three_forwards(width: int) -> None:
    clean = images(COUNT)
    objective = held(LinearClassifier(directions(2)), clean)
    with counting() as ledger:
        found = FAB(targets=9, width=width)(objective, clean, Threat(eps=0.5), KEYS)
    assert bool(objective(found.x, KEYS).success.all())
    assert ledger.forwards <= 3 * COUNT
    assert ledger.backwards <= 2 * COUNT


def test_whoever_is_wrong_already_costs_one_forward() -> None:
    clean = images(COUNT)
    objective = held(LinearClassifier(directions(3)), clean)
    wrong = replace(objective, goal=Untargeted(truth=(objective.goal.truth + 1) % 3))
    with counting() as ledger:
        found = FAB(targets=9)(wrong, clean, Threat(eps=0.1), KEYS)
    assert torch.equal(found.x, clean)
    assert (ledger.forwards, ledger.backwards) == (COUNT, 0)


# --- who is asked, and from where --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A bout that remembers what it was shown."""

    objective: UntargetedObjective
    shown: list[Tensor] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objective, name)

    def __call__(self, x: Tensor, keys: Keys) -> Any:
        return self.objective(x, keys)

    def logits(self, x: Tensor, keys: Keys) -> Any:
        self.shown.append(x.detach().clone())
        return self.objective.logits(x, keys)

    def take(self, rows: Tensor) -> Watched:
        return replace(self, objective=self.objective.take(rows))


def test_the_targets_are_the_likeliest_other_classes_in_turn() -> None:
    """Each class has a pixel of its own, so that the step tells whose boundary it went to."""
    weights = torch.zeros(5, *SHAPE)
    weights.view(5, -1)[range(5), range(5)] = 1.0
    clean = torch.full((1, *SHAPE), 0.1)
    clean.view(-1)[:5] = torch.tensor([0.5, 0.9, 0.7, 0.2, 0.6])
    watched = Watched(objective=held(LinearClassifier(weights), clean))
    FAB(steps=1, targets=3).search(watched, clean, Threat(eps=1e-3), KEYS[:1])
    first = [watched.shown[2 * run + 1] - clean for run in range(3)]
    assert [move.flatten().argmax().item() for move in first] == [2, 4, 0]


@pytest.mark.parametrize("norm", NORMS)
def test_later_restarts_begin_at_random_points_of_each_sample(norm: Norm) -> None:
    clean, threat = images(COUNT), Threat(norm=norm, eps=0.002)
    watched = Watched(objective=held(LinearClassifier(directions(3)), clean))
    FAB(steps=2, restarts=3).search(watched, clean, threat, KEYS)
    starts = [threat.size(watched.shown[run * 3] - clean) for run in range(3)]
    assert not bool(starts[0].any())
    for start in starts[1:]:
        assert torch.allclose(start, torch.full_like(start, threat.eps / 2), rtol=1e-3)
    moves = torch.cat([watched.shown[3] - clean, watched.shown[6] - clean]).flatten(1)
    assert len({tuple(row) for row in moves.tolist()}) == 2 * COUNT


# --- victims that reject, and victims that draw ------------------------------------------------


@pytest.mark.parametrize("targets", [0, 9])
def test_the_other_side_of_the_boundary_is_where_the_answer_is_accepted(targets: int) -> None:
    weights = torch.zeros(2, *SHAPE)
    weights[0, 0, 0, 0], weights[1, 0, 0, 1] = 1.0, 1.0
    clean = torch.full((1, *SHAPE), 0.45)
    clean[0, 0, 0, 0] = 0.65
    model, goal = LinearClassifier(weights), Untargeted(truth=torch.tensor([0]))
    objective = UntargetedObjective(goal=goal, victim=Hesitant(model=model, least=0.1, weight=5))
    free = UntargetedObjective(goal=goal, victim=Guarded(model))
    attack = FAB(steps=20, targets=targets, early_exit=False)
    for against, move in ((free, 0.1), (objective, 0.15)):
        found = attack.search(against, clean, tightly("l2"), KEYS[:1]).x
        assert bool(against(found, KEYS[:1]).success)
        assert (found - clean)[0, 0, 0, :2].tolist() == pytest.approx([-move, move], rel=1e-3)


def test_every_draw_must_be_fooled() -> None:
    """The purifier sets the draw's brightness alone, so each has its boundary elsewhere."""
    clean = images(COUNT)
    weights = directions(4)
    weights[:, 0, 0, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0])

    class Offset(LinearClassifier):
        def scores(self, features: Tensor) -> Tensor:
            return super().scores(features) + torch.tensor([0.0, 0.3, -0.4, 0.2])

    model = Offset(weights)
    victim = Guarded(model, Consensus(purifier=Dimmer()))
    objective = replace(held(model, clean), victim=victim, draws=8)
    found = FAB(steps=30, targets=3)(objective, clean, Threat(norm="l2", eps=1.5), KEYS).x
    many = replace(objective, draws=64)
    truth = objective.goal.truth[:, None]
    chosen = many.logits(found, KEYS.fold("fresh")).scores.argmax(2)
    assert float((chosen != truth).float().mean()) > 0.95


# --- invariances -------------------------------------------------------------------------------


CASES: Sequence[tuple[FAB, int]] = (
    (FAB(steps=6, targets=2, restarts=2), 1),
    (FAB(steps=5, restarts=2), 1),
    (FAB(steps=6, targets=2), 3),
)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("attack", "draws"), CASES)
def test_a_sample_does_not_feel_the_others(attack: FAB, draws: int, norm: Norm) -> None:
    clean = images(COUNT)
    objective = veiled(clean, Dimmer(), draws)
    free = replace(attack, early_exit=False).search(objective, clean, tightly(norm), KEYS).x
    sizes = tightly(norm).size(free - clean)
    threat = Threat(norm=norm, eps=float(sizes.median()) * 1.01)
    together = everything(attack, objective, clean, threat, KEYS)
    steps = together[:, -1]
    assert len(steps.unique()) > 1, "or the test is not about samples that leave"
    order = torch.tensor([5, 0, 7, 2, 1, 6, 3, 4])
    shuffled = everything(attack, objective.take(order), clean[order], threat, KEYS[order])
    assert same(shuffled, together[order])
    assert same(everything(replace(attack, width=3), objective, clean, threat, KEYS), together)
    for row in range(COUNT):
        rows = torch.tensor([row])
        alone = everything(attack, objective.take(rows), clean[rows], threat, KEYS[rows])
        assert same(alone, together[rows])


def same(left: Tensor, right: Tensor) -> bool:
    return torch.equal(left.nan_to_num(-9), right.nan_to_num(-9))


def test_no_global_generator_is_touched() -> None:
    clean, before = images(COUNT), global_generators()
    FAB(steps=3, restarts=2, targets=1)(veiled(clean, Dimmer(), 2), clean, Threat(), KEYS)
    assert global_generators() == before


# --- what it writes down -----------------------------------------------------------------------


def test_the_trace_rises_to_the_boundary() -> None:
    clean = images(COUNT)
    objective = held(LinearClassifier(directions(4)), clean)
    trace = FAB(steps=9, targets=2)(objective, clean, Threat(eps=1e-4), KEYS).trace
    assert torch.equal(trace.first_loss, objective(clean, KEYS).loss)
    assert bool((trace.last_loss > trace.first_loss).all())
    assert trace.steps.tolist() == [18] * COUNT
    assert not bool(trace.zero_gradient.any() | trace.bad_gradient.any())


@pytest.mark.parametrize(("slope", "zero", "bad"), [(0.0, 1.0, 0.0), (float("nan"), 0.0, 1.0)])
def test_dead_gradients_are_told_and_move_nothing(slope: float, zero: float, bad: float) -> None:
    clean = images(COUNT)

    class Masked(LinearClassifier):
        def features(self, x: Tensor) -> Tensor:
            x = x.view_as(x)
            if x.requires_grad:
                x.register_hook(lambda gradient: gradient * slope)
            return super().features(x)

    objective = held(Masked(directions(3)), clean)
    found = FAB(steps=4, targets=1)(objective, clean, Threat(), KEYS)
    assert torch.equal(found.x, clean)
    assert found.trace.zero_gradient.tolist() == [zero] * COUNT
    assert found.trace.bad_gradient.tolist() == [bad] * COUNT


def test_a_victim_whose_gradient_is_zero_is_a_masked_one() -> None:
    clean = images(COUNT)
    table = LogitClassifier("steps", lambda x: (x.detach() + 0 * x).flatten(1)[:, :3] * 5, ("a", "b", "c"))
    trace = FAB(steps=2)(held(table, clean), clean, Threat(), KEYS).trace
    assert trace.zero_gradient.tolist() == [1.0] * COUNT


def test_a_victim_without_a_gradient_is_refused() -> None:
    clean = images(COUNT)
    table = LogitClassifier("steps", lambda x: x.detach().flatten(1)[:, :3] * 5, ("a", "b", "c"))
    with pytest.raises(InvalidInput, match="has no gradient to the pixels"):
        FAB(steps=2)(held(table, clean), clean, Threat(), KEYS)


# --- what it refuses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 0}, "steps=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"targets": -1}, "targets=-1"),
        ({"width": -1}, "width=-1"),
        ({"alpha_max": 1.5}, "alpha_max=1.5"),
        ({"eta": 0.5}, "eta=0.5"),
        ({"beta": -0.1}, "beta=-0.1"),
    ],
)
def test_settings_outside_their_range_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        FAB(**settings)


def test_an_objective_without_classes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="fab needs the scores of classes"):
        FAB()(Slope(weights=directions(COUNT)), images(COUNT), Threat(), KEYS)
