"""The arms of the RSICD question: which sites each learns from, and how it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from safetensors.torch import load_file, save_file

from secondlook.attacks.pgd import PGD
from secondlook.errors import InvalidInput
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.course import Course
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.methods.mat import MAT
from secondlook.hardening.probe import Glance
from secondlook.hardening.student import Student
from secondlook.hardening.trainer import Training as Hardening
from secondlook.models import load
from secondlook.models.base import Classifier, Embedder
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from secondlook.registry import digest
from secondlook.scenes.overhead import training
from secondlook.scenes.overhead.captions import class_names, prompts
from secondlook.scenes.overhead.models import OverheadClassifier, OverheadEmbedder
from secondlook.scenes.training.adversarial import hardening
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.loop import Recipe, Training
from secondlook.threat import Threat

Kind = Literal["classifier", "contrastive"]
Data = Literal["synthetic", "real", "mixed"]
Taught = Literal["standard", "hardened"]
THREAT: Final = Threat(eps=4 / 255)
"""What the hardened arms are trained within."""
STEPS: Final = 2
"""Steps of the attack inside, for both kinds."""


class Arm(NamedTuple):
    """One model: what it is, what it learnt from, and whether under attack."""

    kind: Kind
    data: Data
    taught: Taught
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.data}-{self.taught}-{self.seed}"


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
        Arm(kind, data, taught, seed)
        for seed in range(seeds) for data in get_args(Data)
        for kind in get_args(Kind) for taught in get_args(Taught)
    ]  # fmt: skip


def silent(done: int, of: int, what: str) -> None:
    """Tells nobody: each arm is a line when it is ready."""


def shelf(out: Path, name: str) -> Any:
    """A model of sites that all arms share; trained on first use."""
    if not (out / f"{name}.json").exists():
        training.train_overhead(name, out, device="cpu", tick=silent)
    return load(f"local:{out / name}")


def learnt(arm: Arm, budget: Budget, out: Path, painter: str) -> SceneSet:
    """What an arm learns from: as many sites whichever they are, half of each where mixed."""
    real = training.load(arm.seed, "train", budget.sites, silent)
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
        hand = load(painter) if painter else shelf(out, "overhead-painter")
        if not isinstance(hand, Painter):
            raise InvalidInput(f"--painter {painter} paints no texts; name a painter")
        texts = training.tokenizer().decode(told.tolist())
        parts = [hand.paint(texts[i : i + 50], keys[i : i + 50]) for i in range(0, len(texts), 50)]
        pixels = (torch.cat(parts) * 255).round().to(torch.uint8).contiguous()
        save_file({"pixels": pixels}, place.with_suffix(".part"))
        place.with_suffix(".part").replace(place)
    pixels = load_file(place)["pixels"]
    return replace(
        real, pixels=pixels, captions=told[:, None].expand(-1, real.captions.shape[1], -1)
    )


class SiteLessons(Lessons):
    """Sites in memory, with their captions and the prompt of their class as one more."""

    classes = class_names()
    prompt = "{}"
    captioned = True

    def __init__(self, sites: SceneSet, told: str) -> None:
        self.sites, self.told, self.hash = sites, told, digest(told)
        self.ids = tuple(f"{told}-{row}" for row in range(len(sites)))
        self.words = training.tokenizer()

    def read(self, rows: Sequence[int]) -> Examples:
        at = torch.tensor(rows)
        truth = self.sites.labels[at]
        named = [prompts()[label] for label in truth.tolist()]
        captions = tuple(
            (*self.words.decode(five.tolist()), name)
            for five, name in zip(self.sites.captions[at], named, strict=True)
        )
        return Examples(tuple(self.ids[r] for r in rows), self.sites.images(at), truth, captions)


def trained(arm: Arm, budget: Budget, out: Path, painter: str) -> Embedder | Classifier:
    """The model of an arm, from its file where it has been trained before."""
    name = "overhead-clip" if arm.kind == "contrastive" else "overhead-classifier"
    recipe = Recipe(steps=budget.steps, batch=budget.batch, seed=arm.seed, images=budget.sites)
    network: Any = replace(training.models()[name], recipe=recipe).network()
    model: OverheadEmbedder | OverheadClassifier = (
        OverheadEmbedder(str(arm), network) if arm.kind == "contrastive"
        else OverheadClassifier(str(arm), network)
    )  # fmt: skip
    place = out / f"{arm}.safetensors"
    if not place.exists():
        if arm.taught == "hardened":
            standard: Any = trained(arm._replace(taught="standard"), budget, out, painter)
            network.load_state_dict(standard.network.state_dict())
        _teach(arm, model, budget, learnt(arm, budget, out, painter), out)
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(tensors, place.with_suffix(".part"))
        place.with_suffix(".part").replace(place)
        place.with_suffix(".checkpoint").unlink(missing_ok=True)
    network.load_state_dict(load_file(place))
    network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return model


def _teach(arm: Arm, model: Any, budget: Budget, sites: SceneSet, out: Path) -> None:
    path = out / f"{arm}.checkpoint"
    recipe = Recipe(steps=budget.steps, batch=budget.batch, seed=arm.seed, average=0.99)
    if arm.taught == "standard":
        name = "overhead-clip" if arm.kind == "contrastive" else "overhead-classifier"
        loss = training.models()[name].objective(model.network, sites, "cpu")
        Training(model.network, recipe, path).run(loss, len(sites), silent)
    elif arm.kind == "classifier":
        recipe = replace(
            recipe, steps=budget.hard_steps, batch=budget.hard_batch, rate=1e-3, decay=1e-4
        )
        inner = PGD(steps=STEPS, keep_best=False, early_exit=False)
        loss = hardening(model.network, sites, "cpu", inner, THREAT)
        Training(model.network, recipe, path).run(loss, len(sites), silent)
    else:
        _multimodal(arm, model, budget, sites, out, path)


def _multimodal(
    arm: Arm, model: Embedder, budget: Budget, sites: SceneSet, out: Path, path: Path
) -> None:
    """MAT, with the same steps, batch, radius and inner steps as the classifier's."""
    course = Course(
        steps=budget.hard_steps, batch=budget.hard_batch, rate=1e-3, average=0.99, seed=arm.seed
    )
    method = MAT(eps=THREAT.eps, attack_steps=STEPS, captions="any", mlm=shelf(out, "overhead-mlm"))
    lessons, student = SiteLessons(sites, str(arm)), Student(model, method.part, bf16=True)
    lesson = Hardening(
        student=student, lesson=method.bind(student, lessons), lessons=lessons, course=course,
        checkpoint=Checkpoint(path=path, identity={"arm": str(arm), "told": lessons.told}),
    )  # fmt: skip
    lesson.run(lambda: Glance(float("nan"), float("nan")), silent)
