"""Losses and clean figures of the masked language model and of the captioner."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.metrics.bleu import bleu
from secondlook.metrics.cider import Cider
from secondlook.randomness import Keys
from secondlook.scenes.models.captioner import CaptionerNetwork, SceneCaptioner
from secondlook.scenes.models.masked_lm import MaskedLmNetwork
from secondlook.scenes.parsing import verify
from secondlook.scenes.sampling import sample
from secondlook.scenes.tokenizer import PAD, UNK
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Loss
from secondlook.scenes.training.losses import pick_captions

SHARE = 0.15
"""Share of the words that are masked (BERT, arXiv 1810.04805, section 3.1)."""


def masked_lm_loss(network: MaskedLmNetwork, scenes: SceneSet, prompts: Tensor, device: str) -> Loss:
    """The :func:`masked_cross_entropy` at captions of scenes.

    ``prompts`` are the token ids of the class prompts, ``[64, L]``; a tenth of the texts are such.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        ids = pick_captions(scenes.captions[rows], prompts[scenes.labels[rows]], 0.1, generator)
        return masked_cross_entropy(network, ids, generator, device)

    return loss


def masked_cross_entropy(
    network: MaskedLmNetwork, ids: Tensor, generator: torch.Generator, device: str, share: float = SHARE
) -> Tensor:
    """Cross-entropy of the masked words: 80 % are masks, 10 % other words, 10 % themselves.

    Args:
        network: what is trained.
        ids: texts as tokens ``[B, L]``.
        generator: draws positions and words.
        device: where the network is.
        share: share of the words that are masked.
    """
    masked = (torch.rand(ids.shape, generator=generator) < share) & (ids > UNK)
    fate = torch.rand(ids.shape, generator=generator)
    other = torch.randint(UNK + 1, network.mask_id, ids.shape, generator=generator)
    shown = torch.where(masked & (fate < 0.8), network.mask_id, ids)
    shown = torch.where(masked & (fate >= 0.9), other, shown)
    scores = network.score(network.encode(shown.to(device))[masked.to(device)])
    return F.cross_entropy(scores, ids[masked].to(device))


def masked_lm_figures(network: MaskedLmNetwork, scenes: SceneSet) -> dict[str, float]:
    """The figures of :func:`masked_accuracy` on all captions of ``scenes``."""
    return masked_accuracy(network, scenes.captions.flatten(0, 1))


@torch.no_grad()
def masked_accuracy(network: MaskedLmNetwork, ids: Tensor) -> dict[str, float]:
    """How often a masked word is predicted first, and how often among the first ten.

    One mask in every text of ``ids`` ``[B, L]``, at a drawn position; each has a known word.
    """
    draws = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0))
    place = draws.masked_fill(ids <= UNK, -1).argmax(1, keepdim=True)
    truth, shown = ids.gather(1, place)[:, 0], ids.scatter(1, place, network.mask_id)
    rows = torch.arange(len(ids)).split(500)
    known = [network.encode(shown[part])[range(len(part)), place[part, 0]] for part in rows]
    first = network.score(torch.cat(known)).topk(10).indices == truth[:, None]
    return {"masked_accuracy": float(first[:, 0].float().mean()), "masked_top10": float(first.any(1).float().mean())}


CAPTIONS_PER_STEP = 2
"""Captions of a scene, of its five, that are trained on in one step."""


def captioning_loss(network: CaptionerNetwork, scenes: SceneSet, device: str) -> Loss:
    """Cross-entropy of each word given the image and the words before it (teacher forcing).

    In fp32: half of the work is in narrow layers, which are no faster in bf16 on a CPU.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        five = scenes.captions[rows]
        order = torch.rand(five.shape[:2], generator=generator).argsort(1)[:, :CAPTIONS_PER_STEP]
        ids = five[torch.arange(len(rows))[:, None], order].flatten(0, 1)
        ids = ids[:, : int((ids != PAD).sum(1).max())].to(device)
        features = network.encode_image(scenes.images(rows).to(device))
        scores = network.next_word_scores(features, ids[:, :-1])
        return F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)

    return loss


def captioner_figures(network: CaptionerNetwork, scenes: SceneSet) -> dict[str, float]:
    """CIDEr-D and BLEU-4 of greedy captions against the five, and which of their claims are true.

    ``main_correct`` is the share that names color and shape of the main object, ``all_correct``
    the share whose every claim is true, ``claims_correct`` the share of all claims that are true.
    """
    captioner = SceneCaptioner("scenes:captioner", network)
    made = [
        text
        for rows in torch.arange(len(scenes)).split(100)
        for text in captioner.caption(scenes.images(rows), Keys.of(0, rows.tolist()), length=40)
    ]
    references = [captioner.tokenizer.decode(five.tolist()) for five in scenes.captions]
    verified = [verify(text, sample(scenes.seed, scenes.split, row)) for row, text in enumerate(made)]
    return {
        "cider": sum(Cider.of(references).scores(made)) / len(made),
        "bleu4": bleu(made, references),
        "main_correct": sum(truth.main for truth in verified) / len(verified),
        "all_correct": sum(truth.whole for truth in verified) / len(verified),
        "claims_correct": sum(truth.true for truth in verified) / max(1, sum(truth.claims for truth in verified)),
    }
