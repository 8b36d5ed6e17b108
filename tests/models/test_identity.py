"""What a model's hash knows: weights, buffers, constants and code, and nothing else."""

from __future__ import annotations

import copy
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secondlook.ledger import counting
from secondlook.models import identity, load
from secondlook.models.base import Purifier
from secondlook.models.logits import LogitClassifier
from secondlook.randomness import Keys

SHIPPED = ("scenes:clip", "scenes:classifier", "scenes:vae", "scenes:captioner", "scenes:painter", "scenes:mlm")


class Net(nn.Module):
    """Three weights over the mean color, less a constant that is in no state dict."""

    def __init__(self, mean: float = 0.0, buffer: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]]))
        self.mean = mean
        self.register_buffer("shift", torch.tensor(buffer), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.mean((2, 3)) - self.mean) @ self.weight.T + self.shift


def named(network: Callable[[Tensor], Tensor], **settings: Any) -> LogitClassifier:
    modules = (network,) if isinstance(network, nn.Module) else ()
    return LogitClassifier("tiny", network, ("a", "b"), modules=modules, **settings)


def test_a_constant_and_an_unsaved_buffer_count() -> None:
    hashes = [named(Net(mean, buffer)).hash for mean, buffer in ((0.0, 0.0), (0.45, 0.0), (0.0, 0.45))]
    assert len(set(hashes)) == 3
    assert named(Net()).hash == hashes[0]
    assert len({named(Net(mean)).weights_hash for mean in (0.0, 0.45)}) == 1


def test_a_buffer_counts_where_no_probe_fits() -> None:
    def network(buffer: float) -> nn.Module:
        made = nn.Sequential(nn.Linear(5, 2))
        made.register_buffer("shift", torch.tensor(buffer), persistent=False)
        return made

    first, second = network(0.0), network(0.5)
    second.load_state_dict(first.state_dict())
    assert named(first).weights_hash == named(second).weights_hash
    assert named(first).hash != named(second).hash


def test_a_constant_that_is_edited_counts_on_the_same_object() -> None:
    model = named(network := Net())
    before = model.hash
    network.mean = 0.45
    assert model.hash != before
    network.mean = 0.0
    assert model.hash == before


def test_code_without_weights_is_known_by_what_it_answers() -> None:
    made = [named(lambda x, k=k: k * x.mean((2, 3))[:, :2] + 0.1) for k in (1, 1, 2)]
    assert made[0].hash == made[1].hash != made[2].hash


@pytest.mark.parametrize("name", SHIPPED)
def test_every_kind_of_model_answers_the_probe_uncounted(name: str) -> None:
    model, state = load(name), torch.random.get_rng_state()
    modes = [part.training for module in model.modules for part in module.modules()]
    with counting() as ledger:
        first = model.hash
    assert torch.equal(torch.random.get_rng_state(), state)
    assert load(name).hash == first != model.weights_hash
    assert ledger.forwards == 0 and not ledger.by_model
    assert modes == [part.training for module in model.modules for part in module.modules()]
    answers = vars(model)["_probed"][1]
    assert answers and all(answers)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_number_of_threads_does_not(name: str) -> None:
    threads = torch.get_num_threads()
    try:
        hashes = []
        for count in (1, 2):
            torch.set_num_threads(count)
            hashes.append(load(name).hash)
    finally:
        torch.set_num_threads(threads)
    assert hashes[0] == hashes[1]


def test_rounding_noise_does_not_count_and_a_change_by_a_percent_does() -> None:
    draws = np.random.default_rng(0)

    def changed(size: float) -> float:
        answers = [draws.standard_normal((3, 64)) for _ in range(200)]
        noisy = [a + size * draws.standard_normal(a.shape) for a in answers]
        pairs = zip(answers, noisy, strict=True)
        return float(np.mean([identity._digits(a, 0.03) != identity._digits(b, 0.03) for a, b in pairs]))

    assert changed(1e-7) == 0
    assert changed(1e-6) <= 0.01
    assert changed(0.02) > 0.97


def test_a_copy_under_another_setting_is_asked_anew() -> None:
    model = load("scenes:vae")
    first = model.hash
    assert model.with_noise(3.0).hash != first
    assert copy.copy(model).hash == first


def test_a_model_that_does_not_repeat_itself_goes_without_the_probe() -> None:
    class Restless(Purifier):
        name = "restless"

        def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
            return x * (0.5 + 0.4 * (next(calls) % 2))

    calls = itertools.count()
    first, second = Restless(), Restless()
    assert first.hash == second.hash and vars(first)["_probed"][1] == (None,)


def test_the_probe_s_pixels_are_its_own_even_where_a_model_writes_into_them() -> None:
    def greedy(x: Tensor) -> Tensor:
        out = x.mean((2, 3))[:, :2].clone()
        x.zero_()
        return out

    model = named(greedy)
    assert model.hash == named(greedy).hash and vars(model)["_probed"][1] != (None,)


def test_the_probe_finds_size_and_channels() -> None:
    def network(x: Tensor) -> Tensor:
        if x.shape[1:] != (1, 28, 28):
            raise ValueError(f"no {tuple(x.shape)}")
        return x.flatten(1)[:, :2]

    model = named(network)
    assert model.hash and vars(model)["_probed"][1][0][:2] == (3, 2)


def test_any_value_of_a_state_dict_is_understood() -> None:
    class Extra(nn.Module):
        def __init__(self, state: Any) -> None:
            super().__init__()
            self.state = state

        def get_extra_state(self) -> Any:
            return self.state

        def set_extra_state(self, state: Any) -> None:
            self.state = state

    states = [
        {"scale": torch.ones(2)},
        {"scale": torch.zeros(2)},
        io.BytesIO(b"one"),
        io.BytesIO(b"two"),
        [1, "a"],
        None,
        torch.tensor([1 + 2j]),
        torch.eye(2).to_sparse(),
        torch.float16,
        torch.quantize_per_tensor(torch.ones(2), 0.1, 3, torch.qint8),
        torch.quantize_per_tensor(torch.ones(2), 0.2, 3, torch.qint8),
    ]
    hashes = [identity.weights_hash([Extra(state)]) for state in states]
    assert len(set(hashes)) == len(states)
    assert identity.weights_hash([Extra({"scale": torch.ones(2)})]) == hashes[0]


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_network_has_a_hash() -> None:
    def small(seed: int) -> LogitClassifier:
        plain = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        with torch.no_grad():
            plain[1].weight.copy_(torch.arange(24.0).view(2, 12) + seed)
            plain[1].bias.zero_()
        packed = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, torch.qint8)
        return named(packed, size=(2, 2))

    assert small(0).hash == small(0).hash != small(50).hash


def test_code_of_a_factory_counts_where_nothing_else_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from torch import nn
THRESHOLD = {}
class Net(nn.Module):
    classes, size = ["a", "b"], 8
    def forward(self, x):
        return x.mean((2, 3))[:, :2] * (x.mean() > -THRESHOLD)
"""
    monkeypatch.chdir(tmp_path)
    made = []
    for row, threshold in enumerate((1, 1, 2)):
        Path(f"settings_{row}.py").write_text(code.format(threshold))
        made.append(load(f"python:settings_{row}:Net"))
    assert made[0].hash == made[1].hash != made[2].hash


def test_installed_code_is_no_code_of_the_user() -> None:
    assert identity.source_hash([nn.Linear, LogitClassifier, json.dumps]) == ""
    assert identity.source_hash([Net]) != ""
