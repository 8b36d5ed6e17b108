"""Several processes that train one student: each takes its share of every batch.

They are started by ``torchrun``, or by what else says in the environment who each of them is. What
they learn is what one process would from the whole batch, but for the statistics of batch
normalisation, which each takes of its own share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_gather

from secondlook.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Team:
    """Who this process is among those that train.

    Attributes:
        rank: its number; 0 writes the files.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def share(self, rows: Sequence[int]) -> list[int]:
        """This process's part of a batch.

        Raises:
            InvalidInput: the batch cannot be shared out evenly, or a share has nothing to contrast.
        """
        each, left = divmod(len(rows), self.size)
        if left or each < 2:
            raise InvalidInput(
                f"a batch of {len(rows)} is not shared by {self.size} processes, two samples or "
                f"more to each; write --batch {max(2, each + bool(left)) * self.size}"
            )
        return list(rows[self.rank * each : (self.rank + 1) * each])

    def gather(self, vectors: Tensor) -> Tensor:
        """The vectors of all processes in the order of the batch, ``[b, D] -> [b * size, D]``.

        Its gradient is that of the mean over the processes' losses.
        """
        return torch.cat(all_gather(vectors)) if self.size > 1 else vectors

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Puts the mean over all processes into each tensor."""
        if self.size == 1:
            return
        for tensor in tensors:
            distributed.all_reduce(tensor)
            tensor.div_(self.size)

    def agree(self, network: nn.Module) -> None:
        """Averages gradients and running statistics."""
        grads = (p.grad for p in network.parameters() if p.grad is not None)
        self.average(grads)
        self.average(buffer for buffer in network.buffers() if buffer.is_floating_point())


@contextmanager
def team() -> Iterator[Team]:
    """The team that the environment tells of; one process alone, where it tells of none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group()
    try:
        yield Team(rank=distributed.get_rank(), size=size)
    finally:
        distributed.destroy_process_group()
