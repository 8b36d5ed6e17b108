"""The examination as a whole: order, what ends it, what a model raises, and its result."""

import json

import pytest
import torch
from torch import Tensor

from secondlook.doctor import cost
from secondlook.doctor.examine import CHECKS, Examination, examine
from secondlook.doctor.model import prepare
from secondlook.models import load
from tests.analytic import global_generators
from tests.doctor import models as m
from tests.doctor.models import ToyClassifier, ToyEmbedder, ToyPurifier


def test_all_that_fits_is_asked_in_order() -> None:
    told: list[tuple[int, int, str]] = []
    found = examine(prepare(ToyPurifier(), side=m.SIDE), lambda done, of, what: told.append((done, of, what)))
    wanted = [check.name for check in CHECKS if "purifier" in check.kinds]
    assert [finding.check for finding in found.findings] == wanted
    assert [what for _, _, what in told] == [*wanted, "done"]
    assert told[0][:2] == (0, len(wanted)) and told[-1][:2] == (len(wanted), len(wanted))
    assert not found.failed and found.kind == "purifier" and found.resolution == [8, 8]


def test_the_model_is_left_as_it_was() -> None:
    judge = ToyClassifier()
    judge.network.train()
    before, weights = global_generators(), judge.hash
    examine(prepare(judge))
    assert judge.network.training and judge.hash == weights and "see" not in vars(judge)
    assert global_generators() == before


def test_without_an_answer_nothing_else_is_asked() -> None:
    def broken(judge: ToyClassifier, x: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    first, *rest = examine(prepare(ToyClassifier(broken))).findings
    assert first.status == "fail" and "RuntimeError: mat1 and mat2" in first.measured
    assert {finding.status for finding in rest} == {"skip"}
    assert all("without 'accepts [0, 1]'" in finding.measured for finding in rest)


def test_what_one_check_meets_ends_no_other() -> None:
    def single(judge: ToyClassifier, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError
        return judge.plain(x)

    found = examine(prepare(ToyClassifier(single)))
    assert found.of("batch independence").status == "fail"
    assert "ValueError: no message" in found.of("batch independence").measured
    assert found.of("gradient is the derivative").status == "pass"


def test_the_result_is_typed_and_survives_json() -> None:
    found = examine(prepare(ToyClassifier(lambda judge, x: judge.plain(x) / 0)))
    text = found.model_dump_json(by_alias=True)
    assert Examination.model_validate_json(text) == found
    plain = json.loads(text)
    assert plain["schema"] == 1 and plain["model"] == "judge" and plain["kind"] == "classifier"
    assert plain["versions"]["torch"] == torch.__version__ and found.failed


@pytest.mark.parametrize("name", ["scenes:classifier", "scenes:ae"])
def test_shipped_models_are_in_good_health(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "BATCHES", (1,))
    found = examine(prepare(load(name), samples=16))
    assert not found.failed, [each for each in found.findings if each.status == "fail"]
    assert {each.check for each in found.findings if each.status == "warn"} <= {"default audit"}


def test_a_network_that_holds_an_exported_program_is_examined() -> None:
    judge = ToyClassifier()
    program = torch.export.export(judge.network, (torch.rand(1, 3, m.SIDE, m.SIDE),))
    judge.modules = (torch.nn.Sequential(program.module()),)
    found = examine(prepare(judge))
    assert found.of("output shape").status == found.of("gradient is the derivative").status == "pass"


def test_texts_without_numbers_fail() -> None:
    nothing = ToyEmbedder(text=lambda texts: torch.full((len(texts), 5), float("nan")))
    found = examine(prepare(nothing)).of("texts")
    assert found.status == "fail" and "NaN" in found.measured
