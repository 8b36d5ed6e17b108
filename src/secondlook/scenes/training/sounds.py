"""How models of the sounds of scenes are trained: recipes, sounds in memory, losses and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import UnknownName
from secondlook.models import load as load_model
from secondlook.progress import Tick
from secondlook.scenes.models.sound import SPECTROGRAM, BindNetwork, MelAutoencoderNetwork, normalized
from secondlook.scenes.sampling import Split, sample
from secondlook.scenes.sound import STEPS, render_sounds
from secondlook.scenes.source import render_batch
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.losses import bf16, reconstruction_error
from secondlook.scenes.training.measure import Figures, hit_rate
from secondlook.scenes.training.train import class_prompts, round_to_half, write_model

MEASURED_ON = 1000
MAX_NOISE = 0.0015
"""The largest root mean square of the noise that the purifiers learn to leave out, of full scale."""
MAX_PERTURBATION = 0.004
"""The largest change of a sample that they learn to take back."""
DIVERGENCE = 1e-3
_CHUNK = 200


@dataclass(frozen=True, kw_only=True)
class SoundSet:
    """Sounds of scenes.

    Attributes:
        waves: ``[n, 8192]`` int16.
        labels: color × shape of the main object, ``[n]``.
        images: vectors of the pictures of the same scenes, ``[n, D]``; empty where none are asked for.
    """

    waves: Tensor
    labels: Tensor
    images: Tensor

    def __len__(self) -> int:
        return len(self.waves)

    def sounds(self, rows: Tensor) -> Tensor:
        """``[B, 8192]`` in [-1, 1]."""
        return self.waves[rows].float() / STEPS


@torch.no_grad()
def render_set(seed: int, split: Split, n: int, tick: Tick, *, images: bool) -> SoundSet:
    """The first ``n`` scenes of a split as sounds, and as vectors of their pictures if ``images``."""
    anchor = load_model("scenes:clip") if images else None
    waves, labels, vectors = [], [], []
    for first in range(0, n, _CHUNK):
        rows = range(first, min(first + _CHUNK, n))
        waves.append(torch.from_numpy(render_sounds(seed, split, rows)))
        labels += [sample(seed, split, row).label for row in rows]
        if anchor is not None:
            pixels = torch.from_numpy(render_batch(seed, split, rows).images).permute(0, 3, 1, 2).float() / 255
            vectors.append(anchor.embed(pixels))
        tick(rows.stop, n, "rendering sounds")
    empty = torch.empty(n, 0)
    return SoundSet(
        waves=torch.cat(waves), labels=torch.tensor(labels), images=torch.cat(vectors) if vectors else empty
    )


def binding_loss(network: BindNetwork, data: SoundSet, device: str) -> Loss:
    """InfoNCE in both directions to the pictures of the same scenes, which stay where they are."""

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        wave = data.sounds(rows)
        gain = 0.8 + 0.4 * torch.rand(len(wave), 1, generator=generator)
        with bf16(device):
            vectors = network(normalized(wave * gain).to(device))
        logits = network.log_scale.exp().clamp(max=100) * vectors @ data.images[rows].to(device).T
        truth = torch.arange(len(rows), device=device)
        return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2

    return loss


def purifying_loss(network: MelAutoencoderNetwork, data: SoundSet, device: str) -> Loss:
    """The log-mel of a sound from that of a changed one, and for a VAE the posterior's divergence."""

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        wave = data.sounds(rows)
        other = data.sounds(rows.roll(1))
        x = normalized(wave).to(device)
        with bf16(device):
            mean, log_variance = network.encode(normalized(changed(wave, other, generator)).to(device))
        mean, log_variance = mean.float(), log_variance.float()
        noise = torch.randn(mean.shape, generator=generator).to(device)
        with bf16(device):
            made = network.decode(mean + (0.5 * log_variance).exp() * noise)
        error = reconstruction_error(made, x)
        if not network.variational:
            return error
        return error + DIVERGENCE * 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()

    return loss


def changed(wave: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """``wave`` with white noise, noise in patches of time and frequency, and another sound, faintly.

    The other sound is driven towards a bound, as a signed gradient would be, that is drawn up to
    ``MAX_PERTURBATION``; it knows neither attack nor victim.
    """
    white = MAX_NOISE * torch.rand(len(wave), 1, generator=generator) * torch.randn(wave.shape, generator=generator)
    spectrum = SPECTROGRAM.transform(torch.randn(wave.shape, generator=generator))
    coarse = torch.randn(len(wave), 1, 17, 9, generator=generator)
    patches = F.interpolate(coarse, spectrum.shape[1:], mode="bicubic")[:, 0].mul(1.5).exp()
    noise = SPECTROGRAM.inverse(spectrum * patches, wave.shape[1])
    parts = [noise, other, other.roll(1, 0)]
    weights = torch.rand(len(parts), len(wave), 1, generator=generator).square()
    mixed = sum(w * part / part.square().mean(1, keepdim=True).sqrt() for w, part in zip(weights, parts, strict=True))
    radius = MAX_PERTURBATION * torch.rand(len(wave), 1, generator=generator)
    return wave + white + radius * torch.tanh(1.5 * mixed)


@dataclass(frozen=True, kw_only=True)
class SoundRecipe:
    """What to build and how to train it; ``architecture`` goes into the card."""

    role: str
    build: Callable[..., Any]
    architecture: dict[str, Any]
    objective: Callable[[Any, SoundSet, str], Loss]
    recipe: Recipe

    def network(self) -> nn.Module:
        """A fresh network under the recipe's seed; the global generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)  # noqa: TID251 - forked, and put back
            network: nn.Module = self.build(**self.architecture)
        return network


def recipes() -> dict[str, SoundRecipe]:
    """All recipes by the name after ``scenes:``."""
    return {
        "bind": SoundRecipe(
            role="embedder of sounds",
            build=BindNetwork,
            architecture={"dim": 256},
            objective=binding_loss,
            recipe=Recipe(steps=900, batch=192, images=12_000, seed=30, average=0.99),
        ),
        "sound-vae": SoundRecipe(
            role="purifier of sounds",
            build=MelAutoencoderNetwork,
            architecture={"variational": True},
            objective=purifying_loss,
            recipe=Recipe(steps=1400, batch=64, images=8000, seed=31, average=0.99),
        ),
    }


def train_sounds(name: str, out: Path, *, device: str, tick: Tick) -> dict[str, Any]:
    """Trains ``scenes:NAME`` into ``out/NAME.safetensors`` and ``out/NAME.json``.

    A killed training goes on from ``out/NAME.checkpoint``, which is removed at the end.

    Returns:
        The model card.

    Raises:
        UnknownName: there is no such recipe.
    """
    short = name.removeprefix("scenes:")
    if short not in recipes():
        raise UnknownName("recipe", name, [f"scenes:{known}" for known in recipes()])
    chosen = recipes()[short]
    bound = chosen.build is BindNetwork
    data = render_set(chosen.recipe.seed, "train", chosen.recipe.images, tick, images=bound)
    network = chosen.network().to(device)
    training = Training(network, chosen.recipe, out / f"{short}.checkpoint")
    training.run(chosen.objective(network, data, device), len(data), tick)
    weights = round_to_half(network)
    held_out = render_set(0, "test", MEASURED_ON, tick, images=bound)
    return write_model(training, weights, figures(network, held_out), out / short, {
        "name": f"scenes:{short}",
        "role": chosen.role,
        "architecture": {"network": type(network).__name__, **chosen.architecture},
        "data": f"the sounds of the first {chosen.recipe.images} scenes of the train split, seed {chosen.recipe.seed}",
        "command": f"secondlook train scenes:{short}",
        "measured_on": f"the first {MEASURED_ON} scenes of the test split, seed 0",
    })  # fmt: skip


@torch.no_grad()
def figures(network: nn.Module, data: SoundSet) -> Figures:
    """Zero-shot top-1 by text and R@1 to and from the pictures; of a purifier the error of its log-mel."""
    parts = torch.arange(len(data)).split(250)
    mels = torch.cat([normalized(data.sounds(part)) for part in parts])
    if isinstance(network, MelAutoencoderNetwork):
        made = torch.cat([network.decode(network.encode(mel).mean) for mel in mels.split(250)])
        return {"log_mel_error": float((made - mels).abs().mean())}
    vectors = torch.cat([network(mel) for mel in mels.split(250)])
    texts = load_model("scenes:clip").network.embed_text(class_prompts())
    own = torch.eye(len(data), dtype=torch.bool)
    return {
        "zero_shot_top1": float(((vectors @ texts.T).argmax(1) == data.labels).float().mean()),
        "sound_to_image_r1": hit_rate(vectors @ data.images.T, own),
        "image_to_sound_r1": hit_rate(data.images @ vectors.T, own),
    }
