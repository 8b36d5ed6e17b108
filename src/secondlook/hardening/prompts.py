"""Prompts of both towers, trained against attacks on a few images of each class: what TAPT begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.pgd import PGD
from secondlook.data import load as open_source
from secondlook.data.base import Source
from secondlook.defenses.test_time.image_tokens import OpenTower
from secondlook.defenses.test_time.prompts import OpenPrompt
from secondlook.defenses.test_time.tapt import DEPTH, TOKENS, Prompts, statistics
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.places import at_home
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.scenes.family import part_name
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.losses import CrossEntropy
from secondlook.scenes.training.train import write_model
from secondlook.threat import Threat

THREAT: Final = Threat(norm="linf", eps=1 / 255)
INNER: Final = PGD(steps=2, step=0.75 / 255, keep_best=False)
JUDGE: Final = PGD(steps=20)
DATA: Final = "scenes:train"
"""Where none are named."""
SHOTS: Final = 16
"""Images of each class, on average."""
MEASURED: Final = 200
TEMPERATURE: Final = 0.01
RECIPE: Final = Recipe(steps=150, batch=32, rate=3e-2, decay=0.0, seed=17)


@dataclass(frozen=True, kw_only=True)
class Shots:
    """Labeled images in memory.

    Attributes:
        images: ``[N, 3, H, W]`` in [0, 1].
        truth: ``[N]``.
    """

    images: Tensor
    truth: Tensor


class Prompted(nn.Module):
    """Images to scores under prompts that are shared by all.

    Args:
        embedder: whose towers they are.
        prompt: its text tower.
        tower: its image tower.
        prompts: what is trained.
    """

    def __init__(self, embedder: Embedder, prompt: OpenPrompt, tower: OpenTower, prompts: Prompts) -> None:
        super().__init__()
        self.embedder, self.prompt, self.tower, self.prompts = embedder, prompt, tower, prompts

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``[B, K]``."""
        with self.tower.shown(self.prompts.tokens[None]):
            vectors = self.embedder.embed(x)
        return vectors @ self.prompt.vectors(self.prompts.context[None])[0].T / TEMPERATURE

    def layers(self, x: Tensor) -> list[Tensor]:
        """What the image tower's blocks make of images."""
        with torch.no_grad(), self.tower.shown(self.prompts.tokens[None]) as seen:
            self.embedder.embed(x)
        return seen


def train_prompts(
    model: str, out: Path, *, data: str, test: str, device: str, tick: Tick, recipe: Recipe = RECIPE
) -> dict[str, Any]:
    """Trains the prompts of a model into ``out``, with the statistics of its layers, and a card.

    A killed training goes on from its checkpoint, which is removed at the end.

    Args:
        model: an embedder by name.
        out: the folder of weights and card.
        data: images of classes by name, :data:`DATA` where it is empty; none of them should be evaluated on.
        test: others of the same classes, to measure on; empty measures nothing.
        device: where to train.
        tick: called with the progress.
        recipe: how long and how fast.

    Returns:
        The card.

    Raises:
        InvalidInput: no embedder, data without classes, or towers that cannot be tuned.
    """
    embedder, data = load(model), data or DATA
    if not isinstance(embedder, Embedder):
        raise InvalidInput(f"{model} is no embedder; prompts are trained for one, prompts:scenes:clip-vit")
    embedder.to(torch.device(device))
    source = open_source(data)
    if len(source.classes) >= len(source):
        raise InvalidInput(f"{data} has a text for each image; training prompts needs classes")
    shots = _shots(source, SHOTS * len(source.classes), embedder, recipe.seed)
    network = _prompted(embedder, source, recipe.seed)
    recipe = replace(recipe, images=len(shots.truth))
    training = Training(network.prompts, recipe, out / f"{part_name('prompts', model)}.checkpoint", data=source.hash)
    training.run(prompt_loss(network, shots), len(shots.truth), tick)
    _note_statistics(network, shots)
    weights = save({key: value.cpu().contiguous() for key, value in network.prompts.state_dict().items()})
    held_out = _shots(open_source(test), MEASURED, embedder, 0) if test else None
    return write_model(training, weights, _figures(network, held_out), out / part_name("prompts", model), {
        "name": part_name("prompts", model),
        "kind": "prompts",
        "role": "prompts of both towers for tapt",
        "base": {"name": model, "hash": embedder.weights_hash},
        "prompt": source.prompt,
        "data": f"{len(shots.truth)} images of {data}",
        "threat": f"PGD of {INNER.steps} steps within {THREAT.eps * 255:g}/255 on the prompted model",
        "command": at_home(f"secondlook train prompts:{model} --data {data}{f' --test {test}' if test else ''}"),
        "measured_on": f"{MEASURED} images of {test}, PGD of {JUDGE.steps} steps" if test else "",
    })  # fmt: skip


def prompt_loss(network: Prompted, shots: Shots) -> Loss:
    """Cross-entropy on what a short attack on the prompted model makes of the batch."""

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return F.cross_entropy(network(_attacked(network, shots, rows, seed)), shots.truth[rows])

    return loss


def _attacked(network: Prompted, shots: Shots, rows: Tensor, seed: int, attack: PGD = INNER) -> Tensor:
    objective = CrossEntropy(network=network, truth=shots.truth[rows])
    return attack(objective, shots.images[rows], THREAT, Keys.of(seed, rows.tolist())).x


def _prompted(embedder: Embedder, source: Source, seed: int) -> Prompted:
    """The written words, and small random tokens."""
    prompt = OpenPrompt(embedder, source.classes, source.prompt, "tapt")
    tower = OpenTower(embedder, DEPTH, "tapt")
    drawn = Keys.of(seed, [0]).fold("tokens").normal((tower.depth, TOKENS, tower.width))[0]
    place = prompt.start.device
    return Prompted(embedder, prompt, tower, Prompts(prompt.start, 0.02 * drawn.to(place)))


def _shots(source: Source, count: int, embedder: Embedder, seed: int) -> Shots:
    rows = Keys.of(seed, source.ids).fold("shots").order()[:count]
    samples = source.read(rows, getattr(embedder, "size", None))
    place = embedder.device or torch.device("cpu")
    return Shots(images=samples.images.to(place), truth=samples.truth.to(place))


def _note_statistics(network: Prompted, shots: Shots) -> None:
    """Mean and variance of the blocks' channels, over clean images and over attacked ones."""
    every = torch.arange(len(shots.truth)).split(128)
    for name in ("clean", "attacked"):
        seen: list[Sequence[Tensor]] = []
        for rows in every:
            seen.append(network.layers(shots.images[rows] if name == "clean" else _attacked(network, shots, rows, 0)))
        layers = [torch.cat(parts) for parts in zip(*seen, strict=True)]
        getattr(network.prompts, name).copy_(statistics(layers))


def _figures(network: Prompted, held_out: Shots | None) -> dict[str, float]:
    """Top-1 on clean images and on attacked ones, of the trained prompts and of the written ones."""
    if held_out is None:
        return {}
    written = Prompts(network.prompt.start, network.prompts.tokens[:, :0])
    bare = Prompted(network.embedder, network.prompt, network.tower, written)
    found: dict[str, float] = {}
    for name, each in (("trained", network), ("written", bare)):
        rows = torch.arange(len(held_out.truth))
        attacked = _attacked(each, held_out, rows, 0, JUDGE)
        for kind, x in (("clean", held_out.images), ("attacked", attacked)):
            with torch.no_grad():
                right = each(x).argmax(1) == held_out.truth
            found[f"{name}_top1_{kind}"] = float(right.float().mean())
    return found
