"""An image-text embedder from labelled photographs: their pixels, captions, loss and figures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.data.base import Source
from secondlook.progress import Tick
from secondlook.scenes.networks.photos import PHOTO_SIDE, PhotoNetwork
from secondlook.scenes.training.loop import Loss
from secondlook.scenes.training.objectives import fast
from secondlook.scenes.training.photo_captions import captions

_CHUNK = 500
_MARGIN = 4
_SMOOTHING = 0.1


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """Labelled photographs in memory.

    Attributes:
        pixels: ``[n, 32, 32, 3]`` uint8.
        labels: ``[n]``.
        classes: names, in the order of the labels.
        prompt: the template of a class name that figures are measured with.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    prompt: str

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows: Tensor) -> Tensor:
        """Pixels ``[B, 3, 32, 32]`` of ``rows`` in [0, 1]."""
        return self.pixels[rows].permute(0, 3, 1, 2).float() / 255

    def varied(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The same, each shifted by up to four pixels and half of them mirrored."""
        n, side = len(rows), PHOTO_SIDE
        padded = F.pad(self.images(rows), [_MARGIN] * 4, mode="reflect")
        corner = torch.randint(2 * _MARGIN + 1, (n, 2, 1), generator=generator)
        across = torch.arange(side).expand(n, -1)
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        down, right = corner[:, 0] + across, corner[:, 1] + across
        right = torch.where(mirrored, right.flip(1), right)
        # Channels come last out of this lookup, which is how convolutions want them.
        cut = padded[torch.arange(n)[:, None, None], :, down[:, :, None], right[:, None, :]]
        return cut.permute(0, 3, 1, 2)


def load(source: Source, tick: Tick) -> PhotoSet:
    """Decodes all images of a source of classes."""
    parts, labels = [], []
    starts = range(0, len(source), _CHUNK)
    for done, first in enumerate(starts, start=1):
        rows = range(first, min(first + _CHUNK, len(source)))
        samples = source.read(rows, (PHOTO_SIDE, PHOTO_SIDE))
        parts.append((samples.images * 255).round().byte().permute(0, 2, 3, 1))
        labels.append(samples.truth)
        tick(done, len(starts), "reading photographs")
    return PhotoSet(
        pixels=torch.cat(parts).contiguous(), labels=torch.cat(labels),
        classes=tuple(source.classes), prompt=source.prompt,
    )  # fmt: skip


def naming(network: PhotoNetwork, photos: PhotoSet, device: str) -> Loss:
    """Cross-entropy of each photograph over one caption of each class, drawn anew at each step.

    Captions tell no more than the class, so that those of other photographs of the same class are
    no negatives (UniCL, Yang et al. 2022); one caption a class stands for them all.
    """
    tokens = [torch.from_numpy(network.tokenizer.encode(own)) for own in captions(photos.classes)]

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        chosen = [int(torch.randint(len(own), (1,), generator=generator)) for own in tokens]
        ids = torch.stack([own[row] for own, row in zip(tokens, chosen, strict=True)])
        ids = ids[:, : int((ids != 0).sum(1).max())]
        with fast(device):
            image = network.embed_image(photos.varied(rows, generator).to(device))
            text = network.embed_text(ids.to(device))
        logits = network.log_scale.exp().clamp(max=100) * image @ text.T
        truth = photos.labels[rows].to(device)
        return F.cross_entropy(logits, truth, label_smoothing=_SMOOTHING)

    return loss


@torch.no_grad()
def figures(network: PhotoNetwork, photos: PhotoSet) -> dict[str, float]:
    """Zero-shot top-1 with the source's own prompt."""
    prompts = [photos.prompt.format(name) for name in photos.classes]
    texts = network.embed_text(torch.from_numpy(network.tokenizer.encode(prompts)))
    right = 0
    for rows in torch.arange(len(photos)).split(250):
        answer = (network.embed_image(photos.images(rows)) @ texts.T).argmax(1)
        right += int((answer == photos.labels[rows]).sum())
    return {"zero_shot_top1": right / len(photos)}
