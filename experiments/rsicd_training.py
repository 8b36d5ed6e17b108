"""The models of the RSICD question: which sites each learns from, and how it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from safetensors.torch import load_file, save_file

from secondlook.attacks.pgd import PGD
from secondlook.errors import InvalidInput
from secondlook.hardening.dataset import Batch, Dataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.evaluation import Validation
from secondlook.hardening.mat import MAT
from secondlook.hardening.output import Checkpoint
from secondlook.hardening.trainer import Training as HardeningTraining, TrainingConfig
from secondlook.models import load
from secondlook.models.base import Classifier, Embedder
from secondlook.models.painter import Painter
from secondlook.progress import silent
from secondlook.randomness import Keys
from secondlook.registry import digest
from secondlook.scenes.overhead import training
from secondlook.scenes.overhead.captions import class_names, prompts
from secondlook.scenes.overhead.models import OverheadClassifier, OverheadEmbedder
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Recipe, Training
from secondlook.scenes.training.losses import adversarial_loss
from secondlook.threat import Threat

Kind = Literal["classifier", "contrastive"]
Data = Literal["synthetic", "real", "mixed"]
Regime = Literal["standard", "hardened"]
THREAT: Final = Threat(eps=4 / 255, grid=255)
"""What the hardened arms are trained within."""
STEPS: Final = 2
"""Steps of the attack inside, for both kinds."""


class Arm(NamedTuple):
    """One model: what it is, what it learns from, and whether under attack."""

    kind: Kind
    data: Data
    training: Regime
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.data}-{self.training}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every arm is given alike.

    Attributes:
        sites: distinct images that it learns from.
        steps: of the standard training.
        batch: images in each of them.
        hard_steps: of the training under attack that goes on from there.
        hard_batch: images in each of those.
    """

    sites: int = 4000
    steps: int = 400
    batch: int = 96
    hard_steps: int = 200
    hard_batch: int = 64


def arms(seeds: int) -> list[Arm]:
    """All arms, standard before hardened, synthetic data first."""
    return [
        Arm(kind, data, regime, seed)
        for seed in range(seeds)
        for data in get_args(Data)
        for kind in get_args(Kind)
        for regime in get_args(Regime)
    ]


def shared_model(out: Path, name: str) -> Any:
    """A model of sites that all arms share; trained on first use."""
    if not (out / f"{name}.json").exists():
        training.train_overhead(name, out, device="cpu", tick=silent)
    return load(f"local:{out / name}")


def sites_of(arm: Arm, budget: Budget, out: Path, painter: str) -> SceneSet:
    """What an arm learns from: as many sites whichever they are, half of each where mixed."""
    real = training.render_sites(arm.seed, "train", budget.sites, silent)
    if arm.data == "real":
        return real
    made = _painted(real, arm.seed, out, painter)
    if arm.data == "synthetic":
        return made
    half = budget.sites // 2
    return replace(
        real,
        pixels=torch.cat([real.pixels[:half], made.pixels[half:]]),
        captions=torch.cat([real.captions[:half], made.captions[half:]]),
    )


def _painted(real: SceneSet, seed: int, out: Path, painter: str) -> SceneSet:
    """The sites painted from one caption of each, which is then the only one that they have."""
    keys = Keys.of(seed, range(len(real))).fold("painted")
    which = torch.tensor(keys.integers(real.captions.shape[1]))
    told = real.captions[torch.arange(len(real)), which]
    place = out / f"painted-{seed}-{len(real)}.safetensors"
    if not place.exists():
        hand = load(painter) if painter else shared_model(out, "overhead-painter")
        if not isinstance(hand, Painter):
            raise InvalidInput(f"--painter {painter} paints no texts; name a painter")
        texts = training.tokenizer().decode(told.tolist())
        parts = [hand.paint(texts[i : i + 50], keys[i : i + 50]) for i in range(0, len(texts), 50)]
        pixels = (torch.cat(parts) * 255).round().to(torch.uint8).contiguous()
        save_file({"pixels": pixels}, place.with_suffix(".part"))
        place.with_suffix(".part").replace(place)
    pixels = load_file(place)["pixels"]
    return replace(real, pixels=pixels, captions=told[:, None].expand(-1, real.captions.shape[1], -1))


class SiteData(Dataset):
    """Sites in memory, with their captions and the prompt of their class as one more."""

    classes = class_names()
    prompt = "{}"
    has_captions = True

    def __init__(self, sites: SceneSet, label: str) -> None:
        self.sites, self.label, self.hash = sites, label, digest(label)
        self.ids = tuple(f"{label}-{row}" for row in range(len(sites)))
        self.words = training.tokenizer()

    def read(self, rows: Sequence[int]) -> Batch:
        at = torch.tensor(rows)
        truth = self.sites.labels[at]
        named = [prompts()[label] for label in truth.tolist()]
        captions = tuple(
            (*self.words.decode(five.tolist()), name) for five, name in zip(self.sites.captions[at], named, strict=True)
        )
        return Batch(tuple(self.ids[r] for r in rows), self.sites.images(at), truth, captions)


def trained(arm: Arm, budget: Budget, out: Path, painter: str) -> Embedder | Classifier:
    """The model of an arm, from its file where it has been trained before."""
    name = "overhead-clip" if arm.kind == "contrastive" else "overhead-classifier"
    recipe = Recipe(steps=budget.steps, batch=budget.batch, seed=arm.seed, images=budget.sites)
    network: Any = replace(training.recipes()[name], recipe=recipe).network()
    model: OverheadEmbedder | OverheadClassifier = (
        OverheadEmbedder(str(arm), network) if arm.kind == "contrastive" else OverheadClassifier(str(arm), network)
    )
    place = out / f"{arm}.safetensors"
    if not place.exists():
        if arm.training == "hardened":
            standard: Any = trained(arm._replace(training="standard"), budget, out, painter)
            network.load_state_dict(standard.network.state_dict())
        _train(arm, model, budget, sites_of(arm, budget, out, painter), out)
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, place.with_suffix(".part"))
        place.with_suffix(".part").replace(place)
        place.with_suffix(".checkpoint").unlink(missing_ok=True)
    network.load_state_dict(load_file(place))
    network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return model


def _train(arm: Arm, model: Any, budget: Budget, sites: SceneSet, out: Path) -> None:
    path = out / f"{arm}.checkpoint"
    recipe = Recipe(steps=budget.steps, batch=budget.batch, seed=arm.seed, average=0.99)
    if arm.training == "standard":
        name = "overhead-clip" if arm.kind == "contrastive" else "overhead-classifier"
        loss = training.recipes()[name].objective(model.network, sites, "cpu")
        Training(model.network, recipe, path).run(loss, len(sites), silent)
    elif arm.kind == "classifier":
        recipe = replace(recipe, steps=budget.hard_steps, batch=budget.hard_batch, rate=1e-3, decay=1e-4)
        inner = PGD(steps=STEPS, keep_best=False, early_exit=False)
        loss = adversarial_loss(model.network, sites, "cpu", inner, THREAT)
        Training(model.network, recipe, path).run(loss, len(sites), silent)
    else:
        _multimodal(arm, model, budget, sites, out, path)


def _multimodal(arm: Arm, model: Embedder, budget: Budget, sites: SceneSet, out: Path, path: Path) -> None:
    """MAT, with the same steps, batch, radius and inner steps as the classifier's."""
    config = TrainingConfig(steps=budget.hard_steps, batch=budget.hard_batch, rate=1e-3, average=0.99, seed=arm.seed)
    method = MAT(eps=THREAT.eps, attack_steps=STEPS, captions="any", mlm=shared_model(out, "overhead-mlm"))
    dataset, trainable = (SiteData(sites, str(arm)), TrainableEmbedder(model, method.part, bf16=True))
    training = HardeningTraining(
        trainable=trainable,
        batch_loss=method.make_loss(trainable, dataset),
        dataset=dataset,
        config=config,
        checkpoint=Checkpoint(path=path, identity={"arm": str(arm), "told": dataset.description}),
    )
    training.run(lambda: Validation(float("nan"), float("nan")), silent)
