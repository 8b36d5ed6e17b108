"""Each check passes a model in good health, and names the fix of one that is broken so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secondlook.doctor import cost, gradients
from secondlook.doctor.examine import CHECKS
from secondlook.doctor.gradients import Derivatives
from secondlook.doctor.model import ModelUnderTest, Outcome, distances, prepare
from secondlook.doctor.preprocessing import normalized
from secondlook.errors import InvalidInput
from secondlook.models.base import Model, evaluating
from secondlook.models.io.cards import Card, Program
from secondlook.models.io.preprocessing import Preprocessing
from secondlook.models.purifiers.filters import MedianFilter
from secondlook.randomness import Keys
from tests import tiny
from tests.doctor import models as m
from tests.doctor.models import ToyClassifier, ToyEmbedder, ToyPurifier

ASK = {check.name: check.run for check in CHECKS}


def ask(name: str, subject: ModelUnderTest) -> Outcome:
    with evaluating(subject.modules):
        return ASK[name](subject)


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{tiny.write_folder(tmp_path_factory.mktemp('doctor') / 'colors', 36)}"


@pytest.mark.parametrize(
    "model", [ToyClassifier(), ToyEmbedder(), ToyPurifier(), ToyPurifier(m.still, stochastic=False)]
)
def test_who_is_in_good_health_passes_them_all(model: Model) -> None:
    subject = prepare(model, side=m.SIDE)
    for check in CHECKS[:-2]:
        if subject.kind in check.kinds:
            found = ask(check.name, subject)
            assert found.status in ("pass", "skip") and not found.fix, (check.name, found)


def flat_is_nan(judge: ToyClassifier, x: Tensor) -> Tensor:
    return judge.plain(x) / x.flatten(1).std(1, keepdim=True).sub(1e-9).clamp_min(0).sign()


def no_grad(judge: ToyClassifier, x: Tensor) -> Tensor:
    return judge.plain(x.detach())


BROKEN: list[tuple[str, Callable[[], Model], str, str]] = [
    ("accepts [0, 1]", lambda: ToyClassifier(flat_is_nan), "fail", "0 on a flat image"),
    ("output shape", lambda: ToyClassifier(lambda j, x: j.plain(x).mean(0)), "fail", "no squeeze()"),
    ("output shape", lambda: ToyClassifier(lambda j, x: j.plain(x)[:1]), "fail", "batch size"),
    ("output shape", lambda: ToyClassifier(classes=("a", "b")), "fail", "as many names"),
    ("output shape", lambda: ToyClassifier(classes=("a",)), "fail", "two classes or more"),
    ("output shape", lambda: ToyClassifier(classes=tuple("abcda")), "warn", "a name of its own"),
    ("rejects other ranges", m.Unseeing, "fail", "self.checked_input(x)"),
    ("passes are counted", m.Uncounting, "fail", "self.checked_input(x)"),
    ("eval mode", lambda: m.Hidden(training=True), "fail", "modules = (network,)"),
    ("eval mode", lambda: m.Hidden(training=False), "warn", "modules = (network,)"),
    ("repeatable", lambda: m.Hidden(training=True), "fail", "list the networks in modules"),
    ("repeatable", lambda: ToyPurifier(lambda x, k: x + torch.rand_like(x) / 9), "fail", "from keys"),
    (
        "batch independence",
        lambda: ToyClassifier(lambda j, x: j.plain(x) - j.plain(x).mean(0)),
        "fail",
        "BatchNorm in eval mode",
    ),
    ("parameters untouched", lambda: ToyClassifier(m.backward_inside), "fail", "torch.autograd.grad"),
    ("outputs differ", lambda: ToyClassifier(lambda j, x: 1 + 1e-6 * j.plain(x)), "fail", "not loaded"),
    (
        "sensitive to brightness",
        lambda: ToyClassifier(lambda j, x: j.network(x - x.mean((1, 2, 3), True))),
        "warn",
        "normalize by constants",
    ),
    (
        "normalization inside",
        lambda: ToyEmbedder(lambda e, x: (-x).relu().flatten(1) + 1),
        "warn",
        "inside the model, after checked_input()",
    ),
    ("gradient reaches the pixels", lambda: ToyClassifier(no_grad), "fail", "detach()"),
    (
        "gradient reaches the pixels",
        lambda: ToyClassifier(lambda j, x: j.plain((x - 0.5).sign())),
        "fail",
        "straight through",
    ),
    (
        "gradient reaches the pixels",
        lambda: ToyClassifier(lambda j, x: j.plain(x) + (x * 0).sum().sqrt()),
        "fail",
        "at 0",
    ),
    ("gradient reaches the pixels", lambda: ToyClassifier(lambda j, x: x[:, 0, :5, 0]), "warn", "crop"),
    (
        "gradient is the derivative",
        lambda: ToyClassifier(lambda j, x: j.plain(x) + 2 * j.plain(x.flip(3).detach())),
        "fail",
        "detach()",
    ),
    ("gradient is the derivative", lambda: ToyClassifier(lambda j, x: j.plain(m.stepped(x))), "fail", "rounding"),
    ("unit vectors", m.Unscaled, "fail", "F.normalize"),
    ("unit vectors", lambda: ToyClassifier(cosine=True), "fail", "F.normalize"),
    ("texts", lambda: ToyEmbedder(text=lambda t: torch.ones(len(t), 5)), "fail", "tokenizer"),
    ("texts", lambda: ToyEmbedder(text=lambda t: torch.eye(7)[: len(t)]), "fail", "one space"),
    ("texts", lambda: ToyEmbedder(text=lambda t: torch.eye(5)[: len(t)] + len(t)), "fail", "padding"),
    ("logits", lambda: ToyClassifier(lambda j, x: j.plain(x).softmax(1)), "fail", "leave the softmax out"),
    ("output range", lambda: ToyPurifier(lambda x, k: 2 * x - 1), "fail", "(out + 1) / 2"),
    ("output size", m.Cropper, "fail", "write reconstruct()"),
    ("stochastic flag", lambda: ToyPurifier(m.still), "fail", "stochastic = False"),
    ("stochastic flag", lambda: ToyPurifier(stochastic=False), "fail", "stochastic = True"),
    ("differentiable flag", lambda: ToyPurifier(differentiable=False), "warn", "differentiable = True"),
    ("gradient reaches the pixels", lambda: ToyPurifier(m.jpeg, stochastic=False), "fail", "Pillow"),
    ("reconstruction quality", lambda: ToyPurifier(lambda x, k: 1 - 0.9 * x.round()), "fail", "colors"),
]


@pytest.mark.parametrize(("check", "make", "status", "fix"), BROKEN)
def test_what_is_broken_is_found_and_its_mend_named(
    check: str, make: Callable[[], Model], status: str, fix: str
) -> None:
    found = ask(check, prepare(make(), side=m.SIDE))
    assert found.status == status and fix in found.fix, found


def test_every_check_has_a_model_that_it_fails() -> None:
    elsewhere = {"preprocessing", "clean accuracy", "time and memory", "default audit"}
    assert {check.name for check in CHECKS} - elsewhere == {row[0] for row in BROKEN}


def test_a_listed_network_in_training_mode_is_a_warning() -> None:
    judge = ToyClassifier()
    judge.network.train()
    found = ask("eval mode", prepare(judge))
    assert found.status == "warn" and "network.eval()" in found.fix
    assert found.figures["training"] == 5


def test_parameters_that_are_not_frozen_are_a_warning() -> None:
    judge = ToyClassifier()
    judge.network.requires_grad_(True)
    found = ask("parameters untouched", prepare(judge))
    assert found.status == "warn" and "requires_grad_(False)" in found.fix


def test_a_purifier_without_a_gradient_may_say_so() -> None:
    subject = prepare(ToyPurifier(m.jpeg, stochastic=False, differentiable=False), side=m.SIDE)
    assert ask("differentiable flag", subject).status == "pass"
    assert ask("gradient reaches the pixels", subject).status == "skip"
    assert ask("gradient is the derivative", subject).status == "skip"


def test_autograd_and_differences_agree_to_many_digits_on_a_smooth_model() -> None:
    figures = ask("gradient is the derivative", prepare(ToyClassifier())).figures
    assert figures["error"] < 1e-3


def test_a_network_of_many_kinks_is_no_alarm() -> None:
    network = (
        nn.Sequential(
            nn.Flatten(),
            *(layer for wide in (m.PIXELS, 400, 400) for layer in (nn.Linear(wide, 400), nn.ReLU())),
            nn.Linear(400, 5),
        )
        .eval()
        .requires_grad_(False)
    )
    for row, parameter in enumerate(network.parameters()):
        parameter.data = Keys.of(0, [row]).normal(parameter.shape)[0] / 14
    kinked = ToyClassifier(lambda j, x: j.network(8 * x - 4), network=network, modules=(network,))
    found = ask("gradient is the derivative", prepare(kinked))
    assert found.status == "pass" and found.figures["error"] < 0.01 and "fp64" in found.measured


def test_what_the_differences_are_unsure_of_is_not_laid_at_the_gradients_door(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(error: float, unsettled: float) -> str:
        held = Derivatives(torch.tensor([1 - error]), torch.ones(1), 1e-5, unsettled, False)
        monkeypatch.setattr(gradients, "derivatives", lambda subject: held)
        return ask("gradient is the derivative", prepare(ToyClassifier())).status

    assert [of(0.04, 0), of(0.1, 0.001), of(0.1, 0.06), of(0.2, 0.06)] == ["pass", "warn", "pass", "warn"]
    assert of(0.3, 0.9) == "fail"


def test_an_exported_program_is_doubled_without_a_word(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    network = m.net()
    program = torch.export.export(network, (torch.rand(2, 3, m.SIDE, m.SIDE),))
    held = Program(path=tmp_path, card=Card(kind="classifier", input=(3, 8, 8), sha256=""), run=program.module())
    judge = ToyClassifier(lambda j, x: j.held.run(x), held=held, modules=())
    found = gradients.derivatives(replace(prepare(judge), seconds_per_image=0.0))
    assert found is not None and found.double and found.error < 1e-6
    assert next(held.run.parameters()).dtype == torch.float32  # type: ignore[attr-defined]
    assert not [each for each in recwarn if "LeafSpec" in str(each.message)]


def test_the_slower_a_model_is_the_less_it_is_asked() -> None:
    subject = prepare(ToyClassifier())
    assert subject.seconds_per_image < 0.1
    shown = [replace(subject, seconds_per_image=seconds).affordable(8, passes=2) for seconds in (0, 0.1, 0.5, 1, 60)]
    assert shown == [8, 8, 4, 2, 2]
    spent = [gradients.extent(seconds).passes for seconds in (0, 0.2, 0.4, 0.6, 1, 60)]
    assert spent == [96, 96, 48, 32, 16, 8]
    slow = replace(subject, seconds_per_image=1.0)
    asked = ask("gradient is the derivative", slow).measured
    assert "2 directions" in asked and "fp32" in asked
    assert "batch of 2" in ask("batch independence", slow).measured


def test_a_median_has_its_derivative_where_no_pixels_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = prepare(MedianFilter(3))
    assert ask("gradient is the derivative", subject).status == "pass"
    monkeypatch.setattr(gradients, "_DITHER", 0.0)
    assert ask("gradient is the derivative", subject).status == "fail"


def test_a_model_that_raises_has_no_pace() -> None:
    def broken(judge: ToyClassifier, x: Tensor) -> Tensor:
        raise RuntimeError

    assert prepare(ToyClassifier(broken)).seconds_per_image == 0


def test_missing_normalization_is_certain_where_there_are_labels(colors: str) -> None:
    mean, std = -normalized(torch.zeros(1, 3, 1, 1)), normalized(torch.ones(1, 3, 1, 1))
    std = 1 / (std + mean)

    class Bare(tiny.Compass):
        """Takes for granted that pixels come normalized."""

        def encode_image(self, x: Tensor) -> Tensor:
            return super().encode_image((x + mean) * std)

    found = ask("normalization inside", prepare(Bare("bare"), data=colors, side=tiny.SIDE))
    assert found.status == "fail" and "inside the model" in found.fix
    assert found.figures["shifted"] == 1 and found.figures["plain"] < 0.5
    whole = ask("normalization inside", prepare(tiny.eye(), data=colors, side=tiny.SIDE))
    assert whole.status == "pass" and whole.figures["plain"] == 1


class RedOnly(tiny.Compass):
    """Sees one channel, and tells two colors of six."""

    def encode_image(self, x: Tensor) -> Tensor:
        return super().encode_image(x) * torch.tensor([1.0, 0, 0])


def test_clean_accuracy_is_set_against_chance(colors: str) -> None:
    found = ask("clean accuracy", prepare(tiny.eye(), data=colors, side=tiny.SIDE, samples=24))
    assert found.status == "pass" and found.figures["accuracy"] == 1
    assert found.figures["chance"] == pytest.approx(1 / 6) and "24 images" in found.measured
    wrong = ask("clean accuracy", prepare(tiny.contrary(), data=colors, side=tiny.SIDE))
    assert wrong.status == "fail" and "order of the classes" in wrong.fix
    few = ask("clean accuracy", prepare(RedOnly("red"), data=colors, side=tiny.SIDE, samples=12))
    assert few.status == "warn" and "--samples" in few.fix
    strange = ask("clean accuracy", prepare(ToyClassifier(), data=colors))
    assert strange.status == "warn" and "no class" in strange.measured
    none = ask("clean accuracy", prepare(tiny.eye(), side=tiny.SIDE))
    assert none.status == "skip" and "--data" in none.measured


class Prepared(ToyEmbedder):
    """Brings the processor that it was trained with."""

    def __init__(self, processor: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.processor, self.preprocessing = processor, preprocessing


def test_preprocessing_is_that_of_the_processor() -> None:
    t = pytest.importorskip("transformers")
    from secondlook.models.families.hf.processors import preprocessing

    processor = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    ours = preprocessing(processor, "eyes", "input")
    assert ask("preprocessing", prepare(Prepared(processor, ours))).status == "pass"
    for wrong in ({"mean": (0.5,) * 3}, {"filter": "bilinear"}, {"crop": (30, 30)}):
        found = ask("preprocessing", prepare(Prepared(processor, replace(ours, **wrong))))
        assert found.status == "fail" and "preprocessor_config.json" in found.fix, wrong


def test_costs_are_given_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = prepare(ToyClassifier())
    found = ask("time and memory", subject)
    assert found.status == "pass"
    for batch in (1, 8, 32):
        assert found.figures[f"forward_{batch}"] > 0 and found.figures[f"gradient_{batch}"] > 0
    monkeypatch.setattr(cost, "available_memory", lambda: 2.0 * cost.held_bytes(subject))
    short = ask("time and memory", subject)
    assert "gradient_1" in short.figures and "gradient_8" not in short.figures
    assert "batch 8 left out" in short.measured


def test_what_a_gradient_holds_is_counted_without_the_weights() -> None:
    # Of x * x, x is held: 3 * 8 * 8 numbers of 4 bytes; a few more for the loss of 5 numbers.
    held = cost.held_bytes(prepare(ToyClassifier(lambda j, x: (x * x).flatten(1)[:, :5])))
    assert 4 * m.PIXELS <= held < 8 * m.PIXELS
    weights = sum(p.numel() * 4 for p in ToyClassifier().network.parameters())
    assert cost.held_bytes(prepare(ToyClassifier())) < weights


def test_the_default_audit_is_reckoned_from_its_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "timed", lambda subject, x: cost.Pass(len(x), 0.5, 1.0))
    found = ask("default audit", prepare(ToyClassifier()))
    # 32 images; two illusions of 50 steps on the bare model, and at each of 4 defenses two syntheses of 2 draws:
    # bare, as-is and straight through, and the first two at each of 3 targets as well, 51 gradients each.
    gradients, adaptive = 2 * 50, 2 * 2 * (3 + 2 * 3) * 51
    assert found.figures == {"bare": 32 * gradients, "whole": 32 * (gradients + 4 * adaptive)}
    assert found.status == "warn" and "--samples 30" in found.fix
    monkeypatch.setattr(cost, "timed", lambda subject, x: cost.Pass(len(x), 0.001, 0.002))
    assert ask("default audit", prepare(ToyClassifier())).status == "pass"
    assert ask("default audit", prepare(ToyPurifier(), side=m.SIDE)).status == "skip"


def test_distances_are_shares_of_the_length() -> None:
    rows = torch.tensor([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    assert distances(rows).tolist() == pytest.approx([2**0.5, 0, 2**0.5])
    assert torch.allclose(distances(rows), distances(100 * rows))


@pytest.mark.parametrize("given", [object(), torch.nn.Linear(2, 2)])
def test_nothing_else_is_examined(given: object) -> None:
    with pytest.raises(InvalidInput, match="no Embedder, Classifier or Purifier"):
        prepare(given)


def test_pictures_come_at_the_size_of_the_model_and_from_the_data(colors: str, tmp_path: Path) -> None:
    assert prepare(ToyClassifier()).size == (m.SIDE, m.SIDE)
    assert prepare(tiny.eye(), side=12).size == (12, 12)
    gray = prepare(tiny.eye(), data=colors, side=tiny.SIDE)
    assert gray.images.shape == (8, 3, 8, 8) and float((gray.images - 0.5).abs().mean()) < 0.05
    # Fewer images than are shown: scenes take their place.
    few = prepare(tiny.eye(), data=f"folder:{tiny.write_folder(tmp_path / 'few', 2)}", side=8)
    assert len(few.images) == 8 and few.task is not None and len(few.task.source) == 2
