"""The embedded world's painters behind the words that every painter has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from secondlook.ledger import tally
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from secondlook.scenes.imagining import imagined
from secondlook.scenes.networks.painter import LATENT, PainterNetwork
from secondlook.scenes.renderer import render
from secondlook.scenes.tokenizer import PAD, Tokenizer
from secondlook.scenes.world import SIDE


class ScenePainter(Painter):
    """A rectified flow in a latent, in a few Euler steps from noise to a picture.

    Guidance is classifier-free (arXiv 2207.12598): 1 paints what the text says, and above it the
    network is also asked for what it would paint without a text, and goes further away from that.
    """

    size = (SIDE, SIDE)
    steps = 8
    guidance = 2.0
    movable = True

    def __init__(self, name: str, network: PainterNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer = Tokenizer()

    def unread(self, text: str) -> bool:
        room = self.network.position.shape[1]
        return bool((self.tokenizer.encode([text], room + 1) != PAD).sum() > room)

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        ids = torch.from_numpy(self.tokenizer.encode([*texts, ""]))
        ids = ids[:, : int((ids != PAD).sum(1).max())].to(self.network.mean.device)
        words, mask = self.network.read(ids), ids != PAD
        latent = keys.fold("latents").normal(LATENT, like=self.network.mean)
        style = keys.fold("style").uniform((self.network.styles,), like=self.network.mean)
        for step in range(steps):
            t = latent.new_full((len(texts),), 1 - step / steps)
            flow = self._flow(latent, t, words[:-1], mask[:-1], style)
            if guidance != 1:
                rows = [-1] * len(texts)
                blind = self._flow(latent, t, words[rows], mask[rows], style)
                flow = blind + guidance * (flow - blind)
            latent = latent - flow / steps
        return self.network.decode(latent)

    def _flow(
        self, latent: Tensor, t: Tensor, words: Tensor, mask: Tensor, style: Tensor
    ) -> Tensor:
        flow: Tensor = self.network(
            tally(self.name, latent), t, words, mask, style if self.network.styles else None
        )
        return flow


class GrammarPainter(Painter):
    """Reads a text by the grammar of the world's captions and lets the renderer draw it.

    It has no weights and nothing to differentiate, and is as exact as the text. What the text
    leaves open is drawn; what is no part of the grammar is passed over. Steps and guidance change
    nothing.
    """

    size = (SIDE, SIDE)
    steps = 1
    guidance = 1.0
    movable = True

    def __init__(self, name: str) -> None:
        self.name = name

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        words = keys.fold("scene").words
        pictures = [
            render(imagined(text, np.random.default_rng(int(word))))
            for text, word in zip(texts, words, strict=True)
        ]
        made = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        return tally(self.name, made if self.place is None else made.to(self.place))
