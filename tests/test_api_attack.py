"""``sl.attack`` on what a user holds in memory: closed forms, and what may never change."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secondlook as sl
from secondlook import data
from secondlook.decision import Outcome
from secondlook.threat import Norm, Threat
from tests.analytic import LinearClassifier, Moody, directions, halving_eps, images, worst_lead
from tests.published import read

EPS = 8 / 255


def linear(weights: Tensor) -> nn.Sequential:
    """The network whose logits are ``<w_k, x>``."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights[0].numel(), len(weights), bias=False))
    net[1].weight.data = weights.flatten(1).clone()
    return net


class Calls(nn.Module):
    """Counts the samples that it is shown."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        out: Tensor = self.net(x)
        return out


@pytest.fixture
def task() -> tuple[nn.Sequential, Tensor, Tensor, Threat, Tensor]:
    """A linear network of five classes, images that it knows, and who is robust in which ball."""
    weights, x = directions(5), images(24, 96, 160)
    net = linear(weights)
    y = net(x).argmax(1)
    threat = halving_eps(weights, x, y, "linf")
    return net, x, y, threat, worst_lead(weights, x, y, threat) < 0


def test_two_classes_are_driven_to_the_closed_form_optimum() -> None:
    weights, x = directions(2), images(6, 96, 160)
    y = linear(weights)(x).argmax(1)
    towards = (weights[1 - y] - weights[y]).sign()
    for name in ("pgd", "apgd"):
        settings = {"early_exit": False, "steps": 20}
        found = sl.attack(linear(weights), x, y, name, eps=EPS, **settings)
        assert torch.allclose(found.x, x + EPS * towards, atol=1e-6), name


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_autoattack_leaves_whom_the_closed_form_leaves(norm: Norm) -> None:
    weights, x = directions(5), images(24, 96, 160)
    net = linear(weights)
    y = net(x).argmax(1)
    threat = halving_eps(weights, x, y, norm)
    robust = worst_lead(weights, x, y, threat) < 0
    found = sl.attack(net, x, y, eps=threat.eps, norm=norm, steps=40, queries=100)
    assert torch.equal(~found.success, robust)
    assert [each == Outcome.CORRECT for each in found.outcome] == robust.tolist()
    assert [bool(name) for name in found.by] == found.success.tolist()
    assert torch.equal(net(found.x).argmax(1) != y, found.success)
    threat.check(found.x, x)
    assert found.robust_accuracy == pytest.approx(float(robust.float().mean()))


@pytest.mark.parametrize("queries", [pytest.param(5000, marks=pytest.mark.slow), 10])
def test_the_golden_network_keeps_its_robust_count(shared: Path, queries: int) -> None:
    golden = read("apgd_linear101", shared / "golden")
    net = linear(golden.weights["fc.weight"].view(101, 3, 32, 32))
    net[1].bias = nn.Parameter(golden.weights["fc.bias"])
    x, y = golden.inputs["x"], golden.inputs["y"]
    steps = 100 if queries == 5000 else 25
    found = sl.attack(net, x, y, "autoattack", eps=EPS, steps=steps, queries=queries)
    robust = golden.outputs["exact_robust"].bool()
    assert abs(int((~found.success).sum()) - 35) <= 1
    assert int((~found.success != robust).sum()) <= 1


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd", "fab", "square", "autoattack"])
@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels_will_do(attack: str, channels: int) -> None:
    draws = torch.Generator().manual_seed(channels)
    x = torch.rand(4, channels, 6, 6, generator=draws)
    net = linear(torch.randn(3, channels, 6, 6, generator=draws))
    settings = {} if attack == "fgsm" else {"queries": 100} if attack == "square" else {"steps": 5}
    found = sl.attack(net, x, net(x).argmax(1), attack, eps=0.5, **settings)
    Threat(eps=0.5).check(found.x, x)
    assert found.success.any()


class TestWhatComesBack:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("numpy", [False, True])
    def test_is_what_went_in(self, task: tuple, numpy: bool, dtype: torch.dtype) -> None:
        net, x, y, threat, robust = task
        given = x.to(dtype).numpy() if numpy else x.to(dtype)
        truth = y.numpy() if numpy else y
        found = sl.attack(net, given, truth, "apgd", eps=threat.eps, steps=25, loss="cw")
        assert type(found.x) is type(given) and found.x.dtype == given.dtype
        assert type(found.success) is type(given)
        assert found.success.tolist() == (~robust).tolist()

    def test_is_the_same_whatever_the_batch_size(self, task: tuple) -> None:
        net, x, y, threat, _ = task
        runs = [sl.attack(net, x, y, eps=threat.eps, steps=5, queries=20, batch_size=size) for size in (None, 1, 7)]
        for other in runs[1:]:
            assert torch.allclose(other.x, runs[0].x, atol=1e-6)
            assert other.by == runs[0].by

    def test_changes_with_the_seed_and_with_nothing_else(self, task: tuple) -> None:
        net, x, y, threat, _ = task
        one, same, other = (sl.attack(net, x, y, "pgd", eps=threat.eps, steps=1, seed=seed).x for seed in (0, 0, 1))
        assert torch.equal(one, same) and not torch.equal(one, other)

    def test_says_what_it_is(self, task: tuple) -> None:
        net, x, y, threat, _ = task
        found = sl.attack(net, x, y, "apgd", eps=threat.eps, steps=25, loss="cw")
        assert "24 samples: 12 correct, 12 wrong, 0 rejected" in repr(found)


class TestCost:
    def test_is_counted_by_the_model(self, task: tuple) -> None:
        net, x, y, threat, _ = task
        counted = Calls(net)
        found = sl.attack(counted, x, y, eps=threat.eps, steps=5, queries=20)
        assert found.forwards == counted.seen
        assert 0 < found.backwards < found.forwards

    @pytest.mark.parametrize("attack", ["pgd", "apgd", "square"])
    def test_is_two_decisions_where_all_are_wrong_already(self, task: tuple, attack: str) -> None:
        net, x, y, threat, _ = task
        found = sl.attack(net, x, (y + 1) % 5, attack, eps=threat.eps)
        assert found.success.all() and set(found.by) == {"clean"}
        assert torch.equal(found.x, x) and found.x.data_ptr() != x.data_ptr()
        assert (found.forwards, found.backwards) == (2 * len(x), 0)

    def test_is_of_one_call_alone(self, task: tuple) -> None:
        net, x, y, threat, _ = task
        costs = [sl.attack(net, x, y, "pgd", eps=threat.eps, steps=3).forwards for _ in range(2)]
        assert costs[0] == costs[1]


class TestTheCallers:
    def test_modes_gradients_and_pixels_are_left_alone(self) -> None:
        net, x = Moody(), images(4)
        net.train()
        net.body[2].eval()
        modes = [part.training for part in net.modules()]
        net.head.weight.grad = torch.full_like(net.head.weight, 7.0)
        frozen = [p.requires_grad for p in net.parameters()]
        before = x.clone()
        y = torch.tensor([0, 1, 2, 0])
        found = sl.attack(net, x, y, "apgd", eps=EPS, steps=3)
        assert [part.training for part in net.modules()] == modes
        assert bool((net.head.weight.grad == 7.0).all()) and net.head.bias.grad is None
        assert [p.requires_grad for p in net.parameters()] == frozen
        assert torch.equal(x, before) and not found.x.requires_grad
        state = net.body[0].state_dict()
        assert int(state["num_batches_tracked"]) == 0

    @pytest.mark.parametrize("attack", ["pgd", "apgd", "fab", "square", "autoattack"])
    def test_model_may_work_in_place(self, attack: str) -> None:
        weights = torch.randn(4, 3, 8, 8)

        class Copying(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return ((x - 0.5) / 0.25).flatten(1) @ weights.flatten(1).T

        class InPlace(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.sub_(0.5).div_(0.25).flatten(1) @ weights.flatten(1).T

        x = torch.rand(6, 3, 8, 8)
        y, before = Copying()(x).argmax(1), x.clone()
        settings = {"queries": 10} if attack == "square" else {"steps": 5}
        one, two = (sl.attack(m, x, y, attack, eps=EPS, **settings) for m in (Copying(), InPlace()))
        assert torch.equal(one.x, two.x) and one.outcome == two.outcome
        assert torch.equal(x, before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_around_the_call_does_not_matter(task: tuple, mode: Any) -> None:
    net, x, y, threat, _ = task
    plain = sl.attack(net, x, y, eps=threat.eps, steps=5, queries=10)
    with mode():
        found = sl.attack(net, x.clone(), y.clone(), eps=threat.eps, steps=5, queries=10)
    assert torch.equal(found.x, plain.x) and found.by == plain.by


class TestAModel:
    def test_may_be_a_name_a_model_of_ours_or_a_function(self) -> None:
        source = data.load("scenes:test")
        x, y = source.read(range(4), size=(64, 64))
        model = sl.load("scenes:classifier")
        runs = [sl.attack(each, x, y, "fgsm", eps=EPS) for each in ("scenes:classifier", model, lambda x: model(x))]
        for other in runs[1:]:
            assert torch.equal(runs[0].x, other.x) and runs[0].outcome == other.outcome

    def test_that_embeds_names_classes(self) -> None:
        source = data.load("scenes:test")
        x, y = source.read(range(4), size=(64, 64))
        found = sl.attack("scenes:clip", x, y, "pgd", eps=EPS, steps=5, classes=source.classes)
        assert found.success.all()
        with pytest.raises(sl.InvalidInput, match=r"write classes=\[\.\.\.\]"):
            sl.attack("scenes:clip", x, y, eps=EPS)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_of_another_dtype_is_handed_its_own(self, task: tuple, dtype: torch.dtype) -> None:
        net, x, y, threat, _ = task
        found = sl.attack(net.to(dtype), x, y, "apgd", eps=threat.eps, steps=10)
        assert found.x.dtype == torch.float32
        # A margin is a matter of bits where the model has few.
        assert 8 <= int(found.success.sum()) <= 16

    def test_may_answer_an_object_with_logits(self, task: tuple) -> None:
        net, x, y, threat, _ = task

        class Output:
            def __init__(self, logits: Tensor) -> None:
                self.logits = logits

        plain = sl.attack(net, x, y, "apgd", eps=threat.eps, steps=5)
        for wrapped in (lambda x: Output(net(x)), lambda x: {"loss": None, "logits": net(x)}):
            found = sl.attack(wrapped, x, y, "apgd", eps=threat.eps, steps=5)
            assert torch.equal(found.x, plain.x)


@pytest.mark.parametrize("spoil", [lambda s: s * float("nan"), lambda s: s + float("inf")])
@pytest.mark.parametrize("attack", ["pgd", "apgd", "square", "autoattack"])
def test_what_is_no_number_is_never_correct_and_never_a_success(attack: str, spoil: Any) -> None:
    x = torch.rand(3, 3, 4, 4)
    settings = {"queries": 5} if attack == "square" else {"steps": 3}
    found = sl.attack(lambda x: spoil(x.mean((2, 3))), x, [0, 1, 2], attack, eps=EPS, **settings)
    assert not found.success.any() and set(found.outcome) == {Outcome.WRONG}
    assert found.by == ("", "", "")


def test_a_tie_is_no_success() -> None:
    x = torch.rand(3, 3, 4, 4)
    net = lambda x: x.new_zeros(len(x), 5) + 0 * x.sum((1, 2, 3))[:, None]  # noqa: E731
    assert not sl.attack(net, x, [0, 1, 2], "pgd", eps=EPS, steps=2).success.any()
    assert not sl.attack(net, x, [0, 1, 2], "pgd", target=3, eps=EPS, steps=2).success.any()


class TestAFunction:
    """A network inside of a function is found: it has to be in eval mode, and on one device."""

    @pytest.mark.parametrize("form", ["lambda", "global", "partial", "method", "object"])
    def test_has_its_network_in_eval_mode(self, form: str) -> None:
        net = Moody().train()

        class Holder:
            def __init__(self) -> None:
                self.net = net

            def __call__(self, x: Tensor) -> Tensor:
                out: Tensor = self.net(x)
                return out

        functions = {
            "lambda": lambda x: net(x),
            "global": eval("lambda x: network(x)", {"network": net}),
            "partial": partial(net.forward),
            "method": net.forward,
            "object": Holder(),
        }
        x = images(4)
        plain = sl.attack(net, x, [0, 1, 2, 0], "pgd", eps=EPS, steps=3)
        found = sl.attack(functions[form], x, [0, 1, 2, 0], "pgd", eps=EPS, steps=3)
        assert torch.equal(found.x, plain.x) and net.training
        assert int(net.body[0].state_dict()["num_batches_tracked"]) == 0


class TestATarget:
    @pytest.mark.parametrize("attack", ["fgsm", "pgd", "apgd", "square"])
    def test_is_reached(self, attack: str) -> None:
        weights, x = directions(4), images(8)
        net = linear(weights)
        y = net(x).argmax(1)
        target = (y + 1) % 4
        found = sl.attack(net, x, y, attack, target=target, eps=0.4)
        assert torch.equal(net(found.x).argmax(1) == target, found.success)
        assert int(found.success.sum()) >= 6

    def test_of_one_class_stands_for_all(self, task: tuple) -> None:
        net, x, _, _, _ = task
        x = x[net(x).argmax(1) != 2]
        y = net(x).argmax(1)
        one = sl.attack(net, x, y, "pgd", target=2, eps=EPS, steps=3)
        all_ = sl.attack(net, x, y, "pgd", target=torch.full_like(y, 2), eps=EPS, steps=3)
        assert torch.equal(one.x, all_.x)

    def test_that_is_the_truth_is_refused(self, task: tuple) -> None:
        net, x, y, _, _ = task
        with pytest.raises(sl.InvalidInput, match="target of sample 0 is .*its right class"):
            sl.attack(net, x, y, "pgd", target=y, eps=EPS)

    @pytest.mark.parametrize("attack", ["autoattack", "fab"])
    def test_is_nothing_that_some_attacks_know(self, task: tuple, attack: str) -> None:
        net, x, y, _, _ = task
        with pytest.raises(sl.InvalidInput, match="write attack='apgd'"):
            sl.attack(net, x, y, attack, target=(y + 1) % 5, eps=EPS)


class TestAGuardedModel:
    def test_says_itself_whether_it_rejects(self) -> None:
        source = data.load("scenes:test")
        x, y = source.read(range(24), size=(64, 64))
        shield = sl.defend("scenes:classifier", "multishield")
        found = sl.attack(shield, x, y, "apgd", eps=4 / 255, steps=20, targets=5)
        decided = shield(found.x)
        wrong = decided.accepted & (decided.outputs.argmax(1) != y)
        assert torch.equal(wrong, found.success)
        assert int(found.success.sum()) >= 20

    def test_of_random_draws_is_attacked_whatever_the_first_draw_says(self) -> None:
        x = torch.rand(8, 3, 8, 8)
        net = linear(torch.randn(3, 3, 8, 8))
        noisy = sl.defend(net, "noise")
        found = sl.attack(noisy, x, net(x).argmax(1), "pgd", eps=EPS, steps=3, draws=2)
        assert "clean" not in found.by and not found.notices
        hasty = sl.attack(noisy, x, net(x).argmax(1), "pgd", eps=EPS, steps=3)
        assert "write draws=20" in hasty.notices[0]

    def test_of_two_models_needs_the_names_of_the_classes(self) -> None:
        net = linear(torch.randn(4, 3, 64, 64))
        with pytest.raises(sl.InvalidInput, match=r"have no names yet, write classes=\[\.\.\.\]"):
            sl.defend(net, "multishield")
        names = ["red circle", "blue star", "green square", "large triangle"]
        shield = sl.defend(net, "multishield", classes=names)
        assert shield(torch.rand(2, 3, 64, 64)).outputs.shape == (2, 4)

    def test_answers_like_a_model(self) -> None:
        x = torch.rand(5, 3, 8, 8)
        net = linear(torch.randn(3, 3, 8, 8))
        guarded = sl.defend(net, "jpeg", quality=95)
        answer = guarded(x)
        assert answer.outputs.shape == (5, 3) and answer.accepted.all()
        assert answer.suspicion.shape == (5,)
        assert torch.equal(sl.defend(net, "undefended")(x).outputs, net(x))

    def test_of_several_defenses_is_behind_a_stack(self) -> None:
        made = sl.defend("scenes:classifier", ["jpeg", "noise"]).defense
        assert made == sl.Stack(stack=["jpeg", "noise"])

    def test_of_a_defense_that_is_made_already_is_the_same(self) -> None:
        x, net = torch.rand(4, 3, 8, 8), linear(torch.randn(3, 3, 8, 8))
        named, made = sl.defend(net, "jpeg", quality=20), sl.defend(net, sl.Jpeg(quality=20))
        assert torch.equal(named(x).outputs, made(x).outputs)
        with pytest.raises(sl.InvalidInput, match="quality beside a defense that is made already"):
            sl.defend(net, sl.Jpeg(), quality=20)
        with pytest.raises(sl.InvalidInput, match=r"is a class; write Jpeg\(\)"):
            sl.defend(net, sl.Jpeg)  # type: ignore[arg-type]

    def test_may_embed_and_is_attacked_by_its_classes(self) -> None:
        x, _ = data.load("scenes:test").read(range(3), size=(64, 64))
        embedding = sl.defend("scenes:clip", "jpeg")
        vectors = embedding(x).outputs
        assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-4)
        with pytest.raises(sl.InvalidInput, match=r"classes=\[\.\.\.\]"):
            sl.attack(embedding, x, [0, 1, 2], eps=EPS)

    def test_of_an_unknown_setting_is_refused(self) -> None:
        with pytest.raises(sl.UnknownName, match="quality"):
            sl.defend("scenes:classifier", "jpeg", qualty=3)


def test_an_attack_may_be_an_object(task: tuple) -> None:
    net, x, y, threat, _ = task
    named = sl.attack(net, x, y, "apgd", eps=threat.eps, steps=7)
    made = sl.attack(net, x, y, sl.APGD(steps=7), eps=threat.eps)
    assert torch.equal(named.x, made.x)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_floats_by_default_and_what_a_file_holds_on_the_grid(norm: Norm) -> None:
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    clean = (x * 255).round() / 255
    net, threat = linear(torch.randn(4, 3, 8, 8)), Threat(norm=norm, eps=8 / 255 * 10)
    y = net(x).argmax(1)
    for each, grid in ((x, None), (clean, 255)):
        found = sl.attack(net, each, y, "pgd", eps=threat.eps, norm=norm, steps=3, grid=grid)
        threat.check(found.x, each)
        levels = found.x * 255
        on = bool(((levels - levels.round()).abs() < 1e-3).all())
        assert on == (grid == 255)


def test_a_radius_may_be_a_fraction(task: tuple) -> None:
    net, x, y, _, _ = task
    one, two = (sl.attack(net, x, y, "fgsm", eps=eps) for eps in ("8/255", np.float64(EPS)))
    assert torch.equal(one.x, two.x)


def test_a_classifier_of_ours_with_any_scores_is_the_same(task: tuple) -> None:
    _, x, y, threat, robust = task
    found = sl.attack(LinearClassifier(directions(5)), x, y, eps=threat.eps, steps=25, queries=10)
    assert torch.equal(~found.success, robust)
