"""Painting sentences: the painter's loss, what it starts from, and its clean figures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.networks.autoencoder import AutoencoderNetwork
from secondlook.scenes.networks.painter import PainterNetwork
from secondlook.scenes.painter import ScenePainter
from secondlook.scenes.sampling import sample
from secondlook.scenes.styling import OF_A_THING, STYLE, THINGS, style
from secondlook.scenes.tokenizer import BOS, EOS, PAD, Tokenizer
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.loop import Loss
from secondlook.scenes.training.objectives import pick
from secondlook.scenes.world import COLOURS

TITLED = 0.15
"""Share of the pictures that are told by the name of their class alone."""
UNTOLD = 0.1
"""Share of the pictures that are painted without a sentence (arXiv 2207.12598)."""
LATE = 0.5
"""Mean of the logit of the times that are learnt at; above 0 noise prevails."""
POSED = 1.5
"""The same, where the style is told: one step from noise is most of the way then."""


def painting(
    network: PainterNetwork, scenes: SceneSet, titles: Tensor, device: str,
    vae: AutoencoderNetwork | None = None,
) -> Loss:  # fmt: skip
    """Rectified flow between pictures and noise in the latent of ``vae``, ``scenes:vae``'s own.

    Times are drawn with a normal logit (arXiv 2403.03206, section 3.1). The network is given the
    VAE's decoder and the measure of its latents. In fp32: narrow layers are no faster in bf16.
    ``titles`` are the token ids of the class prompts, ``[64, L]``; a few of the texts are such.
    """
    vae = vae or load("scenes:vae").network
    network.decoder.load_state_dict(vae.decoder.state_dict())
    pictures = _encoded(vae, scenes)
    spread = pictures[:2000].float()
    network.mean.copy_(spread.mean((0, 2, 3), keepdim=True))
    network.deviation.copy_(spread.std((0, 2, 3), keepdim=True))

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        told = pick(scenes.captions[rows], titles[scenes.labels[rows]], TITLED, generator)
        ids = _untold(told, generator).to(device)
        picture = (pictures[rows].float().to(device) - network.mean) / network.deviation
        noise = torch.randn(picture.shape, generator=generator).to(device)
        t = torch.sigmoid(LATE + torch.randn(len(rows), generator=generator)).to(device)
        at = t.view(-1, 1, 1, 1)
        flow = network((1 - at) * picture + at * noise, t, network.read(ids), ids != PAD)
        return F.mse_loss(flow, noise - picture)

    return loss


def posing(network: PainterNetwork, scenes: SceneSet, titles: Tensor, device: str) -> Loss:
    """The same flow, told besides how each thing lies and is turned, mostly from nearly noise.

    What a sentence leaves open is what a flow takes longest to learn. The numbers that the
    renderer drew stand for it here; of a new picture they are drawn anew.
    """
    pictures, told = _encoded(load("scenes:vae").network, scenes), _styles(scenes)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        which = torch.randint(scenes.captions.shape[1], (len(rows),), generator=generator)
        short = torch.rand(len(rows), generator=generator) < TITLED
        long = scenes.captions[rows, which]
        ids = torch.where(short[:, None], titles[scenes.labels[rows]], long)
        ids = _untold(ids[:, : int((ids != PAD).sum(1).max())], generator).to(device)
        pose = told[rows, which]
        pose = torch.where(pose.isnan(), torch.rand(pose.shape, generator=generator), pose)
        picture = (pictures[rows].float().to(device) - network.mean) / network.deviation
        noise = torch.randn(picture.shape, generator=generator).to(device)
        t = torch.sigmoid(POSED + 1.5 * torch.randn(len(rows), generator=generator)).to(device)
        at, mask = t.view(-1, 1, 1, 1), ids != PAD
        mixed = (1 - at) * picture + at * noise
        flow = network(mixed, t, network.read(ids), mask, pose.to(device))
        return F.mse_loss(flow, noise - picture)

    return loss


def _styles(scenes: SceneSet) -> Tensor:
    """Styles ``[n, 5, S]``: in each caption's the things come in the order it names them in."""
    known = [sample(scenes.seed, scenes.split, row) for row in range(len(scenes))]
    found = torch.from_numpy(np.stack([style(scene) for scene in known]))
    found = found[:, None].repeat(1, scenes.captions.shape[1], 1)
    words = {name: int(Tokenizer().encode([name])[0, 1]) for name in COLOURS}
    pairs = [row for row, scene in enumerate(known) if len(scene.others) == THINGS - 1]
    others = [[words[thing.colour] for thing in known[row].others] for row in pairs]
    first, second = (
        (scenes.captions[pairs] == colour[:, None, None]).int().argmax(-1)
        for colour in torch.tensor(others).view(-1, 2).unbind(1)
    )
    main, one, two, rest = found[pairs].split(
        [OF_A_THING] * THINGS + [STYLE - THINGS * OF_A_THING], -1
    )
    turned = torch.cat([main, two, one, rest], -1)
    found[pairs] = torch.where((first > second)[..., None], turned, found[pairs])
    return found


@torch.no_grad()
def _encoded(vae: AutoencoderNetwork, scenes: SceneSet) -> Tensor:
    """The latents of all scenes, ``[n, 8, 16, 16]``, in half precision."""
    parts = torch.arange(len(scenes)).split(250)
    return torch.cat([vae.encode(scenes.images(rows)).mean.half() for rows in parts])


def _untold(ids: Tensor, generator: torch.Generator) -> Tensor:
    """The same texts ``[B, L]``, some of them emptied."""
    empty = F.pad(torch.tensor([BOS, EOS]), (0, ids.shape[1] - 2), value=PAD)
    gone = torch.rand(len(ids), generator=generator) < UNTOLD
    return torch.where(gone[:, None], empty, ids)


@torch.no_grad()
def of_painter(network: PainterNetwork, scenes: SceneSet) -> dict[str, float]:
    """What one painting of each scene's first caption is worth, seen by ``scenes:clip``.

    ``named`` is the share whose class among the 64 is the caption's, ``told`` the mean cosine of a
    painting to its caption, ``alike`` to its scene, and ``unlike`` to the next scene.
    """
    painter, eye = ScenePainter("scenes:painter", network), load("scenes:clip")
    names = ZeroShot(eye, class_names(), PROMPT)
    texts = painter.tokenizer.decode(scenes.captions[:, 0].tolist())
    rows = torch.arange(len(scenes)).split(50)
    made = torch.cat(
        [
            painter.paint([texts[row] for row in part.tolist()], Keys.of(0, part.tolist()))
            for part in rows
        ]
    )
    seen = torch.cat([eye.embed(part) for part in made.split(250)])
    shown = torch.cat([eye.embed(scenes.images(part)) for part in rows])
    return {
        "named": float((names.scores(seen).argmax(1) == scenes.labels).float().mean()),
        "told": float((seen * eye.embed_text(texts)).sum(1).mean()),
        "alike": float((seen * shown).sum(1).mean()),
        "unlike": float((seen * shown.roll(1, 0)).sum(1).mean()),
    }
