"""The embedded world's captioner behind the words that every captioner has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.models.base import resized
from secondlook.models.captioner import Captioner, Sentence
from secondlook.models.decoding import Decoding
from secondlook.randomness import Keys
from secondlook.scenes.networks.captioner import CaptionerNetwork
from secondlook.scenes.tokenizer import BOS, EOS, PAD, Tokenizer
from secondlook.scenes.world import SIDE


class SceneCaptioner(Captioner):
    """Puts a scene into words and is asked nothing; other images are resized to 64×64 inside."""

    size = (SIDE, SIDE)
    end = EOS
    once = True

    def __init__(self, name: str, network: CaptionerNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer = Tokenizer()
        self.vocabulary = self.tokenizer.hash

    def tokens(self, texts: Sequence[str], prompt: str) -> Sentence:
        ids = torch.from_numpy(self.tokenizer.encode(texts))[:, 1:]
        ids = ids[:, : int((ids != PAD).sum(1).max())]
        return Sentence(ids, (ids != PAD).long())

    def spell(self, ids: Tensor) -> str:
        return self.tokenizer.decode([ids.tolist()])[0]

    def logits(self, x: Tensor, ids: Tensor, prompt: str) -> Tensor:
        seen = self.network.look(resized(x, *self.size))
        return self.network.tell(seen, _begun(ids[:, :-1]))

    def write(self, x: Tensor, keys: Keys, decoding: Decoding, prompt: str) -> list[str]:
        seen = self.network.look(resized(x, *self.size))
        return self.told(lambda ids: self.network.tell(seen, _begun(ids))[:, -1], x, keys, decoding)


def _begun(ids: Tensor) -> Tensor:
    return F.pad(ids, (1, 0), value=BOS)
