"""Square climbs without a gradient: its patterns, its optimum, its costs and its invariances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from secondlook.attacks import square
from secondlook.attacks.base import Evaluation
from secondlook.attacks.square import Bursts, L2Squares, LinfSquares, Square, Squares, pyramids, shares
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.logits import LogitClassifier
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.signals import SOUND
from secondlook.threat import Norm, Threat, per_sample
from tests.against import Hesitant, everything, held, veiled
from tests.analytic import SHAPE, ColorEmbedder, Dimmer, LinearClassifier, Slope, directions, global_generators, images

COUNT = 8
KEYS = Keys.of(0, range(COUNT))
LINF = Threat(eps=8 / 255)
NORMS: tuple[Norm, ...] = ("linf", "l2")
EPS = {"linf": 8 / 255, "l2": 0.5}
GOLDEN = "golden/apgd_linear101.safetensors"


# --- the patterns ------------------------------------------------------------------------------


def test_the_share_is_halved_as_published() -> None:
    """Of 10,000 queries after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000."""
    turns = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
    found = shares(10_000, 0.8, rescale=False)
    assert [found[turn] for turn in turns] == [0.8 / 2**n for n in range(9)]
    assert [found[turn + 1] for turn in turns] == [0.8 / 2 ** (n + 1) for n in range(9)]
    assert shares(5000, 0.8, rescale=False) == found[:5000]
    assert shares(5000, 0.8, rescale=True) == found[::2]


@pytest.mark.parametrize(("share", "plain", "odd"), [(0.8, 29, 29), (0.4, 20, 21), (0.001, 1, 3)])
def test_the_side_is_the_root_of_the_share(share: float, plain: int, odd: int) -> None:
    like = torch.zeros(1, 3, 32, 32)
    assert LinfSquares(like, Threat(eps=0.1), [share]).sides.tolist() == [plain]
    assert L2Squares(like, Threat(norm="l2", eps=0.1), [share]).sides.tolist() == [odd]


@pytest.mark.parametrize("kind", [LinfSquares, L2Squares])
def test_a_square_fits_any_image(kind: type[Squares]) -> None:
    for height, width in ((1, 7), (5, 3), (8, 2), (12, 9)):
        clean = torch.full((2, 3, height, width), 0.5)
        squares = kind(clean, Threat(norm="linf" if kind is LinfSquares else "l2", eps=0.1), [1.0, 0.3, 0.01])
        x = squares.start(clean, torch.rand(2, *squares.start_shape))
        for side in squares.sides:
            for draw in (0.0, 0.3, 0.999999):
                draws = torch.full((2, squares.draws), draw)
                x = squares.propose(x, clean, side.expand(2), draws)
        assert x.shape == clean.shape
        assert bool(x.isfinite().all())
        assert bool((x != clean).any())


def test_stripes_are_columns_at_the_corners_of_the_ball() -> None:
    clean = images(4, 0, 256)
    squares = LinfSquares(clean, LINF, [0.8])
    draws = KEYS[:4].uniform(squares.start_shape)
    x = squares.start(clean, draws)
    assert torch.equal(x, (clean + LINF.eps * torch.where(draws < 0.5, -1, 1)).clamp(0, 1))
    assert squares.start_shape == (3, 1, 4)


@pytest.mark.parametrize(("draw", "corner"), [((0.0, 0.0), (0, 0)), ((0.999999, 0.4), (5, 2))])
def test_a_square_lies_where_it_is_drawn(draw: tuple[float, float], corner: tuple[int, int]) -> None:
    """Of 8 x 8 pixels with a side of 3 there are six rows and columns to begin at."""
    clean = torch.full((1, 3, 8, 8), 0.5)
    draws = torch.tensor([[*draw, 0.9, 0.1, 0.9]])
    x = LinfSquares(clean, Threat(eps=0.25), [0.1]).propose(clean, clean, torch.tensor([3]), draws)
    expected = clean.clone()
    (top, left), signs = corner, torch.tensor([1, -1, 1]).view(3, 1, 1)
    expected[0, :, top : top + 3, left : left + 3] += 0.25 * signs
    assert torch.equal(x, expected)


def test_the_pyramids_of_a_side_of_three() -> None:
    """A row of one level and a half, then two rows of the opposite sign, each of length 1."""
    above, below = torch.tensor([1.0, 5, 1]), torch.tensor([[1.0, 1, 1], [1, 5, 1]])
    expected = torch.cat([above[None] / above.norm(), -below / below.norm()]) / 2**0.5
    assert torch.allclose(pyramids(3), expected)


@pytest.mark.parametrize("side", [1, 2, 3, 6, 29])
def test_pyramids_have_length_one(side: int) -> None:
    assert float(pyramids(side).norm()) == pytest.approx(1)


def test_a_pyramid_takes_over_the_length_of_another_square() -> None:
    clean = torch.full((1, 3, 16, 16), 0.5)
    squares, eps = L2Squares(clean, Threat(norm="l2", eps=1.0), [0.03]), 1.0
    start = squares.start(clean, KEYS[:1].uniform(squares.start_shape))
    # The first square in the upper left, the other in the lower right corner.
    draws = torch.tensor([[0.0, 0.0, 0.999, 0.999, 0.9, 0.9, 0.1, 0.9]])
    x = squares.propose(start, clean, torch.tensor([3]), draws)
    before, after = (start - clean)[0], (x - clean)[0]
    assert float(after.norm()) == pytest.approx(eps, abs=1e-5)
    assert not bool(after[:, -3:, -3:].any())
    assert torch.allclose(after[:, 3:, :-3], before[:, 3:, :-3], atol=1e-5)
    both = before[:, :3, :3].flatten(1).norm(dim=1) ** 2
    both = both + before[:, -3:, -3:].flatten(1).norm(dim=1) ** 2
    assert torch.allclose(after[:, :3, :3].flatten(1).norm(dim=1) ** 2, both, atol=1e-5)


def test_a_pyramid_is_turned_half_of_the_time() -> None:
    clean = torch.full((1, 1, 9, 9), 0.5)
    squares = L2Squares(clean, Threat(norm="l2", eps=0.01), [0.03])
    for draw, shape in ((0.9, pyramids(3)), (0.1, pyramids(3).T)):
        draws = torch.tensor([[0.5, 0.5, 0.0, 0.0, draw, 0.9]])
        x = squares.propose(clean, clean, torch.tensor([3]), draws)
        assert torch.allclose((x - clean)[0, 0, 3:6, 3:6], 0.01 * shape, atol=1e-6)


# --- the optimum -------------------------------------------------------------------------------


def test_in_linf_it_comes_to_the_corner_that_is_best() -> None:
    clean, weights = images(COUNT, 0, 256), directions(COUNT)
    slope = Slope(weights=weights)
    x = Square(queries=1500, loss="")(slope, clean, LINF, KEYS).x
    best = (clean + LINF.eps * weights.sign()).clamp(0, 1)
    gain = slope(x, KEYS).loss - slope(clean, KEYS).loss
    assert bool((gain > 0.99 * (slope(best, KEYS).loss - slope(clean, KEYS).loss)).all())


def test_in_l2_it_comes_near_the_best_direction() -> None:
    clean, weights = images(COUNT), directions(COUNT)
    threat, slope = Threat(norm="l2", eps=0.5), Slope(weights=weights)
    x = Square(queries=600, loss="").search(slope, clean, threat, KEYS).x
    best = clean + threat.eps * weights / per_sample(threat.size(weights))
    gain = slope(x, KEYS).loss - slope(clean, KEYS).loss
    assert torch.allclose(threat.size(x - clean), torch.tensor(threat.eps))
    assert bool((gain > 0.5 * (slope(best, KEYS).loss - slope(clean, KEYS).loss)).all())


@pytest.mark.parametrize("loss", ["margin", "ce"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 5, 10, 101])
def test_any_number_of_classes_is_fooled(classes: int, norm: Norm, loss: Any) -> None:
    clean = images(COUNT, 120, 136)
    objective = held(LinearClassifier(directions(classes)), clean)
    threat = Threat(norm=norm, eps={"linf": 0.25, "l2": 1.5}[norm])
    found = Square(queries=100, loss=loss)(objective, clean, threat, KEYS)
    assert bool(objective(found.x, KEYS).success.all())


def test_an_illusion_is_climbed_by_its_own_loss() -> None:
    """Aligned to red, the red channel goes up by eps and both others down."""
    model = ZeroShot(ColorEmbedder(), ("red", "green"), "{}")
    clean, classes = images(COUNT), torch.zeros(COUNT, dtype=torch.long)
    goal = AlignEmbedding(vectors=model.class_features(classes), classes=classes)
    aim = GuardedObjective(goal=goal, victim=Guarded(model))
    found = Square(queries=600, loss="", early_exit=False)(aim, clean, LINF, KEYS).x
    best = clean + LINF.eps * torch.tensor([1, -1, -1]).view(3, 1, 1)
    rise = aim(found, KEYS).loss - aim(clean, KEYS).loss
    assert bool((rise > 0.95 * (aim(best, KEYS).loss - aim(clean, KEYS).loss)).all())


@pytest.mark.shared
@pytest.mark.parametrize(("queries", "left"), [(300, 57), pytest.param(5000, 38, marks=pytest.mark.slow)])
def test_of_the_golden_points_few_survive_that_need_not(shared: Path, queries: int, left: int) -> None:
    """A linear model of 101 classes; 35 of 64 points are robust, and the reference leaves 38."""
    golden = load_file(shared / GOLDEN)
    weight, bias = golden["weights.fc.weight"], golden["weights.fc.bias"]
    model = LogitClassifier("linear101", lambda x: x.flatten(1) @ weight.T + bias, [str(k) for k in range(101)])
    clean, keys = golden["inputs.x"], Keys.of(0, range(64))
    objective = UntargetedObjective(goal=Untargeted(truth=golden["inputs.y"]), victim=Guarded(model))
    robust = ~objective(Square(queries=queries)(objective, clean, LINF, keys).x, keys).success
    assert bool(robust[golden["outputs.exact_robust"].bool()].all())
    assert int(robust.sum()) <= left


# --- what it costs -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NoGradients:
    """A slope that must not be differentiated."""

    slope: Slope
    modules: tuple[nn.Module, ...] = ()

    @property
    def parts(self) -> tuple[NoGradients, ...]:
        return (self,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        assert not torch.is_grad_enabled()
        assert not x.requires_grad
        return self.slope(x, keys)

    def take(self, rows: Tensor) -> NoGradients:
        return replace(self, slope=self.slope.take(rows))


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_is_asked_for(norm: Norm) -> None:
    victim, threat = NoGradients(slope=Slope(weights=directions(COUNT))), Threat(norm=norm, eps=0.1)
    trace = Square(queries=5, loss="")(victim, images(COUNT), threat, KEYS).trace
    assert not bool(trace.zero_gradient.any() | trace.bad_gradient.any())


@pytest.mark.parametrize("width", [0, 3])
@pytest.mark.parametrize("restarts", [1, 3])
def test_a_survivor_costs_its_queries(restarts: int, width: int) -> None:
    clean = images(COUNT)
    attack = Square(queries=9, restarts=restarts, width=width)
    objective = held(LinearClassifier(directions(3)), clean)
    with counting() as ledger:
        found = attack(objective, clean, Threat(eps=1e-4), KEYS)
    assert (ledger.forwards, ledger.backwards) == (COUNT * (1 + 9 * restarts), 0)
    assert found.trace.steps.tolist() == [1 + 9 * restarts] * COUNT


@pytest.mark.parametrize("width", [0, 3])
def test_whoever_is_fooled_by_the_start_costs_two_forwards(width: int) -> None:
    """The brightest pixel tells the class, and some stripe of every image is bright."""
    clean = torch.full((COUNT, *SHAPE), 0.5)
    up = LogitClassifier("bright", lambda x: torch.stack([x[:, 0, 0, 0] * 0, x.amax((1, 2, 3)) - 0.7], 1), ("a", "b"))
    objective = held(up, clean)
    with counting() as ledger:
        found = Square(width=width)(objective, clean, Threat(eps=0.5), KEYS)
    assert bool((found.x.amax((1, 2, 3)) > 0.7).all())
    assert ledger.forwards == 2 * COUNT


def test_whoever_is_wrong_already_costs_one_forward() -> None:
    clean = images(COUNT)
    objective = held(LinearClassifier(directions(3)), clean)
    wrong = replace(objective, goal=Untargeted(truth=(objective.goal.truth + 1) % 3))
    with counting() as ledger:
        found = Square()(wrong, clean, Threat(eps=0.1), KEYS)
    assert torch.equal(found.x, clean)
    assert ledger.forwards == COUNT


@pytest.mark.parametrize("norm", NORMS)
def test_whoever_leaves_fools_in_8_bits_too(norm: Norm) -> None:
    """The ball ends between two levels, so that what lies at its edge is rounded inwards."""
    clean = images(COUNT, 120, 136)
    objective, threat = held(LinearClassifier(directions(2)), clean), Threat(norm=norm, eps=0.2515)
    threat = threat if norm == "linf" else Threat(norm="l2", eps=1.2)
    found = Square(queries=300)(objective, clean, threat, KEYS)
    left = found.trace.steps < 301
    assert bool(left.any())
    assert bool(objective(found.x, KEYS).success[left].all())


# --- what it keeps -----------------------------------------------------------------------------


def test_the_loss_only_rises_and_the_trace_tells_it() -> None:
    clean, weights = images(COUNT), directions(COUNT)
    slope = Slope(weights=weights)
    found = Square(queries=100, loss="").search(slope, clean, LINF, KEYS)
    assert torch.equal(found.trace.first_loss, slope(clean, KEYS).loss)
    assert torch.equal(found.trace.last_loss, slope(found.x, KEYS).loss)
    assert bool((found.trace.middle_loss > found.trace.first_loss).all())
    assert bool((found.trace.last_loss > found.trace.middle_loss).all())


def test_without_early_exit_the_lead_goes_on_rising() -> None:
    clean = images(COUNT, 120, 136)
    objective, threat = held(LinearClassifier(directions(3)), clean), Threat(eps=0.2)
    early = Square(queries=300)(objective, clean, threat, KEYS).x
    late = Square(queries=300, early_exit=False)(objective, clean, threat, KEYS).x
    assert bool(objective(early, KEYS).success.all())
    assert bool((objective(late, KEYS).loss > objective(early, KEYS).loss).all())


def test_of_several_restarts_the_best_is_kept() -> None:
    clean, slope = images(COUNT), Slope(weights=directions(COUNT))
    losses = [
        slope(Square(queries=6, restarts=n, loss="").search(slope, clean, LINF, KEYS).x, KEYS).loss for n in (1, 2, 4)
    ]
    assert bool((losses[1] >= losses[0]).all())
    assert bool((losses[2] >= losses[1]).all())
    assert bool((losses[2] > losses[0]).any())


# --- victims that reject, and victims that draw ------------------------------------------------


def test_a_rejected_answer_is_no_success() -> None:
    clean = images(COUNT, 120, 136)
    free = held(LinearClassifier(directions(2)), clean)
    model = free.victim.model
    objective = replace(free, victim=Hesitant(model=model, least=1))
    threat = Threat(eps=0.25)
    careless = Square(queries=200)(free, clean, threat, KEYS).x
    found = Square(queries=200)(objective, clean, threat, KEYS).x
    assert bool(free(careless, KEYS).success.all())
    assert not bool(objective(careless, KEYS).success.all())
    assert bool(objective(found, KEYS).success.all())


class Offset(LinearClassifier):
    """A linear model with biases, so that the brightness of a draw matters."""

    def scores(self, features: Tensor) -> Tensor:
        return super().scores(features) + torch.tensor([0.0, 0.3, -0.4, 0.2])


def test_every_draw_must_be_fooled() -> None:
    clean, model = images(COUNT), Offset(directions(4))
    victim = Guarded(model, Consensus(purifier=Dimmer()))
    objective = replace(held(model, clean), victim=victim, draws=8)
    found = Square(queries=300)(objective, clean, Threat(eps=0.25), KEYS).x
    chosen = replace(objective, draws=64).logits(found, KEYS.fold("fresh")).scores.argmax(2)
    assert float((chosen != objective.goal.truth[:, None]).float().mean()) > 0.9


# --- invariances -------------------------------------------------------------------------------


@pytest.mark.parametrize(("restarts", "draws"), [(1, 1), (2, 1), (1, 3)])
@pytest.mark.parametrize("norm", NORMS)
def test_a_sample_does_not_feel_the_others(
    norm: Norm, restarts: int, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queries go over several blocks of draws, and others leave before."""
    monkeypatch.setattr(square, "BLOCK", 16)
    clean = images(COUNT)
    objective, attack = veiled(clean, Dimmer(), draws), Square(queries=40, restarts=restarts)
    threat = Threat(norm=norm, eps={"linf": 0.06, "l2": 0.3}[norm])
    together = everything(attack, objective, clean, threat, KEYS)
    steps = together[:, -1]
    assert len(steps.unique()) > 2, "or the test is not about samples that leave"
    assert float(steps.max()) > 40, "or the test is not about several blocks"
    order = torch.tensor([5, 0, 7, 2, 1, 6, 3, 4])
    shuffled = everything(attack, objective.take(order), clean[order], threat, KEYS[order])
    assert torch.equal(shuffled, together[order])
    assert torch.equal(everything(replace(attack, width=3), objective, clean, threat, KEYS), together)
    for row in range(0, COUNT, 3):
        rows = torch.tensor([row])
        alone = everything(attack, objective.take(rows), clean[rows], threat, KEYS[rows])
        assert torch.equal(alone, together[rows])


def test_no_global_generator_is_touched() -> None:
    clean, before = images(COUNT), global_generators()
    for norm in NORMS:
        threat = Threat(norm=norm, eps=EPS[norm])
        Square(queries=5, restarts=2)(veiled(clean, Dimmer(), 2), clean, threat, KEYS)
    assert global_generators() == before


# --- what it refuses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"queries": 0}, "queries=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"width": -1}, "width=-1"),
        ({"p_init": 0.0}, "p_init=0"),
        ({"p_init": 1.5}, "p_init=1.5"),
    ],
)
def test_settings_outside_their_range_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        Square(**settings)


def test_an_objective_without_classes_needs_its_own_loss() -> None:
    slope = Slope(weights=directions(COUNT))
    with pytest.raises(InvalidInput, match='write loss = ""'):
        Square()(slope, images(COUNT), LINF, KEYS)


def test_there_are_no_squares_in_l1() -> None:
    with pytest.raises(InvalidInput, match="linf"):
        clean = images(COUNT)
        Square()(veiled(clean, Dimmer(), 1), clean, Threat(norm="l1", eps=4), KEYS)


def test_bursts_of_a_sound_are_at_the_bounds_within_their_time_alone() -> None:
    clean, threat = torch.full((2, 1, 1, 400), 0.5), Threat(eps=0.02, signal=SOUND)
    bursts = Bursts(clean, threat, [0.5, 0.1, 0.001])
    assert bursts.sides.tolist() == [200, 40, 2]
    begun = bursts.start(clean, Keys.of(0, range(2)).uniform(bursts.start_shape, clean))
    assert torch.allclose((begun - clean).abs(), torch.full_like(clean, 0.01), atol=1e-7)
    assert int((begun.diff(dim=-1) != 0).sum()) > 20
    draws = Keys.of(1, range(2)).uniform((bursts.draws,), clean)
    made = bursts.propose(begun, clean, torch.tensor([40, 200]), draws)
    assert all(int((one != other).sum()) <= most for one, other, most in zip(made, begun, (40, 200), strict=True))
    assert torch.allclose((made - clean).abs(), torch.full_like(clean, 0.01), atol=1e-7)


def test_square_proposes_bursts_where_the_input_is_a_sound() -> None:
    x = torch.rand(1, 1, 1, 64)
    assert type(Square().squares(x, Threat(eps=0.02, signal=SOUND))) is Bursts
    assert type(Square().squares(x, Threat(eps=0.02))) is LinfSquares
