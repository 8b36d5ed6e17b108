"""AutoAttack fools whom the ball allows, for any number of classes, and says who fooled whom."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.autoattack import AutoAttack, TriedBatch
from secondlook.attacks.class_objective import Logits
from secondlook.attacks.fab import FAB
from secondlook.attacks.square import Square
from secondlook.attacks.target_halving import TargetHalving
from secondlook.data.cifar import Cifar
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.base import Classifier
from secondlook.models.families.exported import File
from secondlook.models.logits import LogitClassifier
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.untargeted import UntargetedObjective
from secondlook.randomness import Keys
from secondlook.statistics import wilson
from secondlook.threat import Norm, Threat
from tests.against import against, held, line, veiled
from tests.analytic import LinearClassifier, directions, images, worst_lead

SHORT = AutoAttack(steps=12, queries=20)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3, 5, 10, 101])
def test_the_closed_form_is_met_for_any_number_of_classes(classes: int, norm: Norm) -> None:
    on = line(classes, norm, 40)
    found = SHORT.search(on.objective, on.clean, on.threat, on.keys)
    on.threat.check(found.x, on.clean)
    left = ~on.objective(found.x, on.keys).success
    assert bool(left[on.robust].all()), "nobody can do better than the closed form"
    assert int(left.sum() - on.robust.sum()) <= 1
    few = classes < 4
    assert any(notice.startswith("targeted DLR needs 4") for notice in found.notices) == few
    assert any("no L1" in notice for notice in found.notices) == (norm == "l1")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_whoever_is_fooled_is_fooled_by_what_a_file_holds(norm: Norm) -> None:
    on = line(5, norm, 40)
    for threat in (on.threat, replace(on.threat, grid=255)):
        found = SHORT(on.objective, on.clean, threat, on.keys)
        assert found.by is not None and found.success is not None
        assert torch.equal(on.objective(found.x, on.keys).success, found.by >= 0)
        assert torch.equal(found.success, found.by >= 0)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 1.3 / 255), ("l2", 0.03), ("l1", 0.1)])
def test_floats_leave_what_the_closed_form_leaves_and_files_more(norm: Norm, eps: float) -> None:
    """Pixels off the 8-bit grid, and balls of about a level: rounding takes budget."""
    weights, keys = directions(3), Keys.of(0, range(64))
    clean = 0.3 + 0.4 * keys.fold("image").uniform((3, 4, 4))
    model, threat = LinearClassifier(weights), Threat(norm=norm, eps=eps)
    objective = against(model, model(clean).argmax(1))
    robust = worst_lead(weights, clean, objective.goal.truth, threat) < 0
    attack = AutoAttack(steps=25, queries=200)
    floats = attack(objective, clean, threat, keys).x
    assert torch.equal(~objective(floats, keys).success, robust)
    files = attack(objective, clean, replace(threat, grid=255), keys).x
    assert int((~objective(files, keys).success).sum()) > int(robust.sum())


def test_in_whole_levels_the_file_meets_the_closed_form_too() -> None:
    on = line(5, "linf", 40)
    threat = Threat(eps=round(on.threat.eps * 255) / 255, grid=255)
    found = SHORT(on.objective, on.clean, threat, on.keys)
    weights = directions(5)
    robust = worst_lead(weights, on.clean, on.objective.goal.truth, threat) < 0
    assert found.by is not None
    assert int(((found.by < 0) != robust).sum()) <= 1


def test_only_survivors_go_on_and_each_member_has_its_due() -> None:
    on = line(10, "linf", 40)
    with counting() as ledger:
        found = SHORT(on.objective, on.clean, on.threat, on.keys)
    first = APGD(steps=12)(on.objective, on.clean, on.threat, on.keys.fold("apgd-ce"))
    by_first = on.objective(first.x, on.keys).success
    assert found.members == ("apgd-ce", "apgd-t", "fab-t", "square")
    assert found.by is not None
    assert torch.equal(found.by == 0, by_first)
    assert bool((found.by > 0).any())
    assert torch.equal(found.x[by_first], first.x[by_first])
    robust = int((found.by < 0).sum())
    assert ledger.backwards < 12 * (40 + 10 * int((~by_first).sum()) + 10 * (robust + 5))


def test_whoever_is_wrong_already_is_the_first_members_and_left_as_it_is() -> None:
    model, clean = LinearClassifier(directions(5)), images(4)
    wrong = against(model, (model(clean).argmax(1) + 1) % 5)
    with counting() as ledger:
        found = AutoAttack()(wrong, clean, Threat(), Keys.of(0, range(4)))
    assert torch.equal(found.x, clean)
    assert found.by is not None
    assert found.by.tolist() == [0] * 4
    assert (ledger.forwards, ledger.backwards) == (2 * 4, 0)


def test_the_width_changes_nothing() -> None:
    on, short = line(5, "linf", 8), AutoAttack(steps=3, queries=6)
    whole = short(on.objective, on.clean, on.threat, on.keys)
    narrow = replace(short, width=3)(on.objective, on.clean, on.threat, on.keys)
    assert torch.equal(whole.x, narrow.x)
    assert whole.by is not None
    assert narrow.by is not None
    assert torch.equal(whole.by, narrow.by)


# --- the versions ------------------------------------------------------------------------------


def test_the_members_of_each_version() -> None:
    standard, plus, rand = (
        AutoAttack(version=version).members()  # type: ignore[arg-type]
        for version in ("standard", "plus", "rand")
    )
    assert list(standard) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert standard["apgd-t"] == APGD(targets=9)
    assert standard["fab-t"] == FAB(targets=9)
    assert list(plus) == ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"]
    assert plus["apgd-ce"] == APGD(restarts=5)
    assert plus["apgd-dlr"] == APGD(loss="dlr", restarts=5)
    assert plus["fab"] == FAB(restarts=5)
    assert plus["apgd-t"] == APGD(targets=9)
    assert rand == {"apgd-ce": APGD(), "apgd-dlr": APGD(loss="dlr")}
    assert "square" not in AutoAttack().members("l1")


@pytest.mark.parametrize("version", ["plus", "rand"])
def test_every_version_meets_the_closed_form_between_two_classes(version: str) -> None:
    on = line(2, "linf", 30)
    short = AutoAttack(version=version, steps=10, queries=20)  # type: ignore[arg-type]
    left = ~on.objective(short.search(on.objective, on.clean, on.threat, on.keys).x, on.keys).success
    assert torch.equal(left, on.robust)


# --- the fast version ----------------------------------------------------------------------------

FAST = AutoAttack(version="fast", steps=40, queries=150, check=0.0)


def test_the_members_of_the_fast_version() -> None:
    fast = AutoAttack(version="fast")
    assert list(fast.members()) == ["apgd-halving", "apgd-ce", "square-probe", "fab-t", "square", "standard"]
    assert fast.members()["apgd-halving"] == TargetHalving()
    assert fast.members()["square-probe"] == Square(queries=100)
    assert fast.members()["standard"] == AutoAttack()
    assert list(fast.members("l1")) == ["apgd-halving", "apgd-ce", "fab-t", "standard"]
    assert "standard" not in replace(fast, check=0.0).members()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3, 5, 10, 101])
def test_the_fast_version_meets_the_closed_form_too(classes: int, norm: Norm) -> None:
    on = line(classes, norm, 40)
    found = FAST(on.objective, on.clean, on.threat, on.keys)
    left = ~on.objective(found.x, on.keys).success
    assert bool(left[on.robust].all()), "nobody can do better than the closed form"
    assert int(left.sum() - on.robust.sum()) <= (1 if norm == "l1" else 0)
    assert any("no L1" in notice for notice in found.notices) == (norm == "l1")
    assert not any("look masked" in notice for notice in found.notices)


def test_a_survivor_of_the_fast_version_costs_a_tenth_of_the_references_at_most() -> None:
    on = line(12, "linf", 12)
    robust = torch.nonzero(on.robust).flatten()
    attack = replace(FAST, steps=100, queries=5000)
    with counting() as ledger:
        found = attack(on.objective.take(robust), on.clean[robust], on.threat, on.keys[robust])
    assert found.success is not None
    assert not bool(found.success.any())
    assert ledger.forwards + ledger.backwards <= 0.1 * (7888 + 1910) * len(robust)


@dataclass
class Stairs:
    """Linear scores of pixels on stairs: right in value, without a slope."""

    model: LinearClassifier

    def __call__(self, x: Tensor) -> Tensor:
        return self.model((x * 64).round().detach() / 64 + 0 * x)


def test_where_gradients_are_masked_square_has_all_of_its_queries() -> None:
    on = line(5, "linf", 24)
    model = LogitClassifier("stairs", Stairs(LinearClassifier(directions(5))), list("abcde"))
    objective = held(model, on.clean)
    threat = replace(on.threat, eps=1.5 * on.threat.eps)
    attack = replace(FAST, queries=500)
    found = attack(objective, on.clean, threat, on.keys)
    assert any("look masked" in notice for notice in found.notices)
    by_squares = Square(queries=500)(objective, on.clean, threat, on.keys).success
    assert by_squares is not None
    assert found.success is not None
    assert found.by is not None
    assert attack.members()["square"] == Square(queries=500)
    assert list(attack.members()).index("square") in found.by.tolist()
    assert int(found.success.sum()) >= int(by_squares.sum()) - 1


def test_the_check_says_what_it_found_and_what_it_took() -> None:
    on = line(5, "linf", 24)
    attack = replace(FAST, check=1.0, steps=10)
    with counting() as without:
        bare = replace(attack, check=0.0)(on.objective, on.clean, on.threat, on.keys)
    with counting() as ledger:
        found = attack(on.objective, on.clean, on.threat, on.keys)
    assert found.success is not None and bare.success is not None
    left = int((~bare.success).sum())
    (notice,) = (each for each in found.notices if each.startswith("check"))
    spent = f"{ledger.forwards - without.forwards:,} forwards and {ledger.backwards - without.backwards:,} backwards"
    assert f"standard broke 0 of {left} that were drawn of {left} survivors" in notice
    assert "between 0.0% and 0.0% more" in notice, "nobody is left untried"
    assert notice.endswith(spent)


def test_what_the_check_breaks_is_broken() -> None:
    """A batch that nobody tried before the check."""
    on = line(10, "linf", 40)
    tried = TriedBatch(on.objective, on.clean, on.threat, on.keys, 0)
    tried.check(AutoAttack(steps=25, queries=50), 0.5)
    (notice,) = tried.notices
    broken, drawn = int((tried.by >= 0).sum()), int(notice.split("broke ")[1].split()[2])
    assert f"standard broke {broken} of {drawn} that were drawn of 40 survivors" in notice
    assert 0 < broken < drawn < 40
    hidden = wilson(broken, drawn)
    low, high = (end * (40 - drawn) / 40 for end in (hidden.low, hidden.high))
    assert f"between {low:.1%} and {high:.1%} more (95 %)" in notice
    assert bool(on.objective(tried.x, on.keys).success[tried.by >= 0].all())


def test_who_is_checked_does_not_depend_on_who_is_beside() -> None:
    on = line(5, "linf", 12)
    attack = replace(FAST, check=0.5, steps=10, queries=20)
    whole = attack(on.objective, on.clean, on.threat, on.keys)
    order = torch.tensor([9, 3, 4, 0])
    some = attack(on.objective.take(order), on.clean[order], on.threat, on.keys[order])
    assert torch.equal(whole.x[order], some.x)
    assert torch.equal(whole.trace.steps[order], some.trace.steps)
    assert whole.by is not None and some.by is not None
    assert torch.equal(whole.by[order], some.by)


def test_a_randomized_victim_is_refused_by_the_fast_version() -> None:
    clean = images(4)
    objective = veiled(clean, NoisePurifier(0.1), draws=1)
    with pytest.raises(InvalidInput, match="write version='rand'"):
        FAST(objective, clean, Threat(), Keys.of(0, range(4)))


@pytest.mark.parametrize("check", [-0.1, 1.1, float("nan")])
def test_what_makes_no_share_of_the_survivors(check: float) -> None:
    with pytest.raises(InvalidInput, match=f"check={check:g}"):
        AutoAttack(version="fast", check=check)


@dataclass(frozen=True, kw_only=True)
class Tracked(UntargetedObjective):
    """Writes down how many draws each look was asked for."""

    asked: set[int] = field(default_factory=set)

    def logits(self, x: Tensor, keys: Keys) -> Logits:
        self.asked.add(self.draws)
        return super().logits(x, keys)


@pytest.mark.parametrize(("version", "draws"), [("standard", {1}), ("rand", {20})])
def test_only_rand_looks_twenty_times_in_each_step(version: str, draws: set[int]) -> None:
    on = line(3, "linf", 4)
    tracked = Tracked(goal=on.objective.goal, victim=on.objective.victim)
    short = AutoAttack(version=version, steps=2, queries=2)  # type: ignore[arg-type]
    short(tracked, on.clean, on.threat, on.keys)
    assert tracked.asked == draws


def test_the_trace_tells_of_all_members() -> None:
    on = line(5, "linf", 12)
    found = AutoAttack(steps=4, queries=10)(on.objective, on.clean, on.threat, on.keys)
    first = APGD(steps=4)(on.objective, on.clean, on.threat, on.keys.fold("apgd-ce"))
    assert torch.equal(found.trace.first_loss, first.trace.first_loss)
    assert found.by is not None
    survivors = found.by < 0
    assert bool(survivors.any())
    assert bool((found.trace.steps[survivors] > first.trace.steps[survivors]).all())


@pytest.mark.parametrize("field", ["steps", "queries"])
def test_what_makes_no_search(field: str) -> None:
    with pytest.raises(InvalidInput, match=f"{field}=0; write 1 or more"):
        AutoAttack(**{field: 0})  # type: ignore[arg-type]


# --- what it costs -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_survivor_costs_less_than_nine_tenths_of_the_references() -> None:
    model, clean = LinearClassifier(directions(12)), images(1, 96, 160)
    objective = against(model, model(clean).argmax(1))
    with counting() as ledger:
        found = AutoAttack()(objective, clean, Threat(eps=1 / 255), Keys.of(0, range(1)))
    assert found.by is not None
    assert found.by.tolist() == [-1]
    assert ledger.forwards <= 0.9 * 7888
    assert ledger.backwards <= 1910


@pytest.mark.slow
def test_a_network_that_is_not_robust_costs_a_handful_of_looks(shared: Path) -> None:
    data = shared / "data"
    model = File(name=str(data / "models" / "cifar10-resnet56.pt2"), trust=True).load()
    assert isinstance(model, Classifier)
    source = Cifar(name=str(data / "cifar10" / "cifar10_test_jpeg.npz")).load()
    clean, truth = source.read(range(64), model.size)
    objective, keys = against(model, truth), Keys.of(0, range(64))
    with counting() as ledger:
        found = AutoAttack()(objective, clean, Threat(), keys)
    assert bool(objective(found.x, keys).success.all())
    # The reference takes 111 forwards and 101 backwards for each of them.
    assert ledger.forwards <= 0.06 * 111 * 64
    assert ledger.backwards <= 0.06 * 101 * 64
