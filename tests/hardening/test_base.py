"""Losses against golden values and closed forms, and the inner objectives."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from secondlook.hardening.base import CrossEntropyObjective, DistanceObjective, InnerObjective, fare_loss, tecoa_loss
from secondlook.hardening.embedder import TrainableEmbedder, info_nce
from secondlook.randomness import Keys
from tests.hardening.toy import ToyDataset, toy_embedder
from tests.published import Golden, read

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
Loss = Callable[[Tensor], Tensor]


@pytest.fixture
def published() -> Golden:
    return read("fare_tecoa_loss")


def published_tecoa(given: dict[str, Tensor]) -> Loss:
    return lambda x: tecoa_loss(x, given["text_labels_norm"].T, given["targets"])


def published_fare(given: dict[str, Tensor]) -> Loss:
    return lambda x: fare_loss(x, given["embedding_orig"])


@pytest.mark.parametrize(("make", "name"), [(published_tecoa, "tecoa_ce"), (published_fare, "fare_l2")])
def test_values_and_gradients_are_the_published_ones(
    make: Callable[[dict[str, Tensor]], Loss], name: str, published: Golden
) -> None:
    x = published.inputs["embedding_adv"].requires_grad_()
    value = make(published.inputs)(x)
    wanted = published.outputs
    assert_close(value, wanted[f"{name}_none"], **CLOSE)
    assert_close(value.mean()[None], wanted[f"{name}_mean"], **CLOSE)
    for total, key in ((value.mean(), "mean"), (value.sum(), "none")):
        (slope,) = torch.autograd.grad(total, x, retain_graph=True)
        assert_close(slope, wanted[f"{name}_grad_{key}"], **CLOSE)


def test_the_golden_numbers_tell_a_missing_and_a_superfluous_normalization(published: Golden) -> None:
    wanted = published.outputs
    for right, wrong in (("tecoa_ce_mean", "tecoa_ce_unnormalized_mean"), ("fare_l2_mean", "fare_l2_normalized_mean")):
        assert not torch.isclose(wanted[right], wanted[wrong], rtol=1e-3).all()


def test_tecoa_does_not_depend_on_length_and_fare_does() -> None:
    x, texts = torch.eye(3)[:2] + 0.1, torch.eye(3)
    truth = torch.tensor([0, 1])
    assert_close(tecoa_loss(7 * x, texts, truth), tecoa_loss(x, texts, truth))
    assert_close(fare_loss(3 * x, x), 4 * x.square().sum(1))


def test_infonce_of_orthogonal_pairs_is_in_closed_form() -> None:
    """Own cosine 1, others 0: log(1 + (n - 1) / e^scale), in both directions."""
    for n, scale in ((2, 1.0), (5, 3.0)):
        wanted = math.log(1 + (n - 1) * math.exp(-scale))
        found = info_nce(torch.eye(n), torch.eye(n), scale)
        assert_close(found, torch.full((n,), wanted))


def test_infonce_takes_both_directions() -> None:
    images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    there, back = info_nce(images, texts, 2.0), info_nce(texts, images, 2.0)
    assert_close(there, back)
    # Image to text is a tie, log 2 for both rows; text to image has its own for the first row
    # and the other for the second.
    rows = torch.tensor([math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))])
    assert_close(there, (rows + math.log(2)) / 2)


DATA = ToyDataset(12)
KEYS = Keys.of(0, DATA.ids)


def trainable() -> TrainableEmbedder:
    return TrainableEmbedder(toy_embedder(), "image")


def objectives() -> list[InnerObjective]:
    embedder = trainable()
    texts = torch.eye(2)
    targets = torch.arange(24.0).reshape(12, 2)
    return [
        CrossEntropyObjective(trainable=embedder, texts=texts, truth=DATA.truth, scale=3.0),
        DistanceObjective(trainable=embedder, targets=targets),
    ]


def test_confusion_is_the_loss_of_tecoa_and_is_reached_where_another_text_is_nearer() -> None:
    (objective, _), x = objectives(), DATA.images
    assert isinstance(objective, CrossEntropyObjective)
    vectors = objective.trainable.image_features(x)
    evaluation = objective(x, KEYS)
    assert_close(evaluation.loss, tecoa_loss(vectors, objective.texts, objective.truth, 3.0))
    assert torch.equal(evaluation.success, vectors.argmax(1) != DATA.truth)


def test_straying_is_the_loss_of_fare_and_is_never_over() -> None:
    (_, objective), x = objectives(), DATA.images
    assert isinstance(objective, DistanceObjective)
    evaluation = objective(x, KEYS)
    assert_close(evaluation.loss, fare_loss(objective.trainable.image_features(x), objective.targets))
    assert not evaluation.success.any()


def test_some_of_the_samples_are_judged_as_they_are_among_all() -> None:
    rows = torch.tensor([7, 2, 11])
    for objective in objectives():
        whole, some = (objective(DATA.images, KEYS), objective.take(rows)(DATA.images[rows], KEYS[rows]))
        assert_close(some.loss, whole.loss[rows])
        assert torch.equal(some.success, whole.success[rows])
