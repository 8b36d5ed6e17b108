"""The losses of the recipes: contrastive, classification, reconstruction, denoising."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import Evaluation
from secondlook.attacks.pgd import PGD
from secondlook.randomness import Keys
from secondlook.scenes.models.classifier import ClassifierNetwork
from secondlook.scenes.models.clip import ClipNetwork
from secondlook.scenes.models.purifiers import AutoencoderNetwork, DenoiserNetwork, NoiseSchedule
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Loss
from secondlook.threat import LEVELS, Threat

MAX_NOISE = 0.06
"""The largest deviation of the noise that the autoencoders learn to leave out, in pixel units."""
MAX_PERTURBATION = 14 / 255
"""The largest change of a channel that the purifiers learn to take back."""
PERTURBATION_SCALES = (1, 2, 4, 8, 16)
"""Widths, in pixels, of the blotches that such a change is made of."""
FIRST_STEP = 15
"""The first step of a diffusion whose noise is wide enough to hide a blotch."""
LAST_STEP = 120
"""The last step, of a thousand, that a purifier of scenes may sensibly begin at."""


def bf16(device: str) -> torch.autocast:
    """bf16 for the layers; every loss below is computed in fp32."""
    return torch.autocast(device, torch.bfloat16)


def pick_captions(captions: Tensor, prompts: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """One caption of each scene; for a ``share`` of them the title of its main object instead."""
    which = torch.randint(captions.shape[1], (len(captions),), generator=generator)
    long = captions[torch.arange(len(captions)), which]
    short = torch.rand(len(captions), generator=generator) < share
    ids = torch.where(short[:, None], prompts, long)
    return ids[:, : int((ids != 0).sum(1).max())]


def contrastive_loss(network: ClipNetwork, scenes: SceneSet, prompts: Tensor, device: str, share: float = 0.2) -> Loss:
    """InfoNCE in both directions over the batch (CLIP, Radford et al. 2021).

    ``prompts`` are the token ids of the class prompts, ``[64, L]``.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        ids = pick_captions(scenes.captions[rows], prompts[scenes.labels[rows]], share, generator)
        with bf16(device):
            image = network.embed_image(scenes.images(rows).to(device))
            text = network.embed_text(ids.to(device))
        logits = network.log_scale.exp().clamp(max=100) * image @ text.T
        truth = torch.arange(len(rows), device=device)
        return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2

    return loss


def classification_loss(network: ClassifierNetwork, scenes: SceneSet, device: str) -> Loss:
    """Cross-entropy over the classes of the main object."""

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        with bf16(device):
            scores = network(scenes.images(rows).to(device))
        return F.cross_entropy(scores.float(), scenes.labels[rows].to(device))

    return loss


def _edges(x: Tensor) -> Tensor:
    return torch.cat([(x[..., 1:, :] - x[..., :-1, :]).flatten(1), (x[..., 1:] - x[..., :-1]).flatten(1)], dim=1)


def reconstruction_error(made: Tensor, wanted: Tensor) -> Tensor:
    """How far a picture is off: absolute error of its pixels and of its edges."""
    return (made - wanted).abs().mean() + (_edges(made) - _edges(wanted)).abs().mean()


def random_perturbation(x: Tensor, generator: torch.Generator) -> Tensor:
    """A random change within an L∞ ball of a random radius up to ``MAX_PERTURBATION``.

    Noise of several grains is mixed at random and driven towards its bounds, as a signed gradient
    would be, but knows neither attack nor victim. Gaussian noise has no coarse part to speak of,
    so that of a purifier that only saw such a tint is taken for the light of the scene.
    """
    total = torch.zeros_like(x)
    for grain in PERTURBATION_SCALES:
        weight = torch.rand(len(x), 1, 1, 1, generator=generator).square()
        small = torch.randn(*x.shape[:2], *(side // grain for side in x.shape[2:]), generator=generator)
        total += weight * F.interpolate(small, x.shape[2:], mode="bicubic")
    radius = MAX_PERTURBATION * torch.rand(len(x), 1, 1, 1, generator=generator)
    return radius * torch.tanh(3 * total)


def corrupted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images with Gaussian noise of a random strength and blotches, in [0, 1]."""
    strength = MAX_NOISE * torch.rand(len(x), 1, 1, 1, generator=generator)
    change = strength * torch.randn(x.shape, generator=generator) + random_perturbation(x, generator)
    return (x + change).clamp(0, 1)


def autoencoder_loss(
    network: AutoencoderNetwork, scenes: SceneSet, device: str, divergence: float, *, plain: bool = False
) -> Loss:
    """Reconstruction, and for a VAE the divergence of the posterior from the prior.

    What is encoded is corrupted (a denoising autoencoder, Vincent et al. 2008), unless it shall be
    ``plain``, one off the shelf: an autoencoder of clean images alone keeps much of a change.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = scenes.images(rows)
        noisy = x if plain else corrupted(x, generator)
        x = x.to(device)
        with bf16(device):
            mean, log_variance = network.encode(noisy.to(device))
        mean, log_variance = mean.float(), log_variance.float()
        noise = torch.randn(mean.shape, generator=generator).to(device)
        with bf16(device):
            made = network.decode(mean + (0.5 * log_variance).exp() * noise)
        if not network.variational:
            return reconstruction_error(made, x)
        surplus = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return reconstruction_error(made, x) + divergence * surplus

    return loss


def denoising_loss(network: DenoiserNetwork, scenes: SceneSet, device: str) -> Loss:
    """The simple loss of DDPM; small steps are drawn more often, since purifiers use those.

    From ``FIRST_STEP`` on half of the pictures carry blotches too, and what is called noise is all
    that parts the input from the clean picture.
    """
    schedule = NoiseSchedule()

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = scenes.images(rows) * 2 - 1
        t = (torch.rand(len(rows), generator=generator).pow(3) * schedule.steps).long()
        noise = torch.randn(x.shape, generator=generator)
        stained = (torch.rand(len(rows), generator=generator) < 0.5) & (t >= FIRST_STEP)
        stain = stained.view(-1, 1, 1, 1) * 2 * random_perturbation(x, generator)
        noised = schedule.noised(x + stain, t, noise)
        wanted = noise + schedule.signal_to_noise(t) * stain
        with bf16(device):
            guess = network(noised.to(device), t.to(device))
        return F.mse_loss(guess, wanted.to(device))

    return loss


def restoration_loss(network: DenoiserNetwork, scenes: SceneSet, device: str) -> Loss:
    """The clean picture in one stride, from the small steps that purifiers begin at.

    A denoiser is asked for the mean of all noise that could be there; what is looked at
    afterwards is a picture, and a mean over pictures has soft edges.
    """
    schedule = NoiseSchedule()

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = scenes.images(rows) * 2 - 1
        t = torch.randint(FIRST_STEP, LAST_STEP, (len(rows),), generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        noised = schedule.noised(x + 2 * random_perturbation(x, generator), t, noise).to(device)
        with bf16(device):
            guess = network(noised, t.to(device))
        kept = schedule.alpha_bar[t].view(-1, 1, 1, 1).to(device)
        made = (noised - (1 - kept).sqrt() * guess) / kept.sqrt()
        return reconstruction_error(made, x.to(device))

    return loss


THREAT = Threat(norm="linf", eps=8 / 255, grid=LEVELS)
INNER = PGD(steps=2, step=6 / 255, keep_best=False, early_exit=True)
"""Short, and on each sample only until it is fooled (friendly training, Zhang et al. 2020).

At the start of a training all are fooled at once and the scenes are nearly clean; the attack grows
with the network, so no schedule of the radius is needed.
"""


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The objective of the inner attack: the cross-entropy of each sample.

    Attributes:
        network: images to scores ``[B, K]``.
        truth: the class of each sample, ``[B]``.
    """

    network: nn.Module
    truth: Tensor

    @property
    def parts(self) -> Sequence[CrossEntropy]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The network."""
        return (self.network,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Cross-entropy ``[B]``, and whether the answer is wrong."""
        scores = self.network(x).float()
        wrong = scores.detach().argmax(1) != self.truth
        return Evaluation(F.cross_entropy(scores, self.truth, reduction="none"), wrong)

    def take(self, rows: Tensor) -> CrossEntropy:
        """The same objective for some of the samples."""
        return replace(self, truth=self.truth[rows])


def adversarial_loss(
    network: ClassifierNetwork, scenes: SceneSet, device: str, inner: PGD = INNER, threat: Threat = THREAT
) -> Loss:
    """Cross-entropy on what a short attack makes of the batch (Madry et al. 2018).

    The attack sees the network in eval mode and differentiates to pixels only.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x, truth = scenes.images(rows).to(device), scenes.labels[rows].to(device)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        objective = CrossEntropy(network=network, truth=truth)
        with bf16(device):
            attacked = inner(objective, x, threat, Keys.of(seed, range(len(rows)))).x
            scores = network(attacked)
        return F.cross_entropy(scores.float(), truth)

    return loss
