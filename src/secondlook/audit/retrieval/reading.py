"""What a model makes of captions out of the ordinary: unreadable, cut off, or all alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, evaluating

_LONG: Final = 20
"""Words up to which a caption is taken to be read to its end: every known context holds them."""
_SAME: Final = 1e-4


def check_readable(model: Embedder, ids: Sequence[str], captions: Captions) -> None:
    """Has the model read the captions that it may refuse, before anything is crafted.

    Raises:
        InvalidInput: it does.
    """
    for name, texts in zip(ids, captions, strict=True):
        for number, text in enumerate(texts):
            if re.search(r"[a-z0-9]", text.lower()):
                continue
            try:
                with evaluating(model.modules):
                    model.embed_text([text])
            except InvalidInput as error:
                raise InvalidInput(
                    f"caption {number} of image {name} cannot be read by {model.name}: {error}; "
                    "write it anew, or take it out"
                ) from error


def notices(
    model: Embedder, texts: Sequence[str], owner: Sequence[int], vectors: Tensor
) -> list[str]:
    """What is to be said of the reading of captions.

    Args:
        model: reads them.
        texts: ``T`` captions.
        owner: for each its image.
        vectors: their unit vectors, ``[T, D]``.
    """
    told = []
    if cut := _cut(model, texts, vectors):
        told.append(
            f"{cut} of {len(texts)} captions are longer than {model.name} reads; their ends are "
            "cut off, and nothing that is changed there is seen"
        )
    if alike := _alike(texts, owner, vectors):
        told.append(
            f"{alike} of {len(texts)} captions have the vector of another image's caption that "
            f"says something else: {model.name} does not know their words, or cuts them off"
        )
    return told


def _cut(model: Embedder, texts: Sequence[str], vectors: Tensor) -> int:
    """How many are as they would be without their last word."""
    long = [row for row, text in enumerate(texts) if len(text.split()) > _LONG]
    if not long:
        return 0
    with evaluating(model.modules):
        short = model.embed_text([" ".join(texts[row].split()[:-1]) for row in long])
    away = (short.to(vectors) - vectors[torch.tensor(long, device=vectors.device)]).norm(dim=1)
    return int((away < _SAME).sum())


def _alike(texts: Sequence[str], owner: Sequence[int], vectors: Tensor) -> int:
    """How many have the vector of another image's text, of other words.

    Vectors that are the same lie beside each other along any direction.
    """
    rows = vectors.double().cpu()
    along = rows @ torch.linspace(-1, 1, rows.shape[1], dtype=rows.dtype).cos()
    order = along.argsort()
    beside = (rows[order[1:]] - rows[order[:-1]]).norm(dim=1) < _SAME
    return sum(
        len(group) for group in _runs(order.tolist(), beside.tolist())
        if len({owner[row] for row in group}) > 1 and len({_words(texts[row]) for row in group}) > 1
    )  # fmt: skip


def _runs(order: Sequence[int], beside: Sequence[bool]) -> Iterator[list[int]]:
    """Rows in a row that each lie beside the next."""
    run = list(order[:1])
    for row, near in zip(order[1:], beside, strict=True):
        if not near:
            yield run
            run = []
        run.append(row)
    yield run


def _words(text: str) -> str:
    """The words of a text; where it has none, whatever it has."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text
