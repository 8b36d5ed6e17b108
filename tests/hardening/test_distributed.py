"""Several processes learn what one would from the whole batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.distributed import ProcessGroup, process_group
from tests.hardening.process import train
from tests.hardening.test_trainer import dying
from tests.hardening.toy import toy_embedder

ROOT = Path(__file__).resolve().parents[2]


def test_shares_are_even_and_in_order() -> None:
    rows = list(range(100, 112))
    shares = [ProcessGroup(rank=rank, size=3).shard(rows) for rank in range(3)]
    assert sum(shares, []) == rows and {len(share) for share in shares} == {4}


@pytest.mark.parametrize(("batch", "size", "multiple"), [(10, 4, 12), (3, 2, 4), (4, 4, 8)])
def test_a_batch_that_cannot_be_shared_is_refused_with_the_mend(batch: int, size: int, multiple: int) -> None:
    with pytest.raises(InvalidInput, match=f"--batch {multiple}$"):
        ProcessGroup(size=size).shard(range(batch))
    assert ProcessGroup(size=size).shard(range(multiple))


def test_one_process_is_a_team_that_changes_nothing() -> None:
    with process_group() as alone:
        assert alone == ProcessGroup()
    x = torch.rand(3, 2)
    assert alone.gather(x) is x
    alone.average([x.clone()])
    assert alone.shard([4, 2]) == [4, 2]


def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launch(folder: Path, *words: str) -> None:
    """Two processes on the CPU, started by accelerate."""
    launcher = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        port(),
        "-m",
        "tests.hardening.process",
        str(folder),
        *words,
    ]
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    subprocess.run(launcher, cwd=ROOT, env=env, check=True, timeout=300)


def trained(folder: Path) -> tuple[list[dict[str, Tensor]], list[float]]:
    """The weights of each process, and the losses of the first."""
    weights = [torch.load(each, weights_only=True) for each in sorted(folder.glob("*.pt"))]
    return weights, json.loads((folder / "losses.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bf16", "noise"),
    [("tecoa-itr", False, 1e-4), ("fare", False, 1e-4), ("mat", False, 1e-4), ("tecoa-itr", True, 0.02)],
)
def test_two_processes_learn_what_one_does(name: str, bf16: bool, noise: float, tmp_path: Path) -> None:
    """Fifty steps of the same effective batch, samples, attacks and contrasts."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    train(one, name, bf16)
    launch(two, name, *(["bf16"] if bf16 else []))
    ((alone,), losses), ((first, second), others) = trained(one), trained(two)
    assert len(losses) == 25 and losses[-1] < losses[0]
    assert losses == pytest.approx(others, abs=noise)
    fresh = toy_embedder().network.state_dict()
    assert not torch.allclose(alone["0.image.weight"], fresh["image.weight"], atol=1e-3)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert far(alone, first) < 10 * noise


@pytest.mark.slow
def test_a_team_goes_on_from_what_one_process_has_left(tmp_path: Path) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    whole.mkdir(), shared.mkdir()
    train(whole, "tecoa-itr")
    with pytest.raises(KeyboardInterrupt):
        train(shared, "tecoa-itr", wrap=dying(25, KeyboardInterrupt()))
    assert (shared / "a.checkpoint").exists() and not (shared / "0.pt").exists()
    launch(shared, "tecoa-itr")
    ((alone,), losses), ((first, _), others) = trained(whole), trained(shared)
    assert losses == pytest.approx(others, abs=1e-4) and far(alone, first) < 1e-3


def test_several_processes_without_accelerate_are_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InvalidInput, match=r"secondlook\[train\]"), process_group():
        pass


class Mail:
    """An accelerator between two processes of which the other is made up."""

    def __init__(self, other: Tensor) -> None:
        self.other = other

    def gather(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.other])

    def reduce(self, x: Tensor, reduction: str) -> Tensor:
        assert reduction == "mean"
        return (x + self.other) / 2


def test_what_is_gathered_has_the_gradient_of_a_mean_over_processes() -> None:
    """Half of each process's own gradient is lost in the mean, and so it is given twice."""
    own, other = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[3.0, 4.0]])
    whole = torch.cat([own, other]).square().sum()
    (wanted,) = torch.autograd.grad(whole, own)
    pair = ProcessGroup(rank=0, size=2, accelerator=Mail(other))
    gathered = pair.gather(own)
    assert torch.equal(gathered, torch.cat([own, other]))
    (found,) = torch.autograd.grad(gathered.square().sum(), own)
    assert torch.equal(found / 2, wanted)
    assert not pair.gather(own.detach()).requires_grad


def test_tensors_of_all_shapes_are_averaged_in_one_message() -> None:
    one, two = torch.tensor([[1.0, 2.0]]), torch.tensor(3.0)
    ProcessGroup(size=2, accelerator=Mail(torch.tensor([3.0, 2.0, 5.0]))).average([one, two])
    assert one.tolist() == [[2.0, 2.0]] and two.item() == 4.0


def far(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((value - other[key]).abs().max()) for key, value in one.items())
