"""Several defenses as one: their order, one aggregation, joined detectors and their promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import secondlook as sl
from secondlook.audit.plan import plan
from secondlook.audit.study import parse, sweep
from secondlook.data import load
from secondlook.defenses.base import Detector, DetectorDefense
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.jpeg import Jpeg
from secondlook.defenses.stack import JointDetector, Stack
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Model
from secondlook.models.logits import LogitClassifier
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from tests.closeness import same

SMALL = {"calibrate_samples": 80, "false_rejection": 0.1}
KEYS = Keys.of(0, range(4))
X = torch.linspace(0, 1, 4 * 3 * 64 * 64).view(4, 3, 64, 64)


class Shade(Detector):
    """As suspicious as one channel is bright, in units of its own."""

    def __init__(self, channel: int, unit: float) -> None:
        self.channel, self.unit = channel, unit

    @property
    def parts(self) -> tuple[Model, ...]:
        return ()

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        return self.unit * x[:, self.channel].mean((1, 2))


@dataclass(frozen=True, kw_only=True)
class Red(DetectorDefense):
    registered_name = "red"

    def detector(self, model: Model) -> Detector:
        return Shade(0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Blue(DetectorDefense):
    registered_name = "blue"

    def detector(self, model: Model) -> Detector:
        return Shade(2, 100.0)


def model() -> LogitClassifier:
    return LogitClassifier("mean", lambda x: x.mean((2, 3)), ["red", "green", "blue"], size=(64, 64))


def both(**settings: Any) -> Guarded:
    return Guarded(model(), Stack(stack=[Red(), Blue()], **{**SMALL, **settings}))


def noise(**settings: Any) -> Consensus:
    return Consensus(purifier=NoisePurifier(0.2), **settings)


def test_transforms_follow_one_another_and_one_votes() -> None:
    stack = Stack(stack=[Jpeg(quality=20), noise(samples=3, early_stop=False)])
    assert (stack.count, stack.stochastic, stack.transforms, stack.calibration) == (3, True, True, None)
    made = stack.views(X, KEYS, 2, first=1)
    each = KEYS.repeat(2, 1)
    first = Jpeg(quality=20).views(X.repeat_interleave(2, 0), each.fold("stack", 0), 1)
    assert same(made, noise().views(first, each.fold("stack", 1), 1))
    assert not same(made, Stack(stack=[noise(samples=3), Jpeg(quality=20)]).views(X, KEYS, 2, first=1))
    decision = Guarded(model(), stack)(X, KEYS)
    assert decision.votes.sum(1).tolist() == [3] * 4


def test_each_member_has_the_gradient_that_it_has_by_itself() -> None:
    x = X.clone().requires_grad_()
    stack = Stack(stack=[Jpeg(quality=20), noise(samples=1)])
    (full,) = torch.autograd.grad(stack.views(x, KEYS, 1)[:, :, ::3].square().sum(), x)
    (past,) = torch.autograd.grad(stack.views(x, KEYS, 1, gradient="bpda")[:, :, ::3].square().sum(), x)
    assert bool(full.isfinite().all())
    assert not same(full, past)
    assert bool((past[:, :, 1::3] == 0).all()), "past all of them, each pixel answers for itself"


def test_any_of_the_detectors_rejects_and_all_of_them_keep_one_promise() -> None:
    guarded = both(calibrate_samples=400)
    fresh = load("scenes:test").read(range(400), None).images
    decision = guarded(fresh, Keys.of(1, range(400)))
    assert 0.04 < 1 - float(decision.accepted.float().mean()) < 0.17
    detector = guarded.detector
    assert isinstance(detector, JointDetector)
    scales = [link.scale for link in detector.links]
    assert scales[1][1] == pytest.approx(100 * scales[0][1], rel=0.5), "each in units of its own spread"
    red, blue = (
        (shade.suspicion(fresh, KEYS) - t) / s
        for shade, (t, s) in zip((Shade(0, 1.0), Shade(2, 100.0)), scales, strict=True)
    )
    assert same(decision.suspicion, red.maximum(blue))
    rejected = ~decision.accepted
    assert bool((rejected & (red > blue)).any())
    assert bool((rejected & (blue > red)).any())


def test_the_threshold_is_of_images_that_no_detector_was_scaled_by() -> None:
    guarded = both()
    detector, calibration = guarded.detector, guarded.calibration
    assert isinstance(detector, JointDetector)
    assert calibration is not None
    own = {image for link in detector.links for image in (link.alone.calibration or calibration).ids}
    assert len(own) == len(calibration.ids) == 40
    assert not own & set(calibration.ids)
    assert set(calibration.ids) <= set(load("scenes:calibration").ids)
    assert {link.alone.defense.false_rejection for link in detector.links} == {0.05}


def test_an_attacker_gets_past_all_detectors_at_once_and_past_each_alone() -> None:
    guarded = both()
    detector = guarded.detector
    assert isinstance(detector, JointDetector)
    bright = torch.ones_like(X).requires_grad_()
    found = guarded.surrogate(bright, KEYS)
    assert found.acceptance is not None
    (slope,) = torch.autograd.grad(found.acceptance.sum(), bright)
    assert bool((slope[:, 0] < 0).all())
    assert bool((slope[:, 2] < 0).all()), "not the worst detector alone"
    for x in (X, torch.ones_like(X), torch.zeros_like(X)):
        acceptance = guarded.surrogate(x, KEYS).acceptance
        assert acceptance is not None
        assert torch.equal(acceptance[:, 0] >= 0, guarded(x, KEYS).accepted)
    objective = UntargetedObjective(goal=Untargeted(truth=torch.zeros(4, dtype=torch.long)), victim=guarded)
    manners = objective.manners(True, KEYS)
    assert {"red alone", "blue alone", "gate taken away"} <= set(manners)
    assert not {"red alone"} & set(replace(objective, victim=guarded.undefended).manners(True, KEYS))


def test_one_detector_behind_a_transform_sees_the_input() -> None:
    guarded = Guarded(model(), Stack(stack=[Jpeg(quality=5), Red()], **SMALL))
    assert guarded.links == {}
    plain = Guarded(model(), Stack(stack=[Jpeg(quality=90), Red()], **SMALL))
    assert same(guarded(X, KEYS).suspicion, plain(X, KEYS).suspicion)


def test_real_detectors_are_joined_in_front_of_a_classifier_and_draw_their_own() -> None:
    guarded = sl.defend("scenes:classifier", ["jpeg", "multishield", {"name": "squeezing"}], calibrate_samples=160)
    assert isinstance(guarded.defense, Stack)
    images = load("scenes:test").read(range(3), None).images
    decision, found = guarded(images, KEYS[:3]), guarded.surrogate(images, KEYS[:3])
    assert decision.accepted.shape == (3,)
    assert found.auxiliary is not None
    assert found.auxiliary.shape[2] == 1
    alone = torch.cat([guarded(images[at : at + 1], KEYS[at : at + 1]).suspicion for at in range(3)])
    # In units of a spread of a few thousandths, by which the kernels' float noise is divided too.
    assert torch.allclose(decision.suspicion, alone, atol=1e-3)


def test_a_study_names_a_stack_by_its_members() -> None:
    table: dict[str, Any] = {"stack": ["jpeg", {"name": "noise", "samples": 4}], "false_rejection": [0.05, 0.1]}
    assert [each["stack"] for each in sweep(table)] == [table["stack"]] * 2
    assert len(list(sweep({"stack": [["jpeg", "noise"], ["jpeg", "multishield"]]}))) == 2
    study = parse(
        {"name": "s", "models": ["scenes:clip"], "task": {"samples": 2}, "defenses": [{"stack": table["stack"]}]}, "s"
    )
    (label,) = {row.label for row in plan(study).rows}
    assert label == "stack jpeg + noise"


def test_what_is_written_is_what_is_described() -> None:
    stack = Stack(stack=["jpeg", {"name": "jpeg", "quality": 50}])
    assert stack.stack == ({"name": "jpeg"}, {"name": "jpeg", "quality": 50})
    assert Stack(stack="jpeg, noise").variant == "jpeg + noise"
    assert Stack(stack=[Jpeg(quality=50), "noise"]).stack[0] == {"name": "jpeg", "quality": 50}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stack": ["jpeg"]}, "is 1 defense"),
        ({"stack": []}, "is 0 defense"),
        ({"stack": 5}, "stack = 5 is no list of defenses"),
        ({"stack": ["jpeg", 7]}, "7 is no defense; write"),
        ({"stack": ["jpeg", {"quality": 5}]}, "is no defense; write"),
        ({"stack": ["jpeg", "jpeg"]}, "'jpeg' twice with equal settings"),
        ({"stack": ["jpeg", Stack(stack="jpeg,noise")]}, "holds a stack; write all of its members in one list"),
        ({"stack": ["noise", "consensus"]}, "noise and consensus vote, and a stack has one aggregation"),
        ({"stack": ["ttc", "csr"]}, "ttc and csr adapt themselves to the model"),
        ({"stack": ["jpeg", Red()], "false_rejection": 0.0}, "leaves no threshold of the whole"),
        ({"stack": [Red(), Blue()], "calibrate_samples": 70}, "each half needs 39 or more for 2.*= 78 or more"),
        ({"stack": ["jpeg", "noise"], "false_rejection": 1.5}, "false_rejection"),
    ],
)
def test_what_is_no_stack_is_refused_with_the_fix(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Stack(**given)


def test_unknown_members_and_settings_offer_the_nearest() -> None:
    with pytest.raises(UnknownName, match="jpeg"):
        Stack(stack=["jpg", "noise"])
    with pytest.raises(UnknownName, match="quality"):
        Stack(stack=[{"name": "jpeg", "qality": 5}, "noise"])
    with pytest.raises(InvalidInput, match="names no defense"):
        sl.defend("scenes:classifier", [])
    with pytest.raises(InvalidInput, match="MultiShield compares classes"):
        sl.defend("scenes:clip", ["jpeg", "multishield"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scales": [[0.1, 0.2]]}, "beside false_rejection=0.1"),
        ({"scales": [[0.1, 0.2]], "false_rejection": 0.0}, "each of 2 detector"),
        ({"scales": [[0.1, 0.2], [0.1, 0.0]], "false_rejection": 0.0}, "positive spread"),
        ({"scales": "wide", "false_rejection": 0.0}, "scales = 'wide'"),
        ({"false_rejection": 0.0}, "leaves no threshold"),
    ],
)
def test_thresholds_that_are_not_those_of_the_detectors_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        Stack(**{**SMALL, "stack": ["magnet", "squeezing"], **settings})
