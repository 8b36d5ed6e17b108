"""Each check passes a model in good health, and names the mend of one that is broken so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secondlook.doctor import cost, differences, gradients, timing
from secondlook.doctor.differences import Derivatives
from secondlook.doctor.examine import CHECKS
from secondlook.doctor.normalisation import normalised
from secondlook.doctor.outcome import Outcome
from secondlook.doctor.patient import Patient, admit, distances
from secondlook.errors import InvalidInput
from secondlook.models.base import Model, evaluating
from secondlook.models.cards import Card, Program
from secondlook.models.preprocessing import Preprocessing
from secondlook.randomness import Keys
from tests import tiny
from tests.doctor import models as m
from tests.doctor.models import Eyes, Judge, Pane

ASK = {check.name: check.ask for check in CHECKS}


def ask(name: str, patient: Patient) -> Outcome:
    with evaluating(patient.modules):
        return ASK[name](patient)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{tiny.write_folder(tmp_path_factory.mktemp('doctor') / 'colours', 36)}"


@pytest.mark.parametrize("model", [Judge(), Eyes(), Pane(), Pane(m.still, stochastic=False)])
def test_who_is_in_good_health_passes_them_all(model: Model) -> None:
    patient = admit(model, side=m.SIDE)
    for check in CHECKS[:-2]:
        if patient.kind in check.kinds:
            found = ask(check.name, patient)
            assert found.status in ("pass", "skip") and not found.mend, (check.name, found)


def flat_is_nan(judge: Judge, x: Tensor) -> Tensor:
    return judge.plain(x) / x.flatten(1).std(1, keepdim=True).sub(1e-9).clamp_min(0).sign()


def no_grad(judge: Judge, x: Tensor) -> Tensor:
    return judge.plain(x.detach())


BROKEN: list[tuple[str, Callable[[], Model], str, str]] = [
    ("accepts [0, 1]", lambda: Judge(flat_is_nan), "fail", "0 on a flat picture"),
    ("form of the answer", lambda: Judge(lambda j, x: j.plain(x).mean(0)), "fail", "no squeeze()"),
    ("form of the answer", lambda: Judge(lambda j, x: j.plain(x)[:1]), "fail", "batch size"),
    ("form of the answer", lambda: Judge(classes=("a", "b")), "fail", "as many names"),
    ("form of the answer", lambda: Judge(classes=("a",)), "fail", "two classes or more"),
    ("form of the answer", lambda: Judge(classes=tuple("abcda")), "warn", "a name of its own"),
    ("refuses other pixels", m.Unseeing, "fail", "self.see(x)"),
    ("passes are counted", m.Uncounting, "fail", "self.see(x)"),
    ("eval mode", lambda: m.Hidden(training=True), "fail", "modules = (network,)"),
    ("eval mode", lambda: m.Hidden(training=False), "warn", "modules = (network,)"),
    ("repeatable", lambda: m.Hidden(training=True), "fail", "list the networks in modules"),
    ("repeatable", lambda: Pane(lambda x, k: x + torch.rand_like(x) / 9), "fail", "from keys"),
    ("alone as in a batch", lambda: Judge(lambda j, x: j.plain(x) - j.plain(x).mean(0)), "fail",
     "BatchNorm in eval mode"),
    ("parameters left alone", lambda: Judge(m.backward_inside), "fail", "torch.autograd.grad"),
    ("answers differ", lambda: Judge(lambda j, x: 1 + 1e-6 * j.plain(x)), "fail", "not loaded"),
    ("sees brightness", lambda: Judge(lambda j, x: j.network(x - x.mean((1, 2, 3), True))), "warn",
     "normalise by constants"),
    ("normalisation inside", lambda: Eyes(lambda e, x: (-x).relu().flatten(1) + 1), "warn",
     "inside the model, after see()"),
    ("gradient reaches the pixels", lambda: Judge(no_grad), "fail", "detach()"),
    ("gradient reaches the pixels", lambda: Judge(lambda j, x: j.plain((x - 0.5).sign())), "fail",
     "straight through"),
    ("gradient reaches the pixels", lambda: Judge(lambda j, x: j.plain(x) + (x * 0).sum().sqrt()),
     "fail", "at 0"),
    ("gradient reaches the pixels", lambda: Judge(lambda j, x: x[:, 0, :5, 0]), "warn", "crop"),
    ("gradient is the derivative",
     lambda: Judge(lambda j, x: j.plain(x) + 2 * j.plain(x.flip(3).detach())), "fail", "detach()"),
    ("gradient is the derivative", lambda: Judge(lambda j, x: j.plain(m.stepped(x))), "fail",
     "rounding"),
    ("unit vectors", m.Unscaled, "fail", "F.normalize"),
    ("unit vectors", lambda: Judge(cosine=True), "fail", "F.normalize"),
    ("texts", lambda: Eyes(text=lambda t: torch.ones(len(t), 5)), "fail", "tokenizer"),
    ("texts", lambda: Eyes(text=lambda t: torch.eye(7)[: len(t)]), "fail", "one space"),
    ("texts", lambda: Eyes(text=lambda t: torch.eye(5)[: len(t)] + len(t)), "fail", "padding"),
    ("logits", lambda: Judge(lambda j, x: j.plain(x).softmax(1)), "fail", "leave the softmax away"),
    ("range of the pixels made", lambda: Pane(lambda x, k: 2 * x - 1), "fail", "(out + 1) / 2"),
    ("size is kept", m.Cropper, "fail", "write reconstruct()"),
    ("stochastic as it says", lambda: Pane(m.still), "fail", "stochastic = False"),
    ("stochastic as it says", lambda: Pane(stochastic=False), "fail", "stochastic = True"),
    ("differentiable as it says", lambda: Pane(differentiable=False), "warn",
     "differentiable = True"),
    ("gradient reaches the pixels", lambda: Pane(m.jpeg, stochastic=False), "fail", "Pillow"),
    ("keeps the picture", lambda: Pane(lambda x, k: 1 - 0.9 * x.round()), "fail", "colours"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "make", "status", "mend"), BROKEN)
def test_what_is_broken_is_found_and_its_mend_named(
    check: str, make: Callable[[], Model], status: str, mend: str
) -> None:
    found = ask(check, admit(make(), side=m.SIDE))
    assert found.status == status and mend in found.mend, found


def test_every_check_has_a_model_that_it_fails() -> None:
    elsewhere = {"preprocessing", "clean accuracy", "time and memory", "the default audit"}
    assert {check.name for check in CHECKS} - elsewhere == {row[0] for row in BROKEN}


def test_a_listed_network_in_training_mode_is_a_warning() -> None:
    judge = Judge()
    judge.network.train()
    found = ask("eval mode", admit(judge))
    assert found.status == "warn" and "network.eval()" in found.mend
    assert found.figures["training"] == 5


def test_parameters_that_are_not_frozen_are_a_warning() -> None:
    judge = Judge()
    judge.network.requires_grad_(True)
    found = ask("parameters left alone", admit(judge))
    assert found.status == "warn" and "requires_grad_(False)" in found.mend


def test_a_purifier_without_a_gradient_may_say_so() -> None:
    patient = admit(Pane(m.jpeg, stochastic=False, differentiable=False), side=m.SIDE)
    assert ask("differentiable as it says", patient).status == "pass"
    assert ask("gradient reaches the pixels", patient).status == "skip"
    assert ask("gradient is the derivative", patient).status == "skip"


def test_autograd_and_differences_agree_to_many_digits_on_a_smooth_model() -> None:
    figures = ask("gradient is the derivative", admit(Judge())).figures
    assert figures["error"] < 1e-3


def test_a_network_of_many_kinks_is_no_alarm() -> None:
    network = nn.Sequential(nn.Flatten(), *(
        layer for wide in (m.PIXELS, 400, 400) for layer in (nn.Linear(wide, 400), nn.ReLU())
    ), nn.Linear(400, 5)).eval().requires_grad_(False)  # fmt: skip
    for row, parameter in enumerate(network.parameters()):
        parameter.data = Keys.of(0, [row]).normal(parameter.shape)[0] / 14
    kinked = Judge(lambda j, x: j.network(8 * x - 4), network=network, modules=(network,))
    found = ask("gradient is the derivative", admit(kinked))
    assert found.status == "pass" and found.figures["error"] < 0.01 and "fp64" in found.measured


def test_what_the_differences_are_unsure_of_is_not_laid_at_the_gradients_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of(error: float, unsettled: float) -> str:
        held = Derivatives(torch.tensor([1 - error]), torch.ones(1), 1e-5, unsettled, False)
        monkeypatch.setattr(gradients, "derivatives", lambda patient: held)
        return ask("gradient is the derivative", admit(Judge())).status

    assert [of(0.04, 0), of(0.1, 0.001), of(0.1, 0.06), of(0.2, 0.06)] == [
        "pass", "warn", "pass", "warn",
    ]  # fmt: skip
    assert of(0.3, 0.9) == "fail"


def test_an_exported_program_is_doubled_without_a_word(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    network = m.net()
    program = torch.export.export(network, (torch.rand(2, 3, m.SIDE, m.SIDE),))
    held = Program(path=tmp_path, card=Card(kind="classifier", input=(3, 8, 8), sha256=""),
                   run=program.module())  # fmt: skip
    judge = Judge(lambda j, x: j.held.run(x), held=held, modules=())
    found = differences.derivatives(replace(admit(judge), pace=0.0))
    assert found is not None and found.double and found.error < 1e-6
    assert next(held.run.parameters()).dtype == torch.float32  # type: ignore[attr-defined]
    assert not [each for each in recwarn if "LeafSpec" in str(each.message)]


def test_the_slower_a_model_is_the_less_it_is_asked() -> None:
    patient = admit(Judge())
    assert patient.pace < 0.1
    shown = [replace(patient, pace=pace).some(8, passes=2) for pace in (0, 0.1, 0.5, 1, 60)]
    assert shown == [8, 8, 4, 2, 2]
    spent = [differences.extent(pace).passes for pace in (0, 0.2, 0.4, 0.6, 1, 60)]
    assert spent == [96, 96, 48, 32, 16, 8]
    slow = replace(patient, pace=1.0)
    asked = ask("gradient is the derivative", slow).measured
    assert "2 directions" in asked and "fp32" in asked
    assert "batch of 2" in ask("alone as in a batch", slow).measured


def test_slow_runs_are_counted_once_and_quick_ones_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: 2.0 * next(clock))
    runs: list[int] = []
    assert timing._seconds(lambda: runs.append(1)) == 2.0 and len(runs) == 2
    monkeypatch.setattr(timing.time, "perf_counter", lambda: 0.1 * next(clock))
    runs.clear()
    assert timing._seconds(lambda: runs.append(1)) == pytest.approx(0.1) and len(runs) == 4


def test_a_model_that_raises_has_no_pace() -> None:
    def broken(judge: Judge, x: Tensor) -> Tensor:
        raise RuntimeError

    assert admit(Judge(broken)).pace == 0


def test_missing_normalisation_is_certain_where_there_are_labels(colours: str) -> None:
    mean, std = -normalised(torch.zeros(1, 3, 1, 1)), normalised(torch.ones(1, 3, 1, 1))
    std = 1 / (std + mean)

    class Bare(tiny.Compass):
        """Takes for granted that pixels come normalised."""

        def encode_image(self, x: Tensor) -> Tensor:
            return super().encode_image((x + mean) * std)

    found = ask("normalisation inside", admit(Bare("bare"), data=colours, side=tiny.SIDE))
    assert found.status == "fail" and "inside the model" in found.mend
    assert found.figures["shifted"] == 1 and found.figures["plain"] < 0.5
    whole = ask("normalisation inside", admit(tiny.eye(), data=colours, side=tiny.SIDE))
    assert whole.status == "pass" and whole.figures["plain"] == 1


class RedOnly(tiny.Compass):
    """Sees one channel, and tells two colours of six."""

    def encode_image(self, x: Tensor) -> Tensor:
        return super().encode_image(x) * torch.tensor([1.0, 0, 0])


def test_clean_accuracy_is_set_against_chance(colours: str) -> None:
    found = ask("clean accuracy", admit(tiny.eye(), data=colours, side=tiny.SIDE, samples=24))
    assert found.status == "pass" and found.figures["accuracy"] == 1
    assert found.figures["chance"] == pytest.approx(1 / 6) and "24 images" in found.measured
    wrong = ask("clean accuracy", admit(tiny.contrary(), data=colours, side=tiny.SIDE))
    assert wrong.status == "fail" and "order of the classes" in wrong.mend
    few = ask("clean accuracy", admit(RedOnly("red"), data=colours, side=tiny.SIDE, samples=12))
    assert few.status == "warn" and "--samples" in few.mend
    strange = ask("clean accuracy", admit(Judge(), data=colours))
    assert strange.status == "warn" and "no class" in strange.measured
    none = ask("clean accuracy", admit(tiny.eye(), side=tiny.SIDE))
    assert none.status == "skip" and "--data" in none.measured


class Prepared(Eyes):
    """Brings the processor that it was trained with."""

    def __init__(self, processor: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.processor, self.preprocessing = processor, preprocessing


def test_preprocessing_is_that_of_the_processor() -> None:
    t = pytest.importorskip("transformers")
    from secondlook.models.hf.processors import preprocessing

    processor = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    ours = preprocessing(processor, "eyes", "input")
    assert ask("preprocessing", admit(Prepared(processor, ours))).status == "pass"
    for wrong in ({"mean": (0.5,) * 3}, {"filter": "bilinear"}, {"crop": (30, 30)}):
        found = ask("preprocessing", admit(Prepared(processor, replace(ours, **wrong))))
        assert found.status == "fail" and "preprocessor_config.json" in found.mend, wrong


def test_costs_are_given_for_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = admit(Judge())
    found = ask("time and memory", patient)
    assert found.status == "pass"
    for batch in (1, 8, 32):
        assert found.figures[f"forward_{batch}"] > 0 and found.figures[f"gradient_{batch}"] > 0
    monkeypatch.setattr(timing, "room", lambda: 2.0 * timing.held_bytes(patient))
    short = ask("time and memory", patient)
    assert "gradient_1" in short.figures and "gradient_8" not in short.figures
    assert "batch 8 left out" in short.measured


def test_what_a_gradient_holds_is_counted_without_the_weights() -> None:
    # Of x * x, x is held: 3 * 8 * 8 numbers of 4 bytes; a few more for the loss of 5 numbers.
    held = timing.held_bytes(admit(Judge(lambda j, x: (x * x).flatten(1)[:, :5])))
    assert 4 * m.PIXELS <= held < 8 * m.PIXELS
    weights = sum(p.numel() * 4 for p in Judge().network.parameters())
    assert timing.held_bytes(admit(Judge())) < weights


def test_the_default_audit_is_reckoned_from_its_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "timed", lambda patient, x: timing.Pass(len(x), 0.5, 1.0))
    found = ask("the default audit", admit(Judge()))
    # 100 images; 100 steps on the bare model, and 30 steps of 2 looks at each of 4 defences.
    assert found.figures == {"bare": 10_000, "whole": 34_000}
    assert found.status == "warn" and "--samples 30" in found.mend
    monkeypatch.setattr(cost, "timed", lambda patient, x: timing.Pass(len(x), 0.001, 0.002))
    assert ask("the default audit", admit(Judge())).status == "pass"
    assert ask("the default audit", admit(Pane(), side=m.SIDE)).status == "skip"


def test_distances_are_shares_of_the_length() -> None:
    rows = torch.tensor([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    assert distances(rows).tolist() == pytest.approx([2**0.5, 0, 2**0.5])
    assert torch.allclose(distances(rows), distances(100 * rows))


@pytest.mark.parametrize("given", [object(), torch.nn.Linear(2, 2)])
def test_nothing_else_is_examined(given: object) -> None:
    with pytest.raises(InvalidInput, match="no Embedder, Classifier or Purifier"):
        admit(given)


def test_pictures_come_at_the_size_of_the_model_and_from_the_data(
    colours: str, tmp_path: Path
) -> None:
    assert admit(Judge()).size == (m.SIDE, m.SIDE)
    assert admit(tiny.eye(), side=12).size == (12, 12)
    grey = admit(tiny.eye(), data=colours, side=tiny.SIDE)
    assert grey.images.shape == (8, 3, 8, 8) and float((grey.images - 0.5).abs().mean()) < 0.05
    # Fewer pictures than are shown: scenes take their place.
    few = admit(tiny.eye(), data=f"folder:{tiny.write_folder(tmp_path / 'few', 2)}", side=8)
    assert len(few.images) == 8 and few.task is not None and len(few.task.source) == 2
