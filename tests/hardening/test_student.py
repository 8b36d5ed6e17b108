"""The student: which weights its image vectors depend on, its temperature, its vectors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.hardening.student import Student
from secondlook.models import load
from tests.hardening.school import pupil
from tests.tiny import eye


def test_the_image_tower_is_what_an_image_depends_on() -> None:
    student = Student(pupil(), "image")
    assert set(student.parameters) == {"0.norm.weight", "0.norm.bias", "0.image.weight"}
    learns = {name for name, p in student.network.named_parameters() if p.requires_grad}
    assert learns == set(student.parameters)


def test_all_of_it_is_both_towers_and_the_temperature() -> None:
    names = set(Student(pupil(), "all").parameters)
    assert {"0.words.weight", "0.log_scale", "0.image.weight"} <= names


def test_a_scene_model_has_a_text_tower_that_stays() -> None:
    names = set(Student(load("scenes:clip"), "image").parameters)
    assert names and all(name.startswith("0.image.") for name in names)


def test_the_temperature_is_the_models_own_with_its_gradient_up_to_100() -> None:
    student = Student(pupil(), "all")
    assert student.scale.requires_grad
    assert float(student.scale.detach()) == pytest.approx(torch.tensor(2.0).exp().item())
    with torch.no_grad():
        student.embedder.network.log_scale.fill_(9.0)  # type: ignore[attr-defined]
    assert float(student.scale.detach()) == 100


def test_vectors_have_their_own_length_and_looks_have_length_one() -> None:
    student, x = Student(pupil(), "image"), torch.rand(3, 3, 4, 4)
    vectors = student.vectors(x)
    assert not torch.allclose(vectors.norm(dim=1), torch.ones(3))
    assert torch.allclose(student.look(x), F.normalize(vectors, dim=1))
    assert vectors.requires_grad


def test_bf16_is_for_the_encoder_alone() -> None:
    student = Student(load("scenes:clip"), "image", bf16=True)
    x = torch.rand(2, 3, 64, 64)
    fine = Student(load("scenes:clip"), "image").vectors(x)
    coarse = student.vectors(x)
    assert coarse.dtype == torch.float32
    assert 0 < float((coarse - fine).abs().max().detach()) < 0.05


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no weights to train"):
        Student(eye(), "image")
