"""A batch that does not fit into memory is halved, and nothing else changes."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import AttackResult, Evaluation, Objective, Trace, attack_in_parts
from secondlook.attacks.pgd import PGD
from secondlook.errors import InvalidInput
from secondlook.models.runtime.memory import halving
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Slope, directions, images

FULL = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
    "python": MemoryError(),
}


@dataclass(frozen=True, kw_only=True)
class Narrow:
    """An objective on a machine that has room for so many samples at once."""

    inner: Objective
    room: int
    error: Exception = FULL["cuda"]

    @property
    def parts(self) -> tuple[Objective, ...]:
        return (self,)

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        return tuple(self.inner.modules)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        if len(x) > self.room:
            raise self.error
        return self.inner(x, keys)

    def take(self, rows: Tensor) -> "Narrow":
        return replace(self, inner=self.inner.take(rows))


def generated(room: int, error: str = "cuda") -> AttackResult:
    slope, keys = Slope(weights=directions(7)), Keys.of(0, range(7))
    wish = Narrow(inner=slope, room=room, error=FULL[error])
    return attack_in_parts(PGD(steps=3), wish, images(7), Threat(), keys)


@pytest.mark.parametrize("error", FULL)
@pytest.mark.parametrize(("room", "size"), [(6, 4), (3, 2), (1, 1)])
def test_halves_give_what_the_whole_gives(room: int, size: int, error: str) -> None:
    whole, parts = generated(7), generated(room, error)
    assert torch.equal(whole.x, parts.x)
    for name in Trace.__dataclass_fields__:
        first, second = getattr(whole.trace, name), getattr(parts.trace, name)
        assert torch.allclose(first, second, equal_nan=True), name
    assert whole.notices == ()
    assert parts.notices == (
        f"7 images did not fit into memory and were attacked {size} at a time; write batch = {size}",
    )


def test_one_image_that_does_not_fit_is_told() -> None:
    with pytest.raises(InvalidInput, match="one image alone does not fit.*checkpoint=true"):
        generated(0)


def test_other_errors_are_not_taken_for_it() -> None:
    def act(rows: slice) -> int:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        halving(act, 4)


def test_what_was_done_is_not_done_again() -> None:
    done: list[tuple[int, int]] = []

    def late(rows: slice) -> None:
        if rows.stop - rows.start > 4 or (rows.start >= 4 and rows.stop - rows.start > 2):
            raise MemoryError
        done.append((rows.start, rows.stop))

    assert halving(late, 8)[1] == 2
    assert done == [(0, 4), (4, 6), (6, 8)]


def test_an_empty_batch_is_acted_on_once() -> None:
    assert halving(lambda rows: (rows.start, rows.stop), 0) == ([(0, 0)], 1)
