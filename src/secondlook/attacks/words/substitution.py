"""The greedy search over words: all candidates of all captions are read in one batch a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from secondlook.attacks.words.drafts import Draft
from secondlook.attacks.words.guides import Guide

Read = Callable[[Sequence[str]], Sequence[Tensor]]
"""Takes captions and gives of each embedder their vectors, ``[T, D]``."""
Veto = Callable[[Sequence[str], Sequence[str]], Sequence[bool]]
"""Takes captions and what is to stand for them, and says which may not."""


@dataclass
class Hand:
    """One caption while it is being changed.

    Attributes:
        draft: the caption.
        places: the words still to be tried, in their order.
        score: of the caption as it stands.
        changes: the words put in so far, by their places.
    """

    draft: Draft
    places: list[int]
    score: float
    changes: dict[int, str] = field(default_factory=dict)

    def trials(self, at_once: bool) -> list[tuple[int, str]]:
        """What is tried next: the options at the next place, or those at all of them."""
        places = self.places if at_once else self.places[:1]
        return [(at, option) for at in places for option in self.draft.options[at]]


def substitute(
    drafts: Sequence[Draft],
    orders: Sequence[Sequence[int]],
    words: int,
    read: Read,
    guide: Guide,
    start: Tensor,
    *,
    at_once: bool = False,
    veto: Veto | None = None,
) -> list[str]:
    """Puts up to ``words`` words into each caption, each only if ``guide`` likes it better.

    Args:
        drafts: the captions.
        orders: for each the places to try, in this order.
        words: how many may change.
        read: reads the trials.
        guide: judges them.
        start: the guide's score of each caption as it is, ``[C]``.
        at_once: try all places and take the best, instead of the first place that helps.
        veto: what may not be tried, however good.

    Returns:
        The captions, in their order.
    """
    scores = start.tolist()
    hands = [Hand(*row) for row in zip(drafts, map(list, orders), scores, strict=True)]
    while trials := _trials(hands, words, at_once, veto):
        texts = [hands[row].draft.put({**hands[row].changes, at: new}) for row, at, new in trials]
        owner = torch.tensor([row for row, _, _ in trials])
        judged = guide(read(texts), owner).tolist()
        _play(hands, trials, judged, at_once)
    return [hand.draft.put(hand.changes) for hand in hands]


Trial = tuple[int, int, str]


def _trials(hands: Sequence[Hand], words: int, at_once: bool, veto: Veto | None) -> list[Trial]:
    """The next round: of each caption with changes and places left, what to try."""
    while True:
        open_ = [row for row, h in enumerate(hands) if h.places and len(h.changes) < words]
        trials = [(row, at, new) for row in open_ for at, new in hands[row].trials(at_once)]
        if veto is None or not trials:
            return trials
        befores = [hands[row].draft.text for row, _, _ in trials]
        afters = [hands[row].draft.put({**hands[row].changes, at: new}) for row, at, new in trials]
        barred = veto(befores, afters)
        left = [trial for trial, bad in zip(trials, barred, strict=True) if not bad]
        # A caption of which nothing is left to try goes on to its next place.
        for row in set(open_) - {row for row, _, _ in left}:
            hands[row].places = [] if at_once else hands[row].places[1:]
        if left:
            return left


def _play(
    hands: Sequence[Hand], trials: Sequence[Trial], judged: Sequence[float], at_once: bool
) -> None:
    """Keeps the best trial of each caption where it beats the caption, and strikes its place."""
    best: dict[int, tuple[float, Trial]] = {}
    for trial, score in zip(trials, judged, strict=True):
        if trial[0] not in best or score > best[trial[0]][0]:
            best[trial[0]] = (score, trial)
    for row, (score, (_, at, new)) in best.items():
        hand = hands[row]
        if score > hand.score:
            hand.score, hand.changes[at] = score, new
            hand.places.remove(at)
        else:
            hand.places = [] if at_once else hand.places[1:]
