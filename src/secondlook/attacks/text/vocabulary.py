"""All words that there are, and which of them the gradient of the word vectors promises most of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from secondlook.attacks.text.candidates import ParsedCaption
from secondlook.attacks.text.captions import part
from secondlook.attacks.text.substitution import UNKNOWN, Progress, TextObjective, WordChange
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.maskedlm import MaskedLM

Hook = Callable[[Tensor, Tensor], Tensor]
Loss = Callable[[Tensor], Tensor]
"""Takes the unit vectors ``[T, D]`` of texts and gives ``[T]``."""
_ABSENT: Final = -1


class _Stop(Exception):
    """The vectors of the words are known, and nothing else was asked for."""


class Lookup(NamedTuple):
    """What a text side begins with.

    Attributes:
        ids: token numbers ``[T, L]``.
        vectors: word vectors ``[T, L, W]``.
    """

    ids: Tensor
    vectors: Tensor


class Slope(NamedTuple):
    """A loss of texts, to first order.

    Attributes:
        vectors: word vectors ``[T, L, W]``.
        gradient: of the loss to them, of the same shape.
        loss: ``[T]``.
    """

    vectors: Tensor
    gradient: Tensor
    loss: Tensor


class WordVectors:
    """The table of word vectors that an embedder's text side begins with.

    It is found by what happens: the largest table that is looked into while a text is read.

    Attributes:
        victim: the embedder.

    Raises:
        InvalidInput: the embedder reads texts without such a table, or without a gradient to it.
    """

    def __init__(self, victim: Embedder) -> None:
        self.victim = victim
        tables = [m for n in victim.modules for m in n.modules() if isinstance(m, nn.Embedding)]
        used: list[nn.Embedding] = []
        handles = [t.register_forward_hook(lambda m, _, __: used.append(m)) for t in tables]
        try:
            if tables:
                with torch.no_grad():
                    victim.encode_text(["a"])
        finally:
            for handle in handles:
                handle.remove()
        if not used:
            self._refuse("looks up no word vectors in a network of its own")
        self._table = max(used, key=lambda table: table.num_embeddings)

    def gradient(self, texts: Sequence[str], loss: Loss) -> Slope:
        """How a loss changes with each word's vector.

        Args:
            texts: ``T`` captions.
            loss: of their unit vectors.
        """
        held: list[Tensor] = []

        def hold(_: Tensor, vectors: Tensor) -> Tensor:
            held.append(vectors.detach().requires_grad_())
            return held[-1]

        with torch.enable_grad(), self._hooked(hold):
            unit = nn.functional.normalize(self.victim.encode_text(list(texts)).float(), dim=-1)
            values = loss(unit)
            if len(held) != 1 or not unit.requires_grad:
                self._refuse("passes no gradient to its word vectors")
            (found,) = torch.autograd.grad(values.sum(), held[0])
        return Slope(held[0].detach(), found, values.detach())

    @torch.no_grad()
    def look_up(self, texts: Sequence[str]) -> Lookup:
        """Token numbers and word vectors; the network behind them is not run."""
        held: list[Lookup] = []

        def stop(ids: Tensor, vectors: Tensor) -> NoReturn:
            held.append(Lookup(ids, vectors))
            raise _Stop

        with self._hooked(stop):
            try:
                self.victim.encode_text(list(texts))
            except _Stop:
                return held[0]
        self._refuse("looks up no word vectors")

    @contextmanager
    def _hooked(self, hook: Hook) -> Iterator[None]:
        handle = self._table.register_forward_hook(lambda _, given, out: hook(given[0], out))
        try:
            yield
        finally:
            handle.remove()

    def _refuse(self, why: str) -> NoReturn:
        raise InvalidInput(f"{self.victim.name} {why}; use the attack 'bert-attack' with text='mlm' on it instead")


def any_words(texts: Sequence[str]) -> list[ParsedCaption]:
    """Captions of which every word may be changed."""
    rows = [tuple(text.split()) for text in texts]
    return [ParsedCaption(text, words, ((),) * len(words)) for text, words in zip(texts, rows, strict=True)]


def whole_words(model: MaskedLM) -> tuple[str, ...]:
    """The vocabulary of a language model: its tokens that are words by themselves, function words among them."""
    numbers = [n for n in model.word_starts.nonzero()[:, 0].tolist() if n not in model.special_ids]
    words = (model.detokenize([number]).strip() for number in numbers)
    return tuple(dict.fromkeys(word for word in words if word and part(word).core == word and len(word.split()) == 1))


@dataclass
class Vocabulary:
    """Every word of a vocabulary in place of any word of a caption, the most promising ones first.

    What a word promises is the loss of the caption with an unknown word at the place, and the
    gradient there times the change of that word's vector, summed over the victims (after HotFlip,
    arXiv 1712.06751); of a word of several tokens the first stands for all of it.

    Attributes:
        words: the vocabulary.
        victims: those who read the captions.
        source: the language model whose vocabulary it is, for errors.

    Raises:
        InvalidInput: a victim does not know most of the words, so that they are the vocabulary of
            another tokenizer, or looks up no word vectors.
    """

    words: Sequence[str]
    victims: Sequence[Embedder]
    source: str = ""
    _tables: list[WordVectors] = field(init=False)
    _vectors: list[Tensor] = field(init=False)
    _at: list[dict[str, Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        self._tables = [WordVectors(victim) for victim in self.victims]
        known = [self._known(table) for table in self._tables]
        kept = [row for row in range(len(self.words)) if all(each[row] for each in known)]
        self.words = [self.words[row] for row in kept]
        self._vectors = [self._of_words(table) for table in self._tables]
        self._at = [{} for _ in self._tables]

    def propose(
        self, progress: Sequence[Progress], open_: Sequence[int], objective: TextObjective, top: int
    ) -> list[WordChange]:
        """The ``top`` most promising changes of each caption that may still be changed, best first.

        Args:
            progress: all captions as they stand.
            open_: the rows of those that may be changed.
            objective: what they are scored by.
            top: how many of each caption.
        """
        found: list[WordChange] = []
        for row in open_:
            caption, places = progress[row], progress[row].places
            promised = self._promised(caption, row, objective)
            best = promised.flatten().topk(min(top, promised.numel()))
            for value, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                at, word = divmod(place, len(self.words))
                if value > -torch.inf:
                    found.append((row, places[at], caption.caption.with_marks(places[at], self.words[word])))
        return found

    def _promised(self, caption: Progress, row: int, objective: TextObjective) -> Tensor:
        """What each word at each place promises, ``[P, V]``; minus infinity where it may not stand."""
        texts = [caption.tried(at, UNKNOWN) for at in caption.places]
        owner, total = torch.full((len(texts),), row), torch.zeros(len(texts), len(self.words))
        for number, table in enumerate(self._tables):
            slope = table.gradient(texts, partial(objective.term, number, owner=owner))
            at = self._positions(number, caption)[caption.places].to(slope.vectors.device)
            rows = torch.arange(len(texts), device=at.device)
            gradient, hole = slope.gradient[rows, at.clamp(min=0)], slope.vectors[rows, at.clamp(min=0)]
            gains = slope.loss[:, None] + gradient @ self._vectors[number].T - (gradient * hole).sum(1, keepdim=True)
            total += gains.masked_fill((at == _ABSENT)[:, None], -torch.inf).float().cpu()
        return total.masked_fill(self._same(caption), -torch.inf)

    def _same(self, caption: Progress) -> Tensor:
        """``[P, V]``, which word is the one that stands at a place."""
        cores = [part(caption.caption.words[at]).core.lower() for at in caption.places]
        return torch.tensor([[word.lower() == core for word in self.words] for core in cores])

    def _positions(self, number: int, caption: Progress) -> Tensor:
        """``[P]``, the token that each word begins with; -1 where the victim does not read it."""
        known, text = self._at[number], caption.standing
        if text not in known:
            words = text.split()
            puts = [" ".join([*words[:at], self._other(word), *words[at + 1 :]]) for at, word in enumerate(words)]
            ids = self._tables[number].look_up([text, *puts]).ids
            moved = ids[1:] != ids[:1]
            known[text] = torch.where(moved.any(1), moved.int().argmax(1), _ABSENT).cpu()
        return known[text]

    def _other(self, word: str) -> str:
        head, core, tail = part(word)
        return f"{head}{next(w for w in self.words if w.lower() != core.lower())}{tail}"

    def _known(self, table: WordVectors) -> list[bool]:
        """Which words the victim tells apart from all others."""
        if len(self.words) < 2:
            raise InvalidInput(f"mlm={self.source} has {len(self.words)} whole words; name one with a vocabulary")
        rows = [tuple(ids) for ids in table.look_up(self.words).ids.tolist()]
        often = Counter(rows)
        known = [often[row] == 1 for row in rows]
        if sum(known) < len(rows) / 2:
            strange = [word for word, own in zip(self.words, known, strict=True) if not own]
            raise InvalidInput(
                f"mlm={self.source} has the vocabulary of another tokenizer: {table.victim.name} does not know "
                f"{len(strange)} of its {len(rows)} words, {strange[0]!r} the first; name a model of its words"
            )
        return known

    def _of_words(self, table: WordVectors) -> Tensor:
        """Of each word the vector of its first token, ``[V, W]``."""
        ids, vectors = table.look_up(self.words)
        first = int((ids != ids[:1]).any(0).int().argmax())
        return vectors[:, first]
