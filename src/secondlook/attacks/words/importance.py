"""Which words a caption's vector hangs on: those whose absence moves it furthest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from secondlook.attacks.divergence import divergence
from secondlook.attacks.words.drafts import Draft
from secondlook.attacks.words.reader import Reader

HOLE: Final = "[UNK]"
"""What is read in place of a word, as published; a tokenizer without it reads an unknown word."""


def orders(
    drafts: Sequence[Draft], reader: Reader, origins: Sequence[Tensor]
) -> list[tuple[int, ...]]:
    """For each caption the places that can be changed, the most important word first.

    All captions with one word gone are read in one go; words that nothing could stand for are
    left out, since their turn would never come.

    Args:
        drafts: the captions.
        reader: reads them.
        origins: of each embedder the vectors ``[C, D]`` of the captions as they are.
    """
    holes = [(row, at) for row, draft in enumerate(drafts) for at in draft.places]
    if not holes:
        return [()] * len(drafts)
    weights = importance(
        [drafts[row].put({at: HOLE}) for row, at in holes],
        torch.tensor([row for row, _ in holes]), reader, origins,
    ).tolist()  # fmt: skip
    found: list[list[tuple[float, int]]] = [[] for _ in drafts]
    for (row, at), weight in zip(holes, weights, strict=True):
        found[row].append((-weight, at))
    return [tuple(at for _, at in sorted(row)) for row in found]


def importance(
    texts: Sequence[str], owner: Tensor, reader: Reader, origins: Sequence[Tensor]
) -> Tensor:
    """How far each text is from the caption that it stands for, ``[N]``, over all embedders.

    The texts' vectors are unit vectors, even where ``origins`` are raw: so the published code.
    """
    return torch.stack([
        divergence(origin[owner.to(origin.device)], vectors)
        for origin, vectors in zip(origins, reader.read(texts, raw=False), strict=True)
    ]).sum(0).cpu()  # fmt: skip
