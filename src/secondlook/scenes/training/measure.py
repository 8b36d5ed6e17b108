"""Clean figures of the embedded world's models, measured on scenes that no training saw."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secondlook.attacks.pgd import PGD
from secondlook.randomness import Keys
from secondlook.scenes.models.captioner import CaptionerNetwork
from secondlook.scenes.models.classifier import ClassifierNetwork
from secondlook.scenes.models.clip import ClipNetwork
from secondlook.scenes.models.masked_lm import MaskedLmNetwork
from secondlook.scenes.models.painter import PainterNetwork
from secondlook.scenes.models.purifiers import AutoencoderNetwork, DenoiserNetwork, NoiseSchedule
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.losses import THREAT, CrossEntropy
from secondlook.scenes.training.painter import painter_figures
from secondlook.scenes.training.text_losses import captioner_figures, masked_lm_figures

Figures = dict[str, float]


def hit_rate(similarity: Tensor, owner: Tensor) -> float:
    """R@1: share of queries ``[Q, G]`` whose first gallery item is their own.

    ``owner[q, g]`` is True where item ``g`` belongs to query ``q``.
    """
    first = similarity.argmax(1, keepdim=True)
    return float(owner.gather(1, first).float().mean())


@torch.no_grad()
def embed(network: ClipNetwork, scenes: SceneSet) -> tuple[Tensor, Tensor]:
    """Image vectors ``[n, D]`` and caption vectors ``[5 n, D]``."""
    rows = torch.arange(len(scenes)).split(250)
    images = torch.cat([network.embed_image(scenes.images(part)) for part in rows])
    texts = torch.cat([network.embed_text(scenes.captions[part].flatten(0, 1)) for part in rows])
    return images, texts


@torch.no_grad()
def clip_figures(network: ClipNetwork, scenes: SceneSet, prompts: Tensor) -> Figures:
    """Zero-shot top-1 over the 64 classes, and R@1 both ways over the scenes and their captions."""
    images, texts = embed(network, scenes)
    answer = (images @ network.embed_text(prompts).T).argmax(1)
    home = torch.arange(len(scenes)).repeat_interleave(5)
    owner = home[None, :] == torch.arange(len(scenes))[:, None]
    similarity = images @ texts.T
    return {
        "zero_shot_top1": float((answer == scenes.labels).float().mean()),
        "image_to_text_r1": hit_rate(similarity, owner),
        "text_to_image_r1": hit_rate(similarity.T, owner.T),
    }


def classifier_figures(network: ClassifierNetwork, scenes: SceneSet) -> Figures:
    """Top-1 on clean scenes, and on those that PGD of 20 steps made of them within 8/255."""
    attack, clean, robust = PGD(steps=20, early_exit=True), 0, 0
    for rows in torch.arange(len(scenes)).split(250):
        x, truth = scenes.images(rows), scenes.labels[rows]
        objective = CrossEntropy(network=network, truth=truth)
        attacked = attack(objective, x, THREAT, Keys.of(0, rows.tolist())).x
        with torch.no_grad():
            clean += int((network(x).argmax(1) == truth).sum())
            robust += int((network(attacked).argmax(1) == truth).sum())
    return {"top1": clean / len(scenes), "pgd20_top1_8_255": robust / len(scenes)}


@torch.no_grad()
def autoencoder_figures(network: AutoencoderNetwork, scenes: SceneSet) -> Figures:
    """Peak signal-to-noise ratio of the reconstruction from the posterior's mean, in dB."""
    x = scenes.images(torch.arange(len(scenes)))
    made = torch.cat([network.decode(network.encode(part).mean) for part in x.split(250)])
    return {"psnr_db": psnr(made, x)}


@torch.no_grad()
def denoiser_figures(network: DenoiserNetwork, scenes: SceneSet, t: int = 100) -> Figures:
    """Peak signal-to-noise ratio of one-step denoising from step 100, in dB."""
    x = scenes.images(torch.arange(len(scenes))) * 2 - 1
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    schedule, steps = NoiseSchedule(), torch.full((len(x),), t)
    kept = schedule.alpha_bar[t]
    noised = schedule.noised(x, steps, noise)
    parts = zip(noised.split(250), steps.split(250), strict=True)
    guess = torch.cat([network(part, step) for part, step in parts])
    made = (noised - (1 - kept).sqrt() * guess) / kept.sqrt()
    return {"psnr_db": psnr((made.clamp(-1, 1) + 1) / 2, (x + 1) / 2)}


def psnr(made: Tensor, wanted: Tensor) -> float:
    """Mean over images of the peak signal-to-noise ratio, in dB."""
    error = (made - wanted).square().flatten(1).mean(1).clamp_min(1e-12)
    return float((-10 * error.log10()).mean())


def figures(network: nn.Module, scenes: SceneSet, prompts: Tensor) -> Figures:
    """The clean figures that fit the kind of ``network``."""
    if isinstance(network, ClipNetwork):
        return clip_figures(network, scenes, prompts)
    if isinstance(network, ClassifierNetwork):
        return classifier_figures(network, scenes)
    if isinstance(network, AutoencoderNetwork):
        return autoencoder_figures(network, scenes)
    if isinstance(network, DenoiserNetwork):
        return denoiser_figures(network, scenes)
    if isinstance(network, MaskedLmNetwork):
        return masked_lm_figures(network, scenes)
    if isinstance(network, CaptionerNetwork):
        return captioner_figures(network, scenes)
    if isinstance(network, PainterNetwork):
        return painter_figures(network, scenes)
    raise TypeError(f"no clean figure is defined for {type(network).__name__}")
