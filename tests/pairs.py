"""A world of images and captions in closed form: a bag of words, and a table that fills gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from secondlook.attacks.pairs import Pairs
from secondlook.models.base import Embedder
from secondlook.models.maskedlm import MaskedLM, Piece
from secondlook.randomness import Keys

WORDS = ("red", "green", "blue", "dark", "cat", "dog", "bird", "on", "mat")
VECTORS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "dark": (-1.0, -1.0, -1.0),
    "cat": (0.3, 0.1, 0.0),
    "dog": (0.1, 0.3, 0.1),
    "bird": (0.0, 0.1, 0.35),
    "on": (0.01, 0.02, 0.0),
    "mat": (0.02, 0.0, 0.04),
}
LIKELY: Mapping[str, tuple[str, ...]] = {
    "red": ("red", "green", "blue", "on"),
    "green": ("blue", "dark", "green"),
    "blue": ("red", "blue"),
    "cat": ("cat", "dog", "bird"),
    "dog": ("cat", "bird"),
    "mat": ("cat",),
    "on": ("dark",),
}
PAD, OPEN, CLOSE, UNKNOWN, GAP = range(5)
MARKS = ("<pad>", "<open>", "<close>", "<unk>", "<gap>")


class Bag(Embedder):
    """An image is the means of its channels; a text the sum of its words, which it looks up.

    Attributes:
        read: every text that was read, in order.
    """

    def __init__(self, name: str = "bag", turn: int = 0) -> None:
        self.name, self.turn, self.read = name, turn, list[str]()
        table = torch.zeros(len(WORDS) + 1, 3)
        for row, word in enumerate(WORDS):
            table[row + 1] = torch.tensor(VECTORS[word]).roll(turn)
        self.network = nn.Module()
        self.network.words = nn.Embedding.from_pretrained(table)
        self.modules = (self.network,)

    def encode_image(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2).roll(self.turn, 1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.read += texts
        split = [re.findall(r"\w+", text.lower()) or ["?"] for text in texts]
        longest = max(map(len, split))
        rows = [[WORDS.index(w) + 1 if w in WORDS else 0 for w in words] for words in split]
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        # A little of everything, so that a text of unknown words has a direction.
        out: Tensor = self.network.words(ids).sum(1) + 0.05
        return out


class Table(MaskedLM):
    """Finds the words of ``LIKELY`` likely in place of a word, the first ones most."""

    name, mask_id, pad_id = "table", GAP, PAD
    special_ids = frozenset(range(len(MARKS)))
    word_starts = torch.tensor([False] * len(MARKS) + [True] * len(WORDS))

    def __init__(self) -> None:
        self.passes = 0

    def split(self, text: str) -> Sequence[Piece]:
        row, at = [Piece(OPEN, 0, 0)], 0
        for word in text.split():
            at = text.index(word, at)
            number = WORDS.index(word.lower()) + len(MARKS) if word.lower() in WORDS else UNKNOWN
            row.append(Piece(number, at, at + len(word)))
            at += len(word)
        return [*row[:9], Piece(CLOSE, at, at)]

    def detokenize(self, ids: Sequence[int]) -> str:
        return " ".join((*MARKS, *WORDS)[number] for number in ids)

    def fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        self.passes += len(ids)
        scores = torch.zeros(*ids.shape, len(MARKS) + len(WORDS))
        for row, numbers in enumerate(ids.tolist()):
            for at, number in enumerate(numbers):
                likely = LIKELY.get(self.detokenize([number]), ())
                for rank, word in enumerate(likely):
                    scores[row, at, len(MARKS) + WORDS.index(word)] = 9.0 - rank
        return scores


CAPTIONS = (("red cat on mat", "cat"), ("green dog", "dog on mat", "green dog on red mat"), ("blue bird,",))


def pairs(count: int = 3) -> Pairs:
    """Colored grain ``[count, 3, 4, 4]`` on the 8-bit grid, far from black and white."""
    keys = Keys.of(0, range(count))
    colors = torch.eye(3)[torch.arange(count) % 3][:, :, None, None]
    pixels = 100 + 60 * colors + 20 * keys.uniform((3, 4, 4))
    return Pairs(pixels.floor() / 255, tuple(CAPTIONS[row % 3] for row in range(count)))


def keys(count: int = 3) -> Keys:
    return Keys.of(0, range(count))
