"""From a model and a method to a hardened model: data, training, figures, weights and card."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from secondlook import registry
from secondlook.data import load as load_data
from secondlook.errors import InvalidInput
from secondlook.hardening.base import Method
from secondlook.hardening.dataset import Dataset, SceneDataset, SourceDataset
from secondlook.hardening.distributed import ProcessGroup, first_process, process_group
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.evaluation import Validator, figures
from secondlook.hardening.output import Checkpoint, OutputPaths, output_paths
from secondlook.hardening.trainer import Training, TrainingConfig
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.progress import Tick
from secondlook.scenes.family import changed_weights, weights_of
from secondlook.scenes.sampling import Split
from secondlook.scenes.training.dataset import render_scenes

TRAIN_SCENES = 30_000
"""Scenes of the train split to train on, where no other data is named."""
TEST_SCENES = 1000
"""Scenes of the test split to measure on."""
VALIDATION_SCENES = 128
"""Scenes of the val split to validate on."""


@dataclass(frozen=True, kw_only=True)
class HardeningConfig:
    """All settings of one hardening.

    Attributes:
        model: an embedder by name.
        method: what it is trained with.
        training: how long and how fast.
        data: images to train on by name; empty for the scenes of the embedded world.
        test: images to measure on by name; empty for scenes, or for none where ``data`` is given.
        bf16: whether the encoders run in bf16.
        device: where it is trained.
        workers: processes that render scenes.
        command: what trains it again, for the card.
    """

    model: str
    method: Method
    training: TrainingConfig
    data: str = ""
    test: str = ""
    bf16: bool = False
    device: str = "cpu"
    workers: int = 1
    command: str = ""

    def identity(self, embedder: Embedder, dataset: Dataset) -> dict[str, Any]:
        """What identifies a training; folder, device and number of processes do not."""
        return {
            "method": registry.describe(self.method),
            "training": asdict(self.training),
            "model": {"name": self.model, "hash": embedder.weights_hash},
            "data": {"description": dataset.description, "hash": dataset.hash},
            "bf16": self.bf16,
        }

    def training_data(self, embedder: Embedder, tick: Tick) -> Dataset:
        """What it is trained on."""
        return self._read(self.data, embedder, "train", TRAIN_SCENES, tick)

    def validation_data(self, embedder: Embedder, tick: Tick) -> Dataset | None:
        """What it is validated on; None for what it is trained on."""
        if self.data and not self.test:
            return None
        return self._read(self.test, embedder, "val", VALIDATION_SCENES, tick)

    def test_data(self, embedder: Embedder, tick: Tick) -> Dataset | None:
        """What the result is measured on; None where the user names none."""
        if self.data and not self.test:
            return None
        return self._read(self.test, embedder, "test", TEST_SCENES, tick)

    def _read(self, name: str, embedder: Embedder, split: Split, scenes: int, tick: Tick) -> Dataset:
        if name:
            size = getattr(embedder, "size", None)
            return SourceDataset(load_data(name), self.method.need, size, name)
        return SceneDataset(render_scenes(0, split, scenes, self.workers, tick), split, 0)


def harden(config: HardeningConfig, out: Path, tick: Tick) -> dict[str, Any]:
    """Hardens a model into ``out/NAME-METHOD.safetensors`` and ``.json``.

    A killed training goes on from ``out/NAME-METHOD.checkpoint``, which is removed at the end; a
    finished one is not begun again.

    Returns:
        The model card; nothing, in all processes but the first.

    Raises:
        UnknownName: there is no such model or data.
        InvalidInput: the model is no embedder, the data does not fit the method, holds too few
            samples, or ``out`` holds something else under this name.
        BrokenRun: the loss became infinite or NaN; the last good checkpoint is kept. Or another
            process trains the same model there.
    """
    embedder = load(config.model)
    if not isinstance(embedder, Embedder):
        raise InvalidInput(f"--model {config.model} is no embedder; name another: scenes:clip")
    paths = output_paths(out, config.model, config.method)
    dataset = config.training_data(embedder, tick)
    identity = config.identity(embedder, dataset)
    with paths.alone() if first_process() else nullcontext():
        return paths.finished(identity) or _hardened(config, embedder, dataset, paths, identity, tick)


def _hardened(
    config: HardeningConfig,
    embedder: Embedder,
    dataset: Dataset,
    paths: OutputPaths,
    identity: dict[str, Any],
    tick: Tick,
) -> dict[str, Any]:
    original = weights_of(embedder)
    checkpoint = Checkpoint(path=paths.checkpoint, identity=identity)
    with process_group(config.device) as processes:
        training = trained(config, embedder, dataset, checkpoint, tick, processes)
    if processes.rank:
        return {}
    weights = changed_weights(embedder, original)
    return paths.write(
        weights,
        {
            "name": paths.name,
            "role": "embedder",
            "base": identity["model"],
            "data": dataset.description,
            "command": config.command,
            "recipe": identity,
            "parameters": sum(p.numel() for p in training.trainable.network.parameters()),
            "learned": sum(p.numel() for p in training.trainable.parameters.values()),
            **({"augmentation": training.augmentation} if training.augmentation else {}),
            **_figures(config, embedder, tick),
            "history": [[round(value, 4) for value in row] for row in training.history],
            "license": "Apache-2.0" if config.model.startswith("scenes:") else "that of the base",
        },
    )


def trained(
    config: HardeningConfig,
    embedder: Embedder,
    dataset: Dataset,
    checkpoint: Checkpoint,
    tick: Tick,
    processes: ProcessGroup,
) -> Training:
    """Trains ``embedder`` in place; it comes back on the CPU and in eval mode."""
    embedder.to(torch.device(config.device))
    trainable = TrainableEmbedder(embedder, config.method.part, config.bf16, processes)
    diagnoses = config.method.diagnose(trainable, dataset)
    training = Training(
        trainable=trainable,
        batch_loss=config.method.make_loss(trainable, dataset),
        dataset=dataset,
        config=config.training,
        checkpoint=checkpoint,
        augmentation={name: _rounded(each._asdict()) for name, each in diagnoses.items()},
    )
    validation = config.validation_data(embedder, tick) or dataset
    training.run(Validator(trainable, validation, config.method.radius), tick)
    trainable.network.requires_grad_(False)
    embedder.to(torch.device("cpu"))
    return training


def _figures(config: HardeningConfig, hardened: Embedder, tick: Tick) -> dict[str, Any]:
    held_out = config.test_data(hardened, tick)
    if held_out is None:
        return {"measured": {}, "measured_on": "nothing: no --test was given"}
    found = figures(hardened, load(config.model), held_out, config.method.radius, tick)
    return {"measured": _rounded(found), "measured_on": held_out.description}


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in figures.items()}
