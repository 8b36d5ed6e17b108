"""Models that put an image into a sentence, or answer what they are asked about it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.models.identity import IMAGES, TEXTS, Answer
from secondlook.models.text.decoding import Decoding, Scores, Style, generate_tokens
from secondlook.randomness import Keys

LEAD: Final = 0.5
"""Nats by which a token that is to be written greedily shall lead all others."""


class Sentence(NamedTuple):
    """Texts as a captioner would have written them.

    Attributes:
        ids: token numbers ``[B, L]``, the end of the sentence among them.
        mask: ``[B, L]``, 1 at tokens and 0 at what fills a row up.
    """

    ids: Tensor
    mask: Tensor


class TextScores(NamedTuple):
    """How a captioner takes texts that it is given, several for each image.

    Attributes:
        likelihood: mean log-probability of a text's tokens, ``[B, K]``; see
            :meth:`Captioner.likelihood`.
        greedy: whether each of its tokens is the likeliest, so that it is what the captioner
            writes greedily, ``[B, K]``.
        shortfall: by how much the log-probability of a token lacks :data:`LEAD` over that of the
            likeliest other, in nats, the mean over a text's tokens, ``[B, K]``; 0 where it is
            written greedily and nothing comes near.
    """

    likelihood: Tensor
    greedy: Tensor
    shortfall: Tensor


class Captioner(Model):
    """Images to texts; a subclass says how likely each next token is.

    Attributes:
        prompt: what it is asked where nobody asks for something else.
        end: the token that ends a text.
        size: height and width that the images are attacked at; None where any will do.
        once: whether ``logits`` takes several texts of an image, side by side, and encodes the
            image only once.
        vocabulary: what tells its words and their numbers from those of others; empty where
            nobody shares them.
    """

    prompt: str = ""
    end: int
    size: tuple[int, int] | None = None
    once: bool = False
    vocabulary: str = ""

    @abstractmethod
    def tokens(self, texts: Sequence[str], prompt: str) -> Sentence:
        """The tokens that it would write each of ``texts`` with, as an answer to ``prompt``."""

    @abstractmethod
    def detokenize(self, ids: Tensor) -> str:
        """The text of tokens ``[L]``."""

    @abstractmethod
    def logits(self, x: Tensor, ids: Tensor, prompt: str) -> Tensor:
        """Scores ``[B, L, V]`` of each of ``ids`` ``[B, L]``, given only the tokens before it.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1], with a gradient.
            ids: token numbers; that of column ``t`` must not change the scores up to ``t``.
            prompt: what is asked.
        """

    def probe_answers(self) -> Sequence[Answer]:
        texts = [TEXTS] * IMAGES
        return (*super().probe_answers(), lambda x: self.score_texts(x, texts).likelihood)

    def write(self, x: Tensor, keys: Keys, decoding: Decoding, prompt: str) -> list[str]:
        """A text for each image, token by token; each one reads all that is written so far."""
        wide = x.repeat_interleave(decoding.width, 0)
        return self.decode(lambda ids: self.logits(wide, F.pad(ids, (0, 1)), prompt)[:, -1], x, keys, decoding)

    def decode(self, scores: Scores, x: Tensor, keys: Keys, decoding: Decoding) -> list[str]:
        """A text for each image of ``x``, by ``scores`` of the next token after those so far."""
        return self._spelt(generate_tokens(scores, keys, decoding, self.end, x))

    def round_trip(self, texts: Sequence[str], prompt: str = "") -> list[str]:
        """Texts as they read when it writes them: its tokens may drop case and punctuation."""
        ids, mask = self.tokens(texts, prompt or self.prompt)
        return self._spelt(ids.masked_fill(mask == 0, self.end))

    def _spelt(self, ids: Tensor) -> list[str]:
        """The text of each row of ``[B, L]``, up to its end."""
        ended = (ids == self.end).cumsum(1) > 0
        return [self.detokenize(row[~over]) for row, over in zip(ids, ended, strict=True)]

    @torch.no_grad()
    def caption(
        self,
        x: Tensor,
        keys: Keys,
        *,
        style: Style = "greedy",
        temperature: float = 1.0,
        top_p: float = 1.0,
        beams: int = 3,
        length: int = 30,
        prompt: str = "",
    ) -> list[str]:
        """A text for each image.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            keys: randomness of ``style="sample"``; a sample's text does not depend on its batch.
            style: see :class:`~secondlook.models.text.decoding.Decoding`, as for the rest.
            temperature: of random tokens.
            top_p: of random tokens.
            beams: texts kept side by side by ``style="beam"``.
            length: tokens at most.
            prompt: what it is asked; empty takes its own.

        Raises:
            InvalidInput: bad pixels, a number outside its range, or a style it does not know.
        """
        decoding = Decoding(style=style, temperature=temperature, top_p=top_p, beams=beams, length=length)
        x = self.checked_input(x)
        return self.write(x, keys, decoding, prompt or self.prompt) if len(x) else []

    def likelihood(self, x: Tensor, texts: Sequence[str], prompt: str = "") -> Tensor:
        """How likely it is to write ``texts[i]`` for image ``i``: ``[B]``, differentiable in ``x``.

        It is the mean log-probability of a text's tokens, its end included, each given the right
        ones before it (teacher forcing), in fp32: minus the loss that captioners are trained with.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            texts: one for each image.
            prompt: what it is asked; empty takes its own.

        Raises:
            InvalidInput: bad pixels, not as many texts as images, or an empty text.
        """
        if isinstance(texts, str) or len(texts) != len(x) or not all(t.strip() for t in texts):
            raise InvalidInput(f"{len(x)} image(s) need as many texts, none of them empty; got {texts!r}")
        return self.score_texts(x, [(text,) for text in texts], prompt).likelihood[:, 0]

    def score_texts(self, x: Tensor, texts: Sequence[Sequence[str]], prompt: str = "") -> TextScores:
        """How likely several texts of each image are; differentiable in ``x``.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            texts: for each image as many as for every other.
            prompt: what it is asked; empty takes its own.

        Raises:
            InvalidInput: bad pixels, texts not for each image or not as many for each, or an
                empty text.
        """
        count = _texts_each(texts, len(x))
        seen = self.checked_input(x if self.once else x.repeat_interleave(count, 0))
        if not len(x):
            none = x.new_zeros(0, count)
            return TextScores(none, none.bool(), none)
        flat = [text for several in texts for text in several]
        ids, mask = (part.to(seen.device) for part in self.tokens(flat, prompt or self.prompt))
        chances = self.logits(seen, ids, prompt or self.prompt).float().log_softmax(-1)
        taken = chances.gather(-1, ids[..., None])[..., 0]
        greedy = ((chances.argmax(-1) == ids) | (mask == 0)).all(1)
        others = chances.scatter(-1, ids[..., None], -torch.inf).amax(-1)
        lacking = (LEAD + others - taken).clamp_min(0)
        likelihood, shortfall = ((part * mask).sum(1) / mask.sum(1) for part in (taken, lacking))
        return TextScores(likelihood.view(-1, count), greedy.view(-1, count), shortfall.view(-1, count))


def _texts_each(texts: Sequence[Sequence[str]], images: int) -> int:
    """How many texts each image has."""
    counts = {len(several) for several in texts}
    if len(texts) != images or len(counts) > 1 or 0 in counts:
        raise InvalidInput(
            f"{images} image(s) need as many rows of texts, all of one length; got rows of "
            f"{[len(several) for several in texts]}"
        )
    if any(isinstance(several, str) or not all(t.strip() for t in several) for several in texts):
        raise InvalidInput("a row of texts is a list of texts, none of them empty")
    return counts.pop() if counts else 1
