"""Several processes that train one embedder, each on its share of every batch.

They are started by ``accelerate launch`` and communicate by accelerate. The result is that of one
process with the whole batch, but for the statistics of batch normalization, which each process
takes from its own share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes that train together, and which of them this one is.

    Attributes:
        rank: the number of this process; 0 writes the files.
        size: how many there are.
        accelerator: what they communicate by; None where there is one process.
    """

    rank: int = 0
    size: int = 1
    accelerator: Any = None

    def shard(self, rows: Sequence[int]) -> list[int]:
        """This process's shard of a batch.

        Raises:
            InvalidInput: the batch has no equal shards of two samples or more.
        """
        each, left = divmod(len(rows), self.size)
        if left or each < 2:
            raise InvalidInput(
                f"a batch of {len(rows)} cannot be split among {self.size} processes, two "
                f"samples or more to each; write --batch {max(2, each + bool(left)) * self.size}"
            )
        return list(rows[self.rank * each : (self.rank + 1) * each])

    def gather(self, vectors: Tensor) -> Tensor:
        """The vectors of all processes in the order of the batch, ``[b, D] -> [b * size, D]``.

        Its gradient is that of the mean over the processes' losses: each process differentiates
        to its own vectors alone, and all of them have the same loss of the whole batch.
        """
        if self.accelerator is None:
            return vectors
        gathered = self.accelerator.gather(vectors.detach().contiguous())
        if not vectors.requires_grad:
            return gathered  # type: ignore[no-any-return]
        own = vectors.view_as(vectors)
        own.register_hook(lambda gradient: gradient * self.size)
        at = self.rank * len(vectors)
        return torch.cat([gathered[:at], own, gathered[at + len(vectors) :]])

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Puts the mean over all processes into each tensor; in one message for all of them."""
        held = list(tensors)
        if self.accelerator is None or not held:
            return
        flat = torch.cat([tensor.detach().flatten().float() for tensor in held])
        mean = self.accelerator.reduce(flat, reduction="mean")
        for tensor, part in zip(held, mean.split([each.numel() for each in held]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def synchronize(self, network: nn.Module) -> None:
        """Averages gradients and running statistics."""
        tensors = [p.grad for p in network.parameters() if p.grad is not None]
        tensors += [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        with torch.no_grad():
            self.average(tensors)


def first_process() -> bool:
    """Whether this is the process that writes the files, before there is a group."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def process_group(device: str = "cpu") -> Iterator[ProcessGroup]:
    """The processes that ``accelerate launch`` has started; one alone, where it has not.

    Args:
        device: where the embedder is trained.

    Raises:
        InvalidInput: there are several processes and no accelerate.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ProcessGroup()
        return
    try:
        from accelerate import Accelerator
    except ImportError:
        raise InvalidInput("several processes train by accelerate; run: pip install 'secondlook[train]'") from None
    accelerator = Accelerator(cpu=device == "cpu")
    try:
        yield ProcessGroup(rank=accelerator.process_index, size=accelerator.num_processes, accelerator=accelerator)
        # The first to leave would end the communication of those that still work.
        accelerator.wait_for_everyone()
    finally:
        accelerator.end_training()
