"""Several processes learn what one would from the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.team import Team, team
from tests.hardening.recruit import train
from tests.hardening.school import pupil

ROOT = Path(__file__).resolve().parents[2]


def test_shares_are_even_and_in_order() -> None:
    rows = list(range(100, 112))
    shares = [Team(rank=rank, size=3).share(rows) for rank in range(3)]
    assert sum(shares, []) == rows and {len(share) for share in shares} == {4}


@pytest.mark.parametrize(("batch", "size", "mend"), [(10, 4, 12), (3, 2, 4), (4, 4, 8)])
def test_a_batch_that_cannot_be_shared_is_refused_with_the_mend(
    batch: int, size: int, mend: int
) -> None:
    with pytest.raises(InvalidInput, match=f"--batch {mend}$"):
        Team(size=size).share(range(batch))
    assert Team(size=size).share(range(mend))


def test_one_process_is_a_team_that_changes_nothing() -> None:
    with team() as alone:
        assert alone == Team()
    x = torch.rand(3, 2)
    assert alone.gather(x) is x
    alone.average([x.clone()])
    assert alone.share([4, 2]) == [4, 2]


def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tecoa-itr", "fare", "mat"])
def test_two_processes_learn_what_one_does(name: str, tmp_path: Path) -> None:
    """The same effective batch, samples, attacks and contrasts; what is left is float noise."""
    (tmp_path / "one").mkdir()
    train(tmp_path / "one", name)
    (tmp_path / "two").mkdir()
    common = {
        **os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port(), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    words = [sys.executable, "-m", "tests.hardening.recruit", str(tmp_path / "two"), name]
    members = [
        subprocess.Popen(words, cwd=ROOT, env={**common, "RANK": str(rank)}) for rank in range(2)
    ]
    assert [member.wait(timeout=300) for member in members] == [0, 0]
    alone, first, second = (
        torch.load(tmp_path / place, weights_only=True)
        for place in ("one/0.pt", "two/0.pt", "two/1.pt")
    )
    fresh = pupil().network.state_dict()
    assert not torch.allclose(alone["0.image.weight"], fresh["image.weight"], atol=1e-3)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert far(alone, first) < 1e-4


def far(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((value - other[key]).abs().max()) for key, value in one.items())
