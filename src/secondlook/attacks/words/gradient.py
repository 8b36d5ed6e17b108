"""Word substitution by the gradient of the words' own vectors: cheap, and only a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder

Hook = Callable[[Tensor, Tensor], Tensor]


class Looked(Exception):
    """The vectors of the words are known, and nothing else was asked for."""


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

    def gradient(self, texts: Sequence[str], images: Tensor) -> tuple[Tensor, Tensor]:
        """How minus the cosine to ``images`` changes with each word's vector.

        Args:
            texts: ``T`` captions.
            images: the unit vectors ``[T, D]`` of their images.

        Returns:
            Word vectors ``[T, L, W]`` and the gradient to them, of the same shape.
        """
        held: list[Tensor] = []

        def hold(_: Tensor, vectors: Tensor) -> Tensor:
            held.append(vectors.detach().requires_grad_())
            return held[-1]

        with torch.enable_grad(), self._hooked(hold):
            told = nn.functional.normalize(self.victim.encode_text(list(texts)).float(), dim=-1)
        if len(held) != 1 or not told.requires_grad:
            self._refuse("passes no gradient to its word vectors")
        (found,) = torch.autograd.grad(-(told * images).sum(), held[0])
        return held[0].detach(), found

    @torch.no_grad()
    def look(self, texts: Sequence[str]) -> Tensor:
        """Word vectors ``[T, L, W]``; the network behind them is not run."""
        held: list[Tensor] = []

        def stop(_: Tensor, vectors: Tensor) -> NoReturn:
            held.append(vectors)
            raise Looked

        with self._hooked(stop):
            try:
                self.victim.encode_text(list(texts))
            except Looked:
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
        raise InvalidInput(f"{self.victim.name} {why}; use the attack 'words' on it instead")
