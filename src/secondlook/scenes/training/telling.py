"""Putting scenes into words: the captioner's loss and its clean figures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.metrics.bleu import bleu
from secondlook.metrics.cider import Cider
from secondlook.randomness import Keys
from secondlook.scenes.captioner import SceneCaptioner
from secondlook.scenes.networks.captioner import CaptionerNetwork
from secondlook.scenes.sampling import sample
from secondlook.scenes.tokenizer import PAD
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.loop import Loss
from secondlook.scenes.truth import judge

TOLD = 2
"""Captions of a scene, of its five, that are learnt from in one step."""


def telling(network: CaptionerNetwork, scenes: SceneSet, device: str) -> Loss:
    """Cross-entropy of each word given the picture and the words before it (teacher forcing).

    In fp32: half of the work is in narrow layers, which are no faster in bf16 on a CPU.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        five = scenes.captions[rows]
        order = torch.rand(five.shape[:2], generator=generator).argsort(1)[:, :TOLD]
        ids = five[torch.arange(len(rows))[:, None], order].flatten(0, 1)
        ids = ids[:, : int((ids != PAD).sum(1).max())].to(device)
        seen = network.look(scenes.images(rows).to(device))
        scores = network.tell(seen, ids[:, :-1])
        return F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)

    return loss


def of_captioner(network: CaptionerNetwork, scenes: SceneSet) -> dict[str, float]:
    """What greedy captions are worth: CIDEr-D and BLEU-4 against the five, and what of them is so.

    ``main`` is the share that names colour and shape of the main thing, ``whole`` the share whose
    every claim is so, ``claims`` the share of all claims that are.
    """
    teller = SceneCaptioner("scenes:captioner", network)
    said = [
        text
        for rows in torch.arange(len(scenes)).split(100)
        for text in teller.caption(scenes.images(rows), Keys.of(0, rows.tolist()), length=40)
    ]
    meant = [teller.tokenizer.decode(five.tolist()) for five in scenes.captions]
    held = [judge(text, sample(scenes.seed, scenes.split, row)) for row, text in enumerate(said)]
    return {
        "cider": sum(Cider.of(meant).scores(said)) / len(said),
        "bleu4": bleu(said, meant),
        "main": sum(truth.main for truth in held) / len(held),
        "whole": sum(truth.whole for truth in held) / len(held),
        "claims": sum(truth.true for truth in held) / max(1, sum(truth.claims for truth in held)),
    }
