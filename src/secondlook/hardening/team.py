"""Several processes that train one student: each takes its share of every batch.

They are started by ``accelerate launch``, and what passes between them is accelerate's. What they
learn is what one process would from the whole batch, but for the statistics of batch
normalisation, which each takes of its own share.
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
class Team:
    """Who this process is among those that train.

    Attributes:
        rank: its number; 0 writes the files.
        size: how many there are.
        link: the accelerator between them; None where there is one process.
    """

    rank: int = 0
    size: int = 1
    link: Any = None

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

        Its gradient is that of the mean over the processes' losses: each process differentiates
        to its own vectors alone, and all of them have the same loss of the whole batch.
        """
        if self.link is None:
            return vectors
        everyone = self.link.gather(vectors.detach().contiguous())
        if not vectors.requires_grad:
            return everyone  # type: ignore[no-any-return]
        own = vectors.view_as(vectors)
        own.register_hook(lambda slope: slope * self.size)
        at = self.rank * len(vectors)
        return torch.cat([everyone[:at], own, everyone[at + len(vectors) :]])

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Puts the mean over all processes into each tensor; in one message for all of them."""
        held = list(tensors)
        if self.link is None or not held:
            return
        flat = torch.cat([tensor.detach().flatten().float() for tensor in held])
        mean = self.link.reduce(flat, reduction="mean")
        for tensor, part in zip(held, mean.split([each.numel() for each in held]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, network: nn.Module) -> None:
        """Averages gradients and running statistics."""
        told = [p.grad for p in network.parameters() if p.grad is not None]
        told += [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        with torch.no_grad():
            self.average(told)


@contextmanager
def team(device: str = "cpu") -> Iterator[Team]:
    """The team that the environment tells of; one process alone, where it tells of none.

    Args:
        device: where the student is trained: on a CPU, the processes meet there.

    Raises:
        InvalidInput: there are several processes and no accelerate.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    try:
        from accelerate import Accelerator
    except ImportError:
        raise InvalidInput(
            "several processes train by accelerate; run: pip install 'secondlook[train]'"
        ) from None
    link = Accelerator(cpu=device == "cpu")
    try:
        yield Team(rank=link.process_index, size=link.num_processes, link=link)
        # Who leaves while another still works takes the meeting place away from it.
        link.wait_for_everyone()
    finally:
        link.end_training()
