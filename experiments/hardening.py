"""Short trainings side by side, and what attacks on images with captions leave of each.

Every arm starts from the same model and is given the same scenes in the same order:
``python -m experiments.hardening [STUDY…]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from experiments.pairs import attacked, pairs_of, percent, radius, searched
from experiments.runner import Measure, Result, main
from secondlook import registry
from secondlook.data import load as load_data
from secondlook.hardening.base import Method
from secondlook.hardening.distributed import ProcessGroup
from secondlook.hardening.harden import HardeningConfig, trained
from secondlook.hardening.output import Checkpoint
from secondlook.hardening.trainer import TrainingConfig
from secondlook.metrics.retrieval import recall
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.progress import silent
from secondlook.randomness import Keys
from secondlook.threat import fraction

ATTACKS: Final = {"bert-attack": "BERT-Attack", "pair-pgd": "PGD", "sga": "SGA"}
WAYS: Final = ("image → text", "text → image")
AUGMENTATION: Final = ("alignment", "diversity", "frechet", "divergence")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One arm.

    Attributes:
        method: by its name.
        settings: those of the method.
        model: the embedder that learns.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = "scenes:clip"

    def build(self, eps: float) -> Method:
        """The method; one without an attack inside has no radius."""
        inside = {} if self.method == "clean" else {"eps": eps}
        method: Method = registry.build("method", self.method, {**inside, **self.settings})
        return method


def _plus(**weights: float) -> Training:
    return Training(method="mat+", settings={"original": 1.0, "human": 0.0, **weights})


TRAININGS: Final[Mapping[str, Training]] = {
    "clean": Training(method="clean"),
    "TeCoA": Training(method="tecoa"),
    "TeCoA-ITR": Training(method="tecoa-itr"),
    "FARE": Training(method="fare"),
    "MAT": Training(method="mat"),
    "MAT, images first": Training(method="mat", settings={"order": "i-t"}),
    "MAT, at once": Training(method="mat", settings={"order": "simultaneous"}),
    "MAT, PGD-10": Training(method="mat", settings={"attack_steps": 10}),
    "human captions": _plus(human=4.0),
    "EDA": _plus(eda=4.0),
    "paraphrase": _plus(paraphrase=4.0),
    "captioned": _plus(captioned=4.0),
    "RandAugment, color": _plus(randaugment=0.5),
    "RandAugment, all": Training(
        method="mat+", settings={"original": 1.0, "human": 0.0, "randaugment": 0.5, "kind": "all"}
    ),
    "RandAugment, color, slight": _plus(randaugment=0.5, strength=0.1),
    "painted": _plus(painted=0.5),
    "human captions and half of the images": _plus(human=4.0, randaugment=0.5),
    "human captions and an eighth of the images": _plus(human=4.0, randaugment=0.125, strength=0.1),
    "human captions and a quarter painted": _plus(human=4.0, painted=0.25),
    "vit: clean": Training(method="clean", model="scenes:clip-vit"),
    "vit: TeCoA-ITR": Training(method="tecoa-itr", model="scenes:clip-vit"),
    "vit: MAT": Training(method="mat", model="scenes:clip-vit"),
    "vit: human captions": Training(method="mat+", settings={"human": 4.0}, model="scenes:clip-vit"),
}

STUDIES: Final[Mapping[str, tuple[str, ...]]] = {
    "methods": ("clean", "TeCoA", "TeCoA-ITR", "FARE", "MAT", "human captions"),
    "order": ("MAT", "MAT, images first", "MAT, at once", "MAT, PGD-10"),
    "augmentation": (
        "MAT",
        "human captions",
        "EDA",
        "paraphrase",
        "captioned",
        "RandAugment, color",
        "RandAugment, all",
        "painted",
    ),
    "protocols": (
        "MAT",
        "human captions",
        "RandAugment, color",
        "human captions and half of the images",
        "human captions and an eighth of the images",
        "human captions and a quarter painted",
    ),
    "gap": ("MAT", "painted", "RandAugment, color, slight", "RandAugment, color", "RandAugment, all"),
    "architectures": (
        "clean",
        "TeCoA-ITR",
        "MAT",
        "human captions",
        "vit: clean",
        "vit: TeCoA-ITR",
        "vit: MAT",
        "vit: human captions",
    ),
}
"""Which of them each study sets side by side."""


class HardeningExperiment:
    """The trainings of the chosen studies."""

    name = "hardening"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("studies", nargs="*", help=f"{', '.join(STUDIES)} (all)")
        parser.add_argument("--steps", type=int, default=300, help="of training (%(default)s)")
        parser.add_argument("--lr", type=float, default=1e-3, help="peak (%(default)s)")
        parser.add_argument("--train-eps", type=fraction, default=4 / 255, help="inside (4/255)")
        parser.add_argument("--eps", type=fraction, default=2 / 255, help="measured (2/255)")
        parser.add_argument("--images", type=int, default=200, help="scenes (%(default)s)")
        parser.add_argument("--seed", type=int, default=0)

    def arms(self, options: argparse.Namespace) -> Mapping[str, Measure]:
        chosen = [name for study in options.studies or STUDIES for name in STUDIES[study]]
        return {name: partial(_measure, name, options) for name in dict.fromkeys(chosen)}

    def report(self, results: Mapping[str, Result]) -> Iterator[str]:
        for study, names in STUDIES.items():
            rows = {name: results[name] for name in names if name in results}
            if rows:
                yield from _table(study, rows)


def _measure(name: str, options: argparse.Namespace, out: Path) -> Result:
    """Trains one arm, and searches with it."""
    done = train(name, TRAININGS[name], options, options.seed, out)
    return {
        "recipe": done.recipe,
        "n": options.images,
        "eps": options.eps,
        "augmentation": done.augmentation,
        "figures": _recalls(done.model, options.images, options.eps),
    }


class Trained(NamedTuple):
    """What came of an arm.

    Attributes:
        model: the embedder, hardened.
        recipe: what identifies its training.
        augmentation: what its augmented samples are like.
    """

    model: Embedder
    recipe: dict[str, Any]
    augmentation: dict[str, dict[str, float]]


def train(name: str, training: Training, options: argparse.Namespace, seed: int, out: Path) -> Trained:
    """Trains an arm; one that was killed goes on from its checkpoint in ``out``.

    Args:
        name: of the arm, and of its checkpoint.
        training: what it is trained with.
        options: its ``steps``, its rate ``lr`` and its radius ``train_eps``.
        seed: keys the order of the samples and the attacks.
        out: the output folder.
    """
    model = load(training.model)
    assert isinstance(model, Embedder)
    settings = TrainingConfig(steps=options.steps, rate=options.lr, average=0.99, seed=seed)
    config = HardeningConfig(
        model=training.model, method=training.build(options.train_eps), training=settings, bf16=True
    )
    dataset = config.training_data(model, silent)
    identity = config.identity(model, dataset)
    checkpoint = Checkpoint(path=out / f"{name}.checkpoint", identity=identity)
    found = trained(config, model, dataset, checkpoint, silent, ProcessGroup())
    checkpoint.path.unlink(missing_ok=True)
    return Trained(model, identity, found.augmentation)


def _recalls(model: Embedder, images: int, eps: float) -> dict[str, list[list[float]]]:
    """R@1 both ways with its interval: clean, and under each attack with both sides altered."""
    pairs, keys = pairs_of(load_data("scenes:test", n=images)), Keys.of(0, range(images))
    ways = {"clean": searched(model, pairs.images, pairs.captions)}
    for name in ATTACKS:
        altered = attacked(name, model, pairs, eps, keys)
        ways[name] = searched(model, altered.images, altered.captions)
    return {name: [list(recall(way, 1).interval) for way in both] for name, both in ways.items()}


def _table(study: str, rows: Mapping[str, Result]) -> Iterator[str]:
    first = next(iter(rows.values()))
    yield f"**{study}**: R@1 {', '.join(WAYS)}; n = {first['n']}, eps {radius(first['eps'])}"
    yield ""
    yield f"| arm | clean | {' | '.join(ATTACKS.values())} | {', '.join(AUGMENTATION)} |"
    yield "|---|---|" + "---|" * (len(ATTACKS) + 1)
    yield from (_row(name, result) for name, result in rows.items())
    yield ""


def _row(name: str, result: Result) -> str:
    """R@1 under each attack, and what the augmentation of the arm is like."""
    figures = result["figures"]
    cells = [" / ".join(map(percent, figures[key])) for key in ("clean", *ATTACKS)]
    augmentation = [
        f"{kind}: " + ", ".join(f"{measured[key]:.2f}" for key in AUGMENTATION)
        for kind, measured in result["augmentation"].items()
    ]
    return f"| {name} | {' | '.join(cells)} | {'; '.join(augmentation)} |"


if __name__ == "__main__":
    main(HardeningExperiment(), __doc__)
