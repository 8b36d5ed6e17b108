"""One process of several that train an embedder without batch statistics: FOLDER METHOD [bf16]."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from secondlook import registry
from secondlook.hardening.base import BatchLoss
from secondlook.hardening.distributed import process_group
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.evaluation import Validation
from secondlook.hardening.output import Checkpoint
from secondlook.hardening.trainer import Training, TrainingConfig
from tests.hardening.toy import ToyDataset, toy_embedder

STEPS = 50


def train(
    folder: Path, name: str, bf16: bool = False, wrap: Callable[[BatchLoss], BatchLoss] = lambda batch_loss: batch_loss
) -> None:
    """Trains for 50 steps of 12 samples; leaves weights in ``RANK.pt``, losses in ``losses.json``.

    A checkpoint is written every tenth step, and gone on from where there is one.
    """
    with process_group() as processes:
        embedder = toy_embedder()
        embedder.network.norm = nn.Identity()
        method, data = registry.build("method", name, {"eps": 4 / 255}), ToyDataset(48)
        trainable = TrainableEmbedder(embedder, method.part, bf16, processes=processes)
        training = Training(
            trainable=trainable,
            batch_loss=wrap(method.make_loss(trainable, data)),
            dataset=data,
            config=TrainingConfig(steps=STEPS, batch=12, rate=0.01),
            checkpoint=Checkpoint(path=folder / "a.checkpoint", identity={}),
        )
        training.run(lambda: Validation(0, 0), lambda done, of, what: None, every=10)
        torch.save(trainable.network.state_dict(), folder / f"{processes.rank}.pt")
        if processes.rank == 0:
            (folder / "losses.json").write_text(json.dumps([row[1] for row in training.history]))


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["bf16"])
