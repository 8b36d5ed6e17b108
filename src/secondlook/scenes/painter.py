"""The embedded world's painters behind the words that every painter has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.ledger import tally
from secondlook.models.painter import Painter, SoftPainter
from secondlook.randomness import Keys
from secondlook.scenes.imagining import imagined
from secondlook.scenes.networks.painter import LATENT, PainterNetwork
from secondlook.scenes.renderer import render
from secondlook.scenes.tokenizer import BOS, PAD, Tokenizer
from secondlook.scenes.world import SIDE


class Told(NamedTuple):
    """What the network makes of texts: meanings ``[B, L, V]``, and ``[B, L]``, True at words."""

    words: Tensor
    mask: Tensor

    def repeated(self, times: int) -> Told:
        """One text, so many times."""
        return Told(self.words[[0] * times], self.mask[[0] * times])


class ScenePainter(SoftPainter):
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
        self.vocabulary = self.tokenizer.hash

    def unread(self, text: str) -> bool:
        room = self.network.position.shape[1]
        return bool((self.tokenizer.encode([text], room + 1) != PAD).sum() > room)

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        ids = torch.from_numpy(self.tokenizer.encode([*texts, ""]))
        ids = ids[:, : int((ids != PAD).sum(1).max())].to(self.network.mean.device)
        words, mask = self.network.read(ids), ids != PAD
        told, silence = Told(words[:-1], mask[:-1]), Told(words[-1:], mask[-1:])
        return self._painted(told, silence, keys, steps, guidance)

    def draw_soft(
        self, words: Tensor, mask: Tensor, keys: Keys, steps: int, guidance: float
    ) -> Tensor:
        begin = F.one_hot(words.new_tensor([BOS], dtype=torch.long), words.shape[-1]).to(words)
        chances = torch.cat([begin.expand(len(words), 1, -1), words], 1)
        read = F.pad(mask.bool(), (1, 0), value=True)
        told = Told(self.network.likely(chances, read), read)
        ids = torch.from_numpy(self.tokenizer.encode([""], 2)).to(words.device)
        silence = Told(self.network.read(ids), ids != PAD)
        return self._painted(told, silence, keys, steps, guidance)

    def _painted(
        self, told: Told, silence: Told, keys: Keys, steps: int, guidance: float
    ) -> Tensor:
        """From noise to pictures, in so many Euler steps."""
        latent = keys.fold("latents").normal(LATENT, like=self.network.mean)
        style = keys.fold("style").uniform((self.network.styles,), like=self.network.mean)
        for step in range(steps):
            t = latent.new_full((len(keys),), 1 - step / steps)
            flow = self._flow(latent, t, told, style)
            if guidance != 1:
                blind = self._flow(latent, t, silence.repeated(len(keys)), style)
                flow = blind + guidance * (flow - blind)
            latent = latent - flow / steps
        return self.network.decode(latent)

    def _flow(self, latent: Tensor, t: Tensor, told: Told, style: Tensor) -> Tensor:
        # The first step's latent is noise: there the words alone ask for a gradient.
        words, mask = told
        if words.requires_grad:
            words = tally(self.name, words)
        else:
            latent = tally(self.name, latent)
        flow: Tensor = self.network(latent, t, words, mask, style if self.network.styles else None)
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
