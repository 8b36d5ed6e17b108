"""Greedy word substitution: what a caption is scored by, which word comes first, and the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.text.candidates import ParsedCaption
from secondlook.attacks.text.captions import text_vectors
from secondlook.models.base import Embedder

UNKNOWN: Final = "[UNK]"
"""What is read in place of a word, as published; a tokenizer without it reads an unknown word."""

Read = Callable[[Sequence[str]], Sequence[Tensor]]
"""Takes captions and gives of each embedder their vectors, ``[T, D]``."""
Forbidden = Callable[[Sequence[str], Sequence[str]], Sequence[bool]]
"""Takes captions and what is to stand for them, and says which may not."""
WordChange = tuple[int, int, str]
"""The row of a caption, a place in it, and the word that is tried there."""
Propose = Callable[["Sequence[Progress]", Sequence[int]], list[WordChange]]
"""Takes all captions and the rows of those that are open, and says what to try of these."""


def divergence(origin: Tensor, other: Tensor) -> Tensor:
    """Kullback-Leibler divergence of softmax(``other``) from softmax(``origin``), ``[..., D]``.

    Both vectors are read as scores of a distribution; it is what Co-Attack (arXiv 2206.09391)
    moves embeddings by. Around ``origin`` its gradient is zero, so that no search must begin there.
    """
    theirs = F.log_softmax(other, dim=-1)
    return F.kl_div(theirs, F.softmax(origin, dim=-1), reduction="none").sum(-1)


class TextObjective(Protocol):
    """Scores captions that stand for others; higher is worse for the defender."""

    def __call__(self, vectors: Sequence[Tensor], owner: Tensor) -> Tensor:
        """Scores ``[N]``, summed over the embedders.

        Args:
            vectors: of each embedder, ``[N, D]``, of the captions on trial.
            owner: ``[N]``, for each of them which caption it stands for.
        """
        ...

    def term(self, number: int, vectors: Tensor, owner: Tensor) -> Tensor:
        """Scores ``[N]`` by embedder ``number`` alone, with their gradient to its ``[N, D]``."""
        ...


class AwayFromImage:
    """Minus the cosine to the caption's image, summed over the embedders (SGA's text side).

    Attributes:
        images: of each embedder the unit vectors ``[C, D]`` of the captions' images.
    """

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = tuple(images)

    def __call__(self, vectors: Sequence[Tensor], owner: Tensor) -> Tensor:
        return torch.stack([self.term(at, texts, owner) for at, texts in enumerate(vectors)]).sum(0)

    def term(self, number: int, vectors: Tensor, owner: Tensor) -> Tensor:
        images = self.images[number]
        return -(vectors * images[owner.to(images.device)]).sum(-1)


class AwayFromItself:
    """The divergence from the caption as it was, summed over the embedders (Co-Attack's).

    Attributes:
        origins: of each embedder the vectors ``[C, D]`` of the captions as they were.
    """

    def __init__(self, origins: Sequence[Tensor]) -> None:
        self.origins = tuple(origins)

    def __call__(self, vectors: Sequence[Tensor], owner: Tensor) -> Tensor:
        return torch.stack([self.term(at, texts, owner) for at, texts in enumerate(vectors)]).sum(0)

    def term(self, number: int, vectors: Tensor, owner: Tensor) -> Tensor:
        origins = self.origins[number]
        return divergence(origins[owner.to(origins.device)], vectors)


def importance_orders(
    captions: Sequence[ParsedCaption],
    places: Sequence[Sequence[int]],
    victims: Sequence[Embedder],
    origins: Sequence[Tensor],
) -> list[tuple[int, ...]]:
    """For each caption the places that can be changed, the most important word first.

    All captions with one word gone are read in one go.

    Args:
        captions: the captions.
        places: of each the words that something could stand for.
        victims: the embedders, which read them.
        origins: of each embedder the vectors ``[C, D]`` of the captions as they are.
    """
    holes = [(row, at) for row, own in enumerate(places) for at in own]
    if not holes:
        return [()] * len(captions)
    texts = [captions[row].put({at: UNKNOWN}) for row, at in holes]
    owner = torch.tensor([row for row, _ in holes])
    weights = importance(texts, owner, victims, origins).tolist()
    found: list[list[tuple[float, int]]] = [[] for _ in captions]
    for (row, at), weight in zip(holes, weights, strict=True):
        found[row].append((-weight, at))
    return [tuple(at for _, at in sorted(row)) for row in found]


def importance(texts: Sequence[str], owner: Tensor, victims: Sequence[Embedder], origins: Sequence[Tensor]) -> Tensor:
    """How far each text is from the caption that it stands for, ``[N]``, over all embedders.

    The texts' vectors are unit vectors, even where ``origins`` are raw: so the published code.
    """
    return AwayFromItself(origins)(text_vectors(victims, texts), owner).cpu()


@dataclass
class Progress:
    """One caption while it is being changed.

    Attributes:
        caption: the caption as it was.
        places: the words still to be tried, in their order.
        score: of the caption as it stands.
        changes: the words put in so far, by their places.
    """

    caption: ParsedCaption
    places: list[int]
    score: float
    changes: dict[int, str] = field(default_factory=dict)

    @property
    def standing(self) -> str:
        """The caption as it stands."""
        return self.caption.put(self.changes)

    def trials(self, at_once: bool) -> list[tuple[int, str]]:
        """What is tried next: the options at the next place, or those at all of them."""
        places = self.places if at_once else self.places[:1]
        return [(at, option) for at in places for option in self.caption.options[at]]

    def tried(self, at: int, new: str) -> str:
        """The caption as it stands, with the word ``new`` at the place ``at``."""
        return self.caption.put({**self.changes, at: new})


def substitute(
    captions: Sequence[ParsedCaption],
    orders: Sequence[Sequence[int]],
    words: int,
    read: Read,
    objective: TextObjective,
    start: Tensor,
    *,
    at_once: bool = False,
    forbidden: Forbidden | None = None,
    propose: Propose | None = None,
) -> list[str]:
    """Puts up to ``words`` words into each caption, each only if it scores higher then.

    All candidates of all captions are read in one batch a round.

    Args:
        captions: the captions.
        orders: for each the places to try, in this order.
        words: how many may change.
        read: reads the trials.
        objective: scores them.
        start: the score of each caption as it is, ``[C]``.
        at_once: try all places and take the best, instead of the first place that helps.
        forbidden: what may not be tried, however good.
        propose: says what to try, instead of the captions' options.

    Returns:
        The captions, in their order.
    """
    rows = zip(captions, map(list, orders), start.tolist(), strict=True)
    progress = [Progress(*row) for row in rows]
    while trials := _trials(progress, words, at_once, forbidden, propose):
        texts = [progress[row].tried(at, new) for row, at, new in trials]
        owner = torch.tensor([row for row, _, _ in trials])
        scores = objective(read(texts), owner).tolist()
        _accept(progress, trials, scores, at_once)
    return [done.standing for done in progress]


def _trials(
    progress: Sequence[Progress], words: int, at_once: bool, forbidden: Forbidden | None, propose: Propose | None
) -> list[WordChange]:
    """The next round: of each caption with changes and places left, what to try."""
    while True:
        open_ = [row for row, p in enumerate(progress) if p.places and len(p.changes) < words]
        if propose:
            trials = propose(progress, open_)
        else:
            trials = [(row, at, new) for row in open_ for at, new in progress[row].trials(at_once)]
        if forbidden is None or not trials:
            return trials
        befores = [progress[row].caption.text for row, _, _ in trials]
        afters = [progress[row].tried(at, new) for row, at, new in trials]
        bad = forbidden(befores, afters)
        left = [trial for trial, out in zip(trials, bad, strict=True) if not out]
        # A caption of which nothing is left to try goes on to its next place.
        for row in set(open_) - {row for row, _, _ in left}:
            progress[row].places = [] if at_once else progress[row].places[1:]
        if left:
            return left


def _accept(progress: Sequence[Progress], trials: Sequence[WordChange], scores: Sequence[float], at_once: bool) -> None:
    """Keeps the best trial of each caption where it beats the caption, and strikes its place."""
    best: dict[int, tuple[float, WordChange]] = {}
    for trial, score in zip(trials, scores, strict=True):
        if trial[0] not in best or score > best[trial[0]][0]:
            best[trial[0]] = (score, trial)
    for row, (score, (_, at, new)) in best.items():
        caption = progress[row]
        if score > caption.score:
            caption.score, caption.changes[at] = score, new
            caption.places.remove(at)
        else:
            caption.places = [] if at_once else caption.places[1:]
