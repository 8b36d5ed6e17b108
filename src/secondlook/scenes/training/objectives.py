"""The losses of the recipes: contrastive, reconstruction, evidence bound, denoising."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.scenes.networks.autoencoder import AutoencoderNetwork
from secondlook.scenes.networks.classifier import ClassifierNetwork
from secondlook.scenes.networks.clip import ClipNetwork
from secondlook.scenes.networks.denoiser import DenoiserNetwork, Schedule
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.loop import Loss

NOISIEST = 0.06
"""The largest deviation of the noise that the autoencoders learn to leave out, in pixel units."""
STRONGEST = 14 / 255
"""The largest change of a channel that the purifiers learn to take back."""
GRAINS = (1, 2, 4, 8, 16)
"""Widths, in pixels, of the blotches that such a change is made of."""
EARLIEST = 15
"""The first step of a diffusion whose noise is wide enough to hide a blotch."""
LATEST = 120
"""The last step, of a thousand, that a purifier of scenes may sensibly begin at."""


def fast(device: str) -> torch.autocast:
    """bf16 for the layers; every loss below is computed in fp32."""
    return torch.autocast(device, torch.bfloat16)


def pick(captions: Tensor, titles: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """One caption of each scene; for a ``share`` of them the title of its main thing instead."""
    which = torch.randint(captions.shape[1], (len(captions),), generator=generator)
    long = captions[torch.arange(len(captions)), which]
    short = torch.rand(len(captions), generator=generator) < share
    ids = torch.where(short[:, None], titles, long)
    return ids[:, : int((ids != 0).sum(1).max())]


def contrastive(
    network: ClipNetwork, scenes: SceneSet, titles: Tensor, device: str, share: float = 0.2
) -> Loss:
    """InfoNCE in both directions over the batch (CLIP, Radford et al. 2021).

    ``titles`` are the token ids of the class prompts, ``[64, L]``.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        ids = pick(scenes.captions[rows], titles[scenes.labels[rows]], share, generator)
        with fast(device):
            image = network.embed_image(scenes.images(rows).to(device))
            text = network.embed_text(ids.to(device))
        logits = network.log_scale.exp().clamp(max=100) * image @ text.T
        truth = torch.arange(len(rows), device=device)
        return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2

    return loss


def classifying(network: ClassifierNetwork, scenes: SceneSet, device: str) -> Loss:
    """Cross-entropy over the classes of the main thing."""

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        with fast(device):
            scores = network(scenes.images(rows).to(device))
        return F.cross_entropy(scores.float(), scenes.labels[rows].to(device))

    return loss


def _edges(x: Tensor) -> Tensor:
    return torch.cat([(x[..., 1:, :] - x[..., :-1, :]).flatten(1),
                      (x[..., 1:] - x[..., :-1]).flatten(1)], dim=1)  # fmt: skip


def likeness(made: Tensor, wanted: Tensor) -> Tensor:
    """How far a picture is off: absolute error of its pixels and of its edges."""
    return (made - wanted).abs().mean() + (_edges(made) - _edges(wanted)).abs().mean()


def blotches(x: Tensor, generator: torch.Generator) -> Tensor:
    """A random change of each image, within an L∞ ball of a random radius up to ``STRONGEST``.

    Noise of several grains is mixed at random and driven towards its bounds, as a signed gradient
    would be, but knows neither attack nor victim. Gaussian noise has no coarse part to speak of,
    so that of a purifier that only saw such a tint is taken for the light of the scene.
    """
    total = torch.zeros_like(x)
    for grain in GRAINS:
        weight = torch.rand(len(x), 1, 1, 1, generator=generator).square()
        small = torch.randn(*x.shape[:2], *(side // grain for side in x.shape[2:]),
                            generator=generator)  # fmt: skip
        total += weight * F.interpolate(small, x.shape[2:], mode="bicubic")
    radius = STRONGEST * torch.rand(len(x), 1, 1, 1, generator=generator)
    return radius * torch.tanh(3 * total)


def autoencoding(
    network: AutoencoderNetwork, scenes: SceneSet, device: str, divergence: float
) -> Loss:
    """Reconstruction, and for a VAE the divergence of the posterior from the prior.

    What is encoded carries Gaussian noise of a random strength (a denoising autoencoder, Vincent
    et al. 2008): of an autoencoder that has only seen clean pictures much of a change survives.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = scenes.images(rows)
        strength = NOISIEST * torch.rand(len(x), 1, 1, 1, generator=generator)
        change = strength * torch.randn(x.shape, generator=generator) + blotches(x, generator)
        noisy = (x + change).clamp(0, 1)
        x = x.to(device)
        with fast(device):
            mean, log_variance = network.encode(noisy.to(device))
        mean, log_variance = mean.float(), log_variance.float()
        noise = torch.randn(mean.shape, generator=generator).to(device)
        with fast(device):
            made = network.decode(mean + (0.5 * log_variance).exp() * noise)
        if not network.variational:
            return likeness(made, x)
        surplus = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return likeness(made, x) + divergence * surplus

    return loss


def denoising(network: DenoiserNetwork, scenes: SceneSet, device: str) -> Loss:
    """The simple loss of DDPM; small steps are seen more often, since purifiers use those.

    From ``EARLIEST`` on half of the pictures carry blotches too, and what is called noise is all
    that parts the input from the clean picture.
    """
    schedule = Schedule()

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = scenes.images(rows) * 2 - 1
        t = (torch.rand(len(rows), generator=generator).pow(3) * schedule.steps).long()
        noise = torch.randn(x.shape, generator=generator)
        stained = (torch.rand(len(rows), generator=generator) < 0.5) & (t >= EARLIEST)
        stain = stained.view(-1, 1, 1, 1) * 2 * blotches(x, generator)
        noised = schedule.noised(x + stain, t, noise)
        wanted = noise + schedule.ratio(t) * stain
        with fast(device):
            guess = network(noised.to(device), t.to(device))
        return F.mse_loss(guess, wanted.to(device))

    return loss


def restoring(network: DenoiserNetwork, scenes: SceneSet, device: str) -> Loss:
    """The clean picture in one stride, from the small steps that purifiers begin at.

    A denoiser is asked for the mean of all noise that could be there; what is looked at
    afterwards is a picture, and a mean over pictures has soft edges.
    """
    schedule = Schedule()

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = scenes.images(rows) * 2 - 1
        t = torch.randint(EARLIEST, LATEST, (len(rows),), generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        noised = schedule.noised(x + 2 * blotches(x, generator), t, noise).to(device)
        with fast(device):
            guess = network(noised, t.to(device))
        kept = schedule.kept[t].view(-1, 1, 1, 1).to(device)
        made = (noised - (1 - kept).sqrt() * guess) / kept.sqrt()
        return likeness(made, x.to(device))

    return loss
