"""Captions that count as wrong, though as little of them as can be is another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch

from secondlook.models.maskedlm import MaskedLM

SUBSTITUTES: Final = 4
"""Words that may stand in place of another; as many captions are made of one."""


def substituted(text: str, lm: MaskedLM, lead: Callable[[str], float]) -> list[str]:
    """The caption with as few words as need be replaced by what a language model puts there.

    Words are replaced one after the other, the one first that costs the lead most, until it is gone:
    a score of captions like CIDEr-D counts a caption with one false noun as a good one still.

    Args:
        text: a caption that counts as right.
        lm: says what else could stand in place of a word.
        lead: by how much a caption counts as right; it counts as wrong at 0 and below.

    Returns:
        One caption for each rank of substitutes, without those whose lead no substitutes end.
    """
    if not text.split():
        return []
    named, others = _others(text, lm)
    found = (_replaced(named, [several[rank : rank + 1] for several in others], lead) for rank in range(SUBSTITUTES))
    return list(dict.fromkeys(each for each in found if each))


def _replaced(named: Sequence[str], others: Sequence[Sequence[str]], lead: Callable[[str], float]) -> str:
    """The words with some others among them, so that the lead is gone; empty where it stays."""
    now, left = list(named), {at: several[0] for at, several in enumerate(others) if several}
    while left and lead(" ".join(now)) > 0:
        tried = {at: lead(" ".join([*now[:at], word, *now[at + 1 :]])) for at, word in left.items()}
        at = min(tried, key=lambda place: tried[place])
        now[at] = left.pop(at)
    return "" if lead(" ".join(now)) > 0 else " ".join(now)


def _others(text: str, lm: MaskedLM) -> tuple[list[str], list[list[str]]]:
    """The words of a text, and what else could stand in place of each, the likeliest first."""
    pieces = lm.tokenize([text])
    spans = [(at, span) for at, span in enumerate(pieces.spans[0]) if span.end > span.start]
    masked = pieces.ids.repeat(len(spans), 1)
    for row, (_, span) in enumerate(spans):
        masked[row, span.start : span.end] = lm.mask_id
    named, others = list(pieces.words[0]), [list[str]() for _ in pieces.words[0]]
    if not spans:
        return named, others
    scores = lm.logits(masked, pieces.mask.expand(len(spans), -1)).cpu()
    allowed = lm.word_starts.clone()
    allowed[list(lm.special_ids)] = False
    for row, (at, span) in enumerate(spans):
        own = named[at].lower()
        ranked = scores[row, span.start].masked_fill(~allowed.cpu(), -torch.inf).argsort(descending=True)
        words = [lm.detokenize([number]) for number in ranked[: 2 * SUBSTITUTES].tolist()]
        others[at] = [word for word in words if word.isalpha() and word.lower() != own][:SUBSTITUTES]
    return named, others
