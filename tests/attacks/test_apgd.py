"""APGD reaches the optima that are known, costs what it says, and leaves when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from secondlook.attacks.apgd import APGD, likeliest
from secondlook.attacks.base import AttackResult, Evaluation
from secondlook.attacks.class_objective import Logits, joint
from secondlook.decision import Surrogate
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.base import Classifier
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.base import Ensemble
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat
from tests.against import Line, against, line, veiled
from tests.analytic import Bowl, Coin, LinearClassifier, ReadOut, Slope, directions, images

KEYS = Keys.of(0, range(6))
LINF = Threat(eps=8 / 255)
NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")


def survivors(found: AttackResult, on: Line) -> Tensor:
    return ~on.objective(found.x, on.keys).success


# --- the optimum -------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 5, 12])
def test_the_targeted_search_fools_whom_the_ball_allows(classes: int, norm: Norm) -> None:
    on = line(classes, norm, 60)
    found = APGD(steps=30, targets=9).search(on.objective, on.clean, on.threat, on.keys)
    on.threat.check(found.x, on.clean)
    left = survivors(found, on)
    assert bool(left[on.robust].all()), "nobody can do better than the closed form"
    assert int(left.sum() - on.robust.sum()) <= 1


@pytest.mark.parametrize("loss", ["ce", "dlr", "cw"])
@pytest.mark.parametrize("norm", NORMS)
def test_between_two_classes_every_loss_finds_the_optimum(norm: Norm, loss: str) -> None:
    on = line(2, norm, 60)
    attack = APGD(steps=30, loss=loss)  # type: ignore[arg-type]
    left = survivors(attack.search(on.objective, on.clean, on.threat, on.keys), on)
    assert int((left != on.robust).sum()) <= 1


def test_any_objective_can_be_climbed() -> None:
    clean, weights = images(6), directions(6)
    x = APGD(loss="")(Slope(weights=weights), clean, LINF, KEYS).x
    assert torch.allclose(x, clean + LINF.eps * weights.sign())


def test_a_step_that_is_too_long_is_halved() -> None:
    """From a ball of 40 levels to a peak that only short steps can meet."""
    clean, threat = images(6), Threat(eps=40 / 255)
    center = clean + 0.3 * threat.eps * directions(6).sign()
    x = APGD(loss="", steps=200).search(Bowl(center=center), clean, threat, KEYS).x
    assert float((x - center).abs().max()) < 0.02 * threat.eps


def test_restarts_and_steps_do_not_help_the_defender() -> None:
    on = line(12, "linf", 60)
    left = {}
    for key, attack in {
        "few": APGD(steps=5),
        "more": APGD(steps=30),
        "restarts": APGD(steps=5, restarts=4),
        "targets": APGD(steps=30, targets=9),
    }.items():
        left[key] = int(survivors(attack.search(on.objective, on.clean, on.threat, on.keys), on).sum())
    assert left["few"] >= left["restarts"]
    assert left["few"] >= left["more"] >= left["targets"] >= int(on.robust.sum())


# --- what it costs -----------------------------------------------------------------------------


def spent(attack: APGD, objective: UntargetedObjective, clean: Tensor, threat: Threat) -> tuple[int, int, AttackResult]:
    with counting() as ledger:
        found = attack(objective, clean, threat, Keys.of(0, range(len(clean))))
    return ledger.forwards, ledger.backwards, found


def test_whoever_is_wrong_already_costs_one_look() -> None:
    model, clean = LinearClassifier(directions(5)), images(6)
    wrong = against(model, (model(clean).argmax(1) + 1) % 5)
    forwards, backwards, found = spent(APGD(), wrong, clean, LINF)
    assert (forwards, backwards) == (6, 0)
    assert torch.equal(found.x, clean)
    assert found.trace.steps.tolist() == [0] * 6


@pytest.mark.parametrize("attack", [APGD(), APGD(targets=9), APGD(loss="")])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_whoever_is_fooled_at_the_first_step_costs_three_looks(norm: Norm, attack: APGD) -> None:
    model, clean = LinearClassifier(directions(5)), images(6, 96, 160)
    objective = against(model, model(clean).argmax(1))
    threat = Threat(norm=norm, eps=0.3 if norm == "linf" else 2.0)
    forwards, backwards, found = spent(attack, objective, clean, threat)
    assert bool(objective(found.x, KEYS).success.all())
    assert forwards <= 3 * 6
    assert backwards <= 2 * 6


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (APGD(), 102, 100),
        (APGD(restarts=2), 203, 200),
        (APGD(targets=9), 910, 900),
        (APGD(targets=9, width=2), 919, 909),
        (APGD(early_exit=False), 101, 100),
    ],
)
def test_what_a_survivor_costs(attack: APGD, forwards: int, backwards: int) -> None:
    model, clean = LinearClassifier(directions(12)), images(3, 96, 160)
    objective = against(model, model(clean).argmax(1))
    used = spent(attack, objective, clean, Threat(eps=1e-4))
    assert used[0] <= forwards * 3
    assert used[1] <= backwards * 3


# --- company -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targets", [0, 3])
@pytest.mark.parametrize("width", [1, 4])
def test_the_width_changes_nothing(norm: Norm, targets: int, width: int) -> None:
    on = line(5, norm, 10)
    attack = APGD(steps=5, targets=targets, restarts=2)
    whole = attack(on.objective, on.clean, on.threat, on.keys)
    narrow = replace(attack, width=width)(on.objective, on.clean, on.threat, on.keys)
    assert torch.equal(whole.x, narrow.x)
    assert torch.equal(whole.trace.last_loss, narrow.trace.last_loss)
    assert torch.equal(whole.trace.first_loss, narrow.trace.first_loss)


def test_in_l1_too_a_sample_is_attacked_alike_in_any_company() -> None:
    victim = Guarded(LinearClassifier(directions(3)), Consensus(purifier=NoisePurifier(0.2)))
    goal = Untargeted(truth=torch.tensor([0, 1, 2, 0, 1, 2]))
    objective, threat = (UntargetedObjective(goal=goal, victim=victim, draws=2), Threat(norm="l1", eps=2))
    whole = APGD(steps=10)(objective, images(6), threat, KEYS)
    for rows in (torch.tensor([4]), torch.tensor([5, 0, 3])):
        part = APGD(steps=10)(objective.take(rows), images(6)[rows], threat, KEYS[rows])
        assert torch.equal(part.x, whole.x[rows])


@dataclass(frozen=True, kw_only=True)
class Watched(Slope):
    """Writes down how many it is shown at once."""

    shown: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        self.shown.append(len(x))
        return super().__call__(x, keys)


def test_free_places_are_filled_and_no_more() -> None:
    """Half are done with their first look, and the others fill the places of two."""
    bar = torch.tensor([float("-inf"), float("inf")] * 3)
    watched = Watched(weights=directions(6), bar=bar)
    APGD(loss="", steps=4, width=2)(watched, images(6), LINF, KEYS)
    assert watched.shown[:3] == [2, 2, 2], "the first look"
    assert watched.shown[3:] == [2] * 5 + [1] * 5, "three walks of five looks, in two places"


# --- leaving, and staying ----------------------------------------------------------------------


def test_early_exit_can_be_left_out_to_go_to_the_highest_loss() -> None:
    clean, weights = images(6), directions(6)
    slope = Slope(weights=weights, bar=torch.full((6,), float("-inf")))
    assert torch.equal(APGD(loss="")(slope, clean, LINF, KEYS).x, clean)
    x = APGD(loss="", early_exit=False)(slope, clean, LINF, KEYS).x
    assert torch.allclose(x, clean + LINF.eps * weights.sign())


@dataclass(frozen=True, kw_only=True)
class Ledge(Slope):
    """A slope whose goal is reached below ``bar`` and not above it."""

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        evaluation = super().__call__(x, keys)
        return evaluation._replace(success=~evaluation.success)


def test_a_point_that_fools_comes_before_a_higher_loss_that_does_not() -> None:
    clean, weights = images(6), directions(6)
    start = (weights * clean).flatten(1).sum(1)
    ledge = Ledge(weights=weights, bar=start)
    x = APGD(loss="", early_exit=False, steps=30).search(ledge, clean, LINF, KEYS).x
    success = ledge(x, KEYS).success
    tried = APGD(loss="", steps=30).search(ledge, clean, LINF, KEYS).x
    assert torch.equal(success, ledge(tried, KEYS).success)
    assert bool(success.any())


def test_more_draws_trust_no_lucky_one() -> None:
    keys = Keys.of(0, range(64))
    victim = Guarded(ReadOut(2), Consensus(purifier=Coin(0.5)))
    objective = UntargetedObjective(goal=Untargeted(truth=torch.zeros(64, dtype=torch.long)), victim=victim)
    gone = {}
    for draws in (1, 12):
        steps = APGD(steps=2, draws=draws)(objective, images(64), LINF, keys).trace.steps
        gone[draws] = int((steps == 0).sum())
    assert 20 < gone[1] < 44, "a coin calls half of the clean images wrong"
    assert gone[12] == 0


# --- a second opinion --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Twofold:
    """A classifier beside a second one, whose opinion must be the same or all is rejected."""

    first: Classifier
    second: Classifier

    modules: tuple[nn.Module, ...] = ()
    rejects, stochastic = True, False

    @property
    def classes(self) -> tuple[str, ...]:
        return self.first.classes

    def surrogate(self, x: Tensor, keys: Keys, draws: int = 1, gradient: str = "full") -> Surrogate:
        scores, opinion = self.first(x)[:, None], self.second(x)[:, None]
        chosen = scores.argmax(2, keepdim=True)
        acceptance = opinion.gather(2, chosen)[..., 0] - opinion.amax(2) + 1e-6
        return Surrogate(features=scores, scores=scores, acceptance=acceptance, auxiliary=opinion[:, :, None])


def test_driving_both_models_to_one_class_fools_more_than_climbing_their_verdict() -> None:
    """The second model's scores are so small that no sign of the joint gradient minds them."""
    weights = directions(6)
    first = LinearClassifier(weights)
    second = LinearClassifier(1e-3 * (weights + directions(6, seed=1)))
    clean = images(40, 96, 160)
    truth = first(clean).argmax(1)
    agreed = second(clean).argmax(1) == truth
    clean, truth = clean[agreed], truth[agreed]
    objective = UntargetedObjective(goal=Untargeted(truth=truth), victim=Twofold(first=first, second=second))
    keys, threat = Keys.of(0, range(len(clean))), Threat(eps=0.07)
    fooled = {}
    for name, attack in {"ce": APGD(), "t": APGD(targets=5)}.items():
        x = attack.search(objective, clean, threat, keys).x
        fooled[name] = int(objective(x, keys).success.sum())
    assert fooled["t"] == len(clean) > fooled["ce"]


# --- the trace, sick gradients, the settings ---------------------------------------------------


def test_targets_come_in_the_order_of_all_who_must_agree() -> None:
    """The classifier's second choice, 1, is the auxiliary model's last; both are near 2."""
    scores = torch.tensor([[[4.0, 3.0, 2.5, 2.2, 9.0]]])
    auxiliary = torch.tensor([[[[0.5, -0.3, 0.45, 0.1]]]])
    losing = torch.tensor([[0, 4]])
    alone = Logits(scores, auxiliary[:, :, :0])
    assert likeliest(alone, losing, 9).tolist() == [[1, 2, 3]]
    assert likeliest(Logits(scores, auxiliary), losing, 9).tolist() == [[2, 3, 1]]
    assert likeliest(Logits(scores, auxiliary), losing, 1).tolist() == [[2]]
    leads = {t: float(joint(Logits(scores, auxiliary), losing, torch.tensor([t]))) for t in (1, 2, 3)}
    assert sorted(leads, key=leads.__getitem__, reverse=True) == [2, 3, 1]


def test_the_trace_begins_at_the_clean_image_and_ends_at_the_last_look() -> None:
    clean, slope = images(6), Slope(weights=directions(6))
    trace = APGD(loss="", steps=10)(slope, clean, LINF, KEYS).trace
    top = slope(clean + LINF.eps * slope.weights.sign(), KEYS).loss
    assert torch.equal(trace.first_loss, slope(clean, KEYS).loss)
    assert torch.allclose(trace.last_loss, top)
    assert torch.allclose(trace.middle_loss, top)
    assert trace.steps.tolist() == [10] * 6


@pytest.mark.parametrize("norm", NORMS)
def test_a_sick_gradient_is_counted_and_does_not_spread(norm: Norm) -> None:
    weights = directions(6)
    ill = weights.clone()
    ill[1, 0, 0, 0] = float("nan")
    threat = Threat(norm=norm, eps=0.1 if norm == "linf" else 0.5)
    found = APGD(loss="", steps=6)(Slope(weights=ill), images(6), threat, KEYS)
    well = APGD(loss="", steps=6)(Slope(weights=weights), images(6), threat, KEYS)
    others = torch.tensor([0, 2, 3, 4, 5])
    assert found.trace.bad_gradient.tolist() == [0, 1, 0, 0, 0, 0]
    assert torch.equal(found.x[others], well.x[others])


def test_a_schedule_of_few_steps_still_has_checkpoints() -> None:
    clean, steps = images(2), 3
    state = APGD(steps=steps).start(torch.arange(2), clean, LINF, KEYS[:2], torch.zeros(2, dtype=torch.long))
    assert state.interval.tolist() == [1, 1]
    assert state.length.tolist() == pytest.approx([2 * LINF.eps] * 2)
    assert LINF.size(state.x - clean).tolist() == pytest.approx([LINF.eps] * 2)


def test_a_loss_that_is_not_what_it_is_called_is_told() -> None:
    on = line(2, "linf", 4)
    found = APGD(steps=1, loss="dlr")(on.objective, on.clean, on.threat, on.keys)
    assert found.notices == ("DLR needs 3 scores and there are 2; the margin stood for it",)
    assert APGD(steps=1)(on.objective, on.clean, on.threat, on.keys).notices == ()


@pytest.mark.parametrize(
    ("field", "value", "least"),
    [("steps", 0, 1), ("restarts", 0, 1), ("targets", -1, 0), ("draws", -1, 0), ("width", -2, 0)],
)
def test_what_makes_no_search(field: str, value: int, least: int) -> None:
    with pytest.raises(InvalidInput, match=f"{field}={value}; write {least} or more"):
        APGD(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("attack", [APGD(), APGD(targets=3), APGD(loss="", early_exit=False)])
def test_a_batch_of_nothing_stays_one(attack: APGD) -> None:
    on = line(5, "linf", 4)
    nobody = torch.zeros(0, dtype=torch.long)
    found = attack(on.objective.take(nobody), on.clean[nobody], LINF, KEYS[:0])
    assert found.x.shape == (0, 3, 4, 4)


def test_an_ensemble_whose_members_take_turns_is_refused() -> None:
    members = (line(3, "linf", 4).objective,) * 2
    with pytest.raises(InvalidInput, match="write ensemble='mean'"):
        APGD(loss="")(Ensemble(members=members), images(4), LINF, KEYS[:4])


def test_a_lucky_draw_ends_nothing_where_several_must_agree() -> None:
    """Behind noise, who has to fool four evaluations in a row fools fresh draws more often."""
    clean = images(40, 96, 160)
    objective = veiled(clean, NoisePurifier(0.3), draws=1)
    keys, threat = Keys.of(0, range(40)), Threat(eps=12 / 255)
    kept = []
    for confirm in (1, 4):
        found = APGD(steps=20, loss="", confirm=confirm)(objective, clean, threat, keys)
        assert found.success is not None
        fresh = [objective(found.x, keys.fold("fresh", look)).success for look in range(8)]
        kept.append(float(torch.stack(fresh).float().mean()))
    assert kept[1] > kept[0]
    once = APGD(steps=20, loss="", confirm=1)(objective, clean, threat, keys).trace.steps
    more = APGD(steps=20, loss="", confirm=4)(objective, clean, threat, keys).trace.steps
    assert float(more.mean()) > float(once.mean())
