"""The painter's losses, the style codes that they use, and its clean figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.models.painter import PainterNetwork, ScenePainter
from secondlook.scenes.models.purifiers import AutoencoderNetwork
from secondlook.scenes.sampling import (
    COLOR_JITTER,
    GROUND_JITTER,
    JITTER,
    LEVEL,
    PERIOD,
    SLOPE,
    TILT,
    nominal_center,
    sample,
)
from secondlook.scenes.tokenizer import BOS, EOS, PAD, Tokenizer
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Loss
from secondlook.scenes.training.losses import pick_captions
from secondlook.scenes.world import COLOR_RGB, COLORS, GROUND_RGB, RADII, RGB, Scene, SceneObject, Span

PER_OBJECT: Final = 7
OBJECTS: Final = 3
STYLE_SIZE: Final = OBJECTS * PER_OBJECT + 8
"""Numbers in a style: of the main object, of two beside it, of the background and the light."""

Numbers = NDArray[np.float32]


def style_code(scene: Scene) -> Numbers:
    """The numbers of a scene, each uniform in [0, 1] over the world; NaN for objects it has not.

    Things come in the order of ``scene.main`` and ``scene.others``.
    """
    objects = [_of(obj) for obj in (scene.main, *scene.others)]
    objects += [[np.nan] * PER_OBJECT] * (OBJECTS - len(objects))
    ground, light = scene.background, scene.light
    rest = [
        *_shifted(ground.rgb, GROUND_RGB[ground.color], GROUND_JITTER),
        _turned(ground.angle),
        _within(ground.period, PERIOD),
        _within(light.level, LEVEL),
        _within(light.slope, SLOPE),
        _turned(light.angle),
    ]
    return np.array([*sum(objects, []), *rest], dtype=np.float32)


def _of(obj: SceneObject) -> list[float]:
    x, y = nominal_center(obj.size, obj.place)
    tilt = np.pi if obj.shape == "crescent" else TILT
    return [
        _within(obj.cx - x, Span(-JITTER, JITTER)),
        _within(obj.cy - y, Span(-JITTER, JITTER)),
        _within(obj.radius, RADII[obj.size]),
        _within(obj.angle, Span(-tilt, tilt)),
        *_shifted(obj.rgb, COLOR_RGB[obj.color], COLOR_JITTER),
    ]


def _within(value: float, span: Span) -> float:
    return (value - span.low) / (span.high - span.low)


def _turned(angle: float) -> float:
    return angle / (2 * np.pi)


def _shifted(found: Sequence[float], named: RGB, jitter: float) -> list[float]:
    return [_within(own - all_, Span(-jitter, jitter)) for own, all_ in zip(found, named, strict=True)]


TITLE_SHARE = 0.15
"""Share of the images with the name of their class alone as caption."""
UNCONDITIONAL_SHARE = 0.1
"""Share of the images that are painted without a sentence (arXiv 2207.12598)."""
MEAN_LOGIT = 0.5
"""Mean of the logit of the times that are trained at; above 0 noise prevails."""
STYLED_MEAN_LOGIT = 1.5
"""The same with style codes: one step from noise is most of the way then."""


def painting_loss(
    network: PainterNetwork, scenes: SceneSet, prompts: Tensor, device: str, vae: AutoencoderNetwork | None = None
) -> Loss:
    """Rectified flow between images and noise in the latent space of ``vae``, ``scenes:vae``'s own.

    Times are drawn with a normal logit (arXiv 2403.03206, section 3.1). The network is given the
    VAE's decoder and the mean and deviation of its latents. In fp32:
    narrow layers are no faster in bf16.
    ``prompts`` are the token ids of the class prompts, ``[64, L]``; a few of the texts are such.
    """
    vae = vae or load("scenes:vae").network
    network.decoder.load_state_dict(vae.decoder.state_dict())
    latents = _encoded(vae, scenes)
    spread = latents[:2000].float()
    network.mean.copy_(spread.mean((0, 2, 3), keepdim=True))
    network.deviation.copy_(spread.std((0, 2, 3), keepdim=True))

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        texts = pick_captions(scenes.captions[rows], prompts[scenes.labels[rows]], TITLE_SHARE, generator)
        ids = _drop_captions(texts, generator).to(device)
        clean = (latents[rows].float().to(device) - network.mean) / network.deviation
        noise = torch.randn(clean.shape, generator=generator).to(device)
        t = torch.sigmoid(MEAN_LOGIT + torch.randn(len(rows), generator=generator)).to(device)
        at = t.view(-1, 1, 1, 1)
        flow = network((1 - at) * clean + at * noise, t, network.encode_text(ids), ids != PAD)
        return F.mse_loss(flow, noise - clean)

    return loss


def styled_painting_loss(network: PainterNetwork, scenes: SceneSet, prompts: Tensor, device: str) -> Loss:
    """The same flow, with the pose of each object as style code, mostly from nearly noise.

    What a sentence leaves open is what a flow takes longest to learn. The numbers that the
    renderer drew stand for it here; for a new image they are drawn anew.
    """
    latents, styles = _encoded(load("scenes:vae").network, scenes), _styles(scenes)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        which = torch.randint(scenes.captions.shape[1], (len(rows),), generator=generator)
        short = torch.rand(len(rows), generator=generator) < TITLE_SHARE
        long = scenes.captions[rows, which]
        ids = torch.where(short[:, None], prompts[scenes.labels[rows]], long)
        ids = _drop_captions(ids[:, : int((ids != PAD).sum(1).max())], generator).to(device)
        pose = styles[rows, which]
        pose = torch.where(pose.isnan(), torch.rand(pose.shape, generator=generator), pose)
        clean = (latents[rows].float().to(device) - network.mean) / network.deviation
        noise = torch.randn(clean.shape, generator=generator).to(device)
        t = torch.sigmoid(STYLED_MEAN_LOGIT + 1.5 * torch.randn(len(rows), generator=generator)).to(device)
        at, mask = t.view(-1, 1, 1, 1), ids != PAD
        mixed = (1 - at) * clean + at * noise
        flow = network(mixed, t, network.encode_text(ids), mask, pose.to(device))
        return F.mse_loss(flow, noise - clean)

    return loss


def _styles(scenes: SceneSet) -> Tensor:
    """Styles ``[n, 5, S]``: in each caption's the objects come in the order it names them in."""
    known = [sample(scenes.seed, scenes.split, row) for row in range(len(scenes))]
    found = torch.from_numpy(np.stack([style_code(scene) for scene in known]))
    found = found[:, None].repeat(1, scenes.captions.shape[1], 1)
    words = {name: int(Tokenizer().encode([name])[0, 1]) for name in COLORS}
    pairs = [row for row, scene in enumerate(known) if len(scene.others) == OBJECTS - 1]
    others = [[words[obj.color] for obj in known[row].others] for row in pairs]
    first, second = (
        (scenes.captions[pairs] == color[:, None, None]).int().argmax(-1)
        for color in torch.tensor(others).view(-1, 2).unbind(1)
    )
    main, one, two, rest = found[pairs].split([PER_OBJECT] * OBJECTS + [STYLE_SIZE - OBJECTS * PER_OBJECT], -1)
    turned = torch.cat([main, two, one, rest], -1)
    found[pairs] = torch.where((first > second)[..., None], turned, found[pairs])
    return found


@torch.no_grad()
def _encoded(vae: AutoencoderNetwork, scenes: SceneSet) -> Tensor:
    """The latents of all scenes, ``[n, 8, 16, 16]``, in half precision."""
    parts = torch.arange(len(scenes)).split(250)
    return torch.cat([vae.encode(scenes.images(rows)).mean.half() for rows in parts])


def _drop_captions(ids: Tensor, generator: torch.Generator) -> Tensor:
    """The same texts ``[B, L]``, some of them emptied."""
    empty = F.pad(torch.tensor([BOS, EOS]), (0, ids.shape[1] - 2), value=PAD)
    gone = torch.rand(len(ids), generator=generator) < UNCONDITIONAL_SHARE
    return torch.where(gone[:, None], empty, ids)


@torch.no_grad()
def painter_figures(network: PainterNetwork, scenes: SceneSet) -> dict[str, float]:
    """Figures of one painting of each scene's first caption, by ``scenes:clip``.

    ``class_accuracy`` is the share whose class among the 64 is the caption's; the cosines are means
    of a painting to its caption, to its scene, and to the next scene.
    """
    painter, encoder = ScenePainter("scenes:painter", network), load("scenes:clip")
    names = ZeroShot(encoder, class_names(), PROMPT)
    texts = painter.tokenizer.decode(scenes.captions[:, 0].tolist())
    rows = torch.arange(len(scenes)).split(50)
    made = torch.cat([painter.paint([texts[row] for row in part.tolist()], Keys.of(0, part.tolist())) for part in rows])
    painted = torch.cat([encoder.embed(part) for part in made.split(250)])
    rendered = torch.cat([encoder.embed(scenes.images(part)) for part in rows])
    return {
        "class_accuracy": float((names.scores(painted).argmax(1) == scenes.labels).float().mean()),
        "caption_cosine": float((painted * encoder.embed_text(texts)).sum(1).mean()),
        "scene_cosine": float((painted * rendered).sum(1).mean()),
        "other_scene_cosine": float((painted * rendered.roll(1, 0)).sum(1).mean()),
    }
