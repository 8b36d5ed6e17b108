"""The losses: golden values of the published code, and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from secondlook.hardening import losses
from tests.models import golden

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
Loss = Callable[[Tensor], Tensor]


@pytest.fixture
def published(shared: Path) -> golden.Golden:
    return golden.read(shared, "fare_tecoa_loss")


def tecoa(given: dict[str, Tensor]) -> Loss:
    return lambda x: losses.tecoa(x, given["text_labels_norm"].T, given["targets"])


def fare(given: dict[str, Tensor]) -> Loss:
    return lambda x: losses.fare(x, given["embedding_orig"])


@pytest.mark.parametrize(("make", "name"), [(tecoa, "tecoa_ce"), (fare, "fare_l2")])
def test_values_and_gradients_are_the_published_ones(
    make: Callable[[dict[str, Tensor]], Loss], name: str, published: golden.Golden
) -> None:
    x = published.inputs["embedding_adv"].requires_grad_()
    value = make(published.inputs)(x)
    wanted = published.outputs
    assert_close(value, wanted[f"{name}_none"], **CLOSE)
    assert_close(value.mean()[None], wanted[f"{name}_mean"], **CLOSE)
    for total, key in ((value.mean(), "mean"), (value.sum(), "none")):
        (slope,) = torch.autograd.grad(total, x, retain_graph=True)
        assert_close(slope, wanted[f"{name}_grad_{key}"], **CLOSE)


def test_the_golden_numbers_tell_a_missing_and_a_superfluous_normalisation(
    published: golden.Golden,
) -> None:
    wanted = published.outputs
    for right, wrong in (("tecoa_ce_mean", "tecoa_ce_unnormalised_mean"),
                         ("fare_l2_mean", "fare_l2_normalised_mean")):  # fmt: skip
        assert not torch.isclose(wanted[right], wanted[wrong], rtol=1e-3).all()


def test_tecoa_does_not_depend_on_length_and_fare_does() -> None:
    x, texts = torch.eye(3)[:2] + 0.1, torch.eye(3)
    truth = torch.tensor([0, 1])
    assert_close(losses.tecoa(7 * x, texts, truth), losses.tecoa(x, texts, truth))
    assert_close(losses.fare(3 * x, x), 4 * x.square().sum(1))


def test_infonce_of_orthogonal_pairs_is_in_closed_form() -> None:
    """Own cosine 1, others 0: log(1 + (n - 1) / e^scale), in both directions."""
    for n, scale in ((2, 1.0), (5, 3.0)):
        wanted = math.log(1 + (n - 1) * math.exp(-scale))
        found = losses.infonce(torch.eye(n), torch.eye(n), scale)
        assert_close(found, torch.full((n,), wanted))


def test_infonce_takes_both_directions() -> None:
    images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    there, back = losses.infonce(images, texts, 2.0), losses.infonce(texts, images, 2.0)
    assert_close(there, back)
    # Image to text is a tie, log 2 for both rows; text to image has its own for the first row
    # and the other for the second.
    rows = torch.tensor([math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))])
    assert_close(there, (rows + math.log(2)) / 2)
