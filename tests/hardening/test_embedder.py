"""An embedder in training: the weights of its image tower, its temperature, its vectors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.models import load
from tests.hardening.toy import toy_embedder
from tests.tiny import eye


def test_the_image_tower_is_what_an_image_depends_on() -> None:
    trainable = TrainableEmbedder(toy_embedder(), "image")
    assert set(trainable.parameters) == {"0.norm.weight", "0.norm.bias", "0.image.weight"}
    learns = {name for name, p in trainable.network.named_parameters() if p.requires_grad}
    assert learns == set(trainable.parameters)


def test_all_of_it_is_both_towers_and_the_temperature() -> None:
    names = set(TrainableEmbedder(toy_embedder(), "all").parameters)
    assert {"0.words.weight", "0.log_scale", "0.image.weight"} <= names


def test_a_scene_model_has_a_text_tower_that_stays() -> None:
    names = set(TrainableEmbedder(load("scenes:clip"), "image").parameters)
    assert names and all(name.startswith("0.image.") for name in names)


def test_the_temperature_is_the_models_own_with_its_gradient_up_to_100() -> None:
    trainable = TrainableEmbedder(toy_embedder(), "all")
    assert trainable.scale.requires_grad
    assert float(trainable.scale.detach()) == pytest.approx(torch.tensor(2.0).exp().item())
    with torch.no_grad():
        trainable.embedder.network.log_scale.fill_(9.0)  # type: ignore[attr-defined]
    assert float(trainable.scale.detach()) == 100


def test_vectors_have_their_own_length_and_looks_have_length_one() -> None:
    trainable, x = TrainableEmbedder(toy_embedder(), "image"), torch.rand(3, 3, 4, 4)
    vectors = trainable.image_features(x)
    assert not torch.allclose(vectors.norm(dim=1), torch.ones(3))
    assert torch.allclose(trainable.embed_images(x), F.normalize(vectors, dim=1))
    assert vectors.requires_grad


def test_bf16_is_for_the_encoder_alone() -> None:
    trainable = TrainableEmbedder(load("scenes:clip"), "image", bf16=True)
    x = torch.rand(2, 3, 64, 64)
    fine = TrainableEmbedder(load("scenes:clip"), "image").image_features(x)
    coarse = trainable.image_features(x)
    assert coarse.dtype == torch.float32
    assert 0 < float((coarse - fine).abs().max().detach()) < 0.05


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no weights to train"):
        TrainableEmbedder(eye(), "image")
