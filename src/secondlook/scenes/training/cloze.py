"""Filling gaps in captions: the masked language model's loss and its clean figures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.scenes.networks.masked_lm import MaskedLmNetwork
from secondlook.scenes.tokenizer import UNK
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.loop import Loss
from secondlook.scenes.training.objectives import pick

SHARE = 0.15
"""Share of the words that are asked for (BERT, arXiv 1810.04805, section 3.1)."""


def filling(network: MaskedLmNetwork, scenes: SceneSet, titles: Tensor, device: str) -> Loss:
    """The :func:`surprise` at captions of scenes.

    ``titles`` are the token ids of the class prompts, ``[64, L]``; a tenth of the texts are such.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        ids = pick(scenes.captions[rows], titles[scenes.labels[rows]], 0.1, generator)
        return surprise(network, ids, generator, device)

    return loss


def surprise(
    network: MaskedLmNetwork, ids: Tensor, generator: torch.Generator, device: str,
    share: float = SHARE,
) -> Tensor:  # fmt: skip
    """Cross-entropy of the words asked for: 80 % are gaps, 10 % other words, 10 % themselves.

    Args:
        network: what is trained.
        ids: texts as tokens ``[B, L]``.
        generator: draws places and words.
        device: where the network is.
        share: of the words, how many are asked for.
    """
    asked = (torch.rand(ids.shape, generator=generator) < share) & (ids > UNK)
    fate = torch.rand(ids.shape, generator=generator)
    other = torch.randint(UNK + 1, network.gap, ids.shape, generator=generator)
    shown = torch.where(asked & (fate < 0.8), network.gap, ids)
    shown = torch.where(asked & (fate >= 0.9), other, shown)
    scores = network.score(network.read(shown.to(device))[asked.to(device)])
    return F.cross_entropy(scores, ids[asked].to(device))


def of_masked_lm(network: MaskedLmNetwork, scenes: SceneSet) -> dict[str, float]:
    """The figures of :func:`filled` on all captions of ``scenes``."""
    return filled(network, scenes.captions.flatten(0, 1))


@torch.no_grad()
def filled(network: MaskedLmNetwork, ids: Tensor) -> dict[str, float]:
    """How often a gap is filled with the very word, and how often it is among the first ten.

    One gap in every text of ``ids`` ``[B, L]``, at a place that is drawn; each has a known word.
    """
    draws = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0))
    place = draws.masked_fill(ids <= UNK, -1).argmax(1, keepdim=True)
    truth, shown = ids.gather(1, place)[:, 0], ids.scatter(1, place, network.gap)
    rows = torch.arange(len(ids)).split(500)
    known = [network.read(shown[part])[range(len(part)), place[part, 0]] for part in rows]
    first = network.score(torch.cat(known)).topk(10).indices == truth[:, None]
    return {
        "masked_accuracy": float(first[:, 0].float().mean()),
        "masked_top10": float(first.any(1).float().mean()),
    }
