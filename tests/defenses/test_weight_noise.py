"""Noise on parameters: put back bit by bit, shared where weights are, and kind to gradients."""

import pytest
import torch
from torch import nn

from secondlook.defenses.weight_noise import with_weight_noise
from secondlook.randomness import Keys
from tests.analytic import global_generators

KEY = Keys.of(0, ["a"])


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(40, 50), nn.BatchNorm1d(50), nn.Linear(50, 4))


def test_every_parameter_is_put_back_as_the_very_same() -> None:
    net, before = network(), global_generators()
    kept = dict(net.named_parameters())
    bits = {name: value.detach().clone() for name, value in net.state_dict().items()}
    with with_weight_noise([net], 0.1, KEY):
        assert not any(torch.equal(net.state_dict()[name], bits[name]) for name in kept)
    assert all(value is kept[name] for name, value in net.named_parameters())
    assert all(torch.equal(value, bits[name]) for name, value in net.state_dict().items())
    assert global_generators() == before


def test_it_is_put_back_after_an_error_too() -> None:
    net = network()
    kept = dict(net.named_parameters())
    with pytest.raises(ZeroDivisionError), with_weight_noise([net], 0.1, KEY):
        raise ZeroDivisionError
    assert all(value is kept[name] for name, value in net.named_parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_the_noise_has_its_deviation_and_spares_nobody(frozen: bool) -> None:
    net = network().requires_grad_(not frozen)
    bits = {name: value.detach().clone() for name, value in net.named_parameters()}
    with with_weight_noise([net], 5e-3, KEY):
        noise = {n: net.state_dict()[n] - bits[n] for n in bits}
    assert float(torch.cat([each.flatten() for each in noise.values()]).std()) == pytest.approx(5e-3, rel=0.05)
    assert all(bool((each != 0).any()) for each in noise.values())


def test_keys_decide_the_noise() -> None:
    net, x = network().eval(), torch.ones(1, 40)

    def asked(key: Keys) -> torch.Tensor:
        with with_weight_noise([net], 0.1, key), torch.no_grad():
            return net(x)  # type: ignore[no-any-return]

    assert torch.equal(asked(KEY), asked(KEY))
    assert not torch.equal(asked(KEY), asked(Keys.of(0, ["b"])))


def test_a_shared_weight_has_one_noise() -> None:
    net = network()
    net[2].weight = nn.Parameter(torch.zeros(4, 50))
    twin = nn.Linear(50, 4)
    twin.weight = net[2].weight
    with with_weight_noise([net, twin], 0.1, KEY):
        assert twin.weight is net[2].weight
    assert isinstance(twin.weight, nn.Parameter)


def test_a_gradient_of_the_noisy_network_outlives_the_block() -> None:
    net, x = network().eval(), torch.ones(1, 40, requires_grad=True)
    with with_weight_noise([net], 0.1, KEY):
        out = net(x).sum()
        (inside,) = torch.autograd.grad(out, x, retain_graph=True)
    (outside,) = torch.autograd.grad(out, x)
    (plain,) = torch.autograd.grad(net(x).sum(), x)
    assert torch.equal(inside, outside)
    assert not torch.equal(inside, plain)
    assert all(value.grad is None for value in net.parameters())


def test_no_noise_is_no_work() -> None:
    net = network()
    kept = dict(net.named_parameters())
    with with_weight_noise([net], 0.0, KEY):
        assert all(value is kept[name] for name, value in net.named_parameters())
