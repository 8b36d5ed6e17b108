"""What the attack inside climbs."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from secondlook.hardening import losses
from secondlook.hardening.aims import Aim, Confuse, Stray
from secondlook.hardening.student import Student
from secondlook.randomness import Keys
from tests.hardening.school import Yard, pupil

YARD = Yard(12)
KEYS = Keys.of(0, YARD.ids)


def student() -> Student:
    return Student(pupil(), "image")


def aims() -> list[Aim]:
    under = student()
    texts = torch.eye(2)
    targets = torch.arange(24.0).reshape(12, 2)
    return [
        Confuse(student=under, texts=texts, truth=YARD.truth, scale=3.0),
        Stray(student=under, targets=targets),
    ]


def test_confusion_is_the_loss_of_tecoa_and_is_reached_where_another_text_is_nearer() -> None:
    (aim, _), x = aims(), YARD.images
    assert isinstance(aim, Confuse)
    vectors = aim.student.vectors(x)
    judged = aim(x, KEYS)
    assert_close(judged.loss, losses.tecoa(vectors, aim.texts, aim.truth, 3.0))
    assert torch.equal(judged.reached, vectors.argmax(1) != YARD.truth)


def test_straying_is_the_loss_of_fare_and_is_never_over() -> None:
    (_, aim), x = aims(), YARD.images
    assert isinstance(aim, Stray)
    judged = aim(x, KEYS)
    assert_close(judged.loss, losses.fare(aim.student.vectors(x), aim.targets))
    assert not judged.reached.any()


def test_some_of_the_samples_are_judged_as_they_are_among_all() -> None:
    rows = torch.tensor([7, 2, 11])
    for aim in aims():
        whole, some = aim(YARD.images, KEYS), aim.take(rows)(YARD.images[rows], KEYS[rows])
        assert_close(some.loss, whole.loss[rows])
        assert torch.equal(some.reached, whole.reached[rows])
