"""Other words for a caption: easy data augmentation, paraphrases by grammar or by a network."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secondlook.attacks.text.captions import stop_words
from secondlook.errors import InvalidInput
from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.io.hub import Checkpoint, extra
from secondlook.models.text.decoding import Decoding
from secondlook.randomness import Keys
from secondlook.scenes.captions import PLACE_PHRASES, RELATION_PHRASES, SYNONYMS

Words = list[str]
Operation = Callable[[Words, np.random.Generator], Words]


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """For each known word the others that may stand for it, in alphabetical order."""
    text = files("secondlook.hardening").joinpath("synonyms.toml").read_text("utf-8")
    found: dict[str, set[str]] = {}
    for group in tomllib.loads(text)["groups"]:
        for word in group:
            found.setdefault(word, set()).update(set(group) - {word})
    return {word: tuple(sorted(others)) for word, others in found.items()}


@dataclass(frozen=True, kw_only=True)
class EDA:
    """The four operations of Wei & Zou 2019, with their defaults; synonyms are the package's own.

    Attributes:
        replace: share of the words that synonyms replace.
        insert: how many synonyms are put in somewhere, as a share of the words.
        swap: how many pairs of words change places, as a share of the words.
        delete: the chance of each word to be left out.

    Raises:
        InvalidInput: a share outside [0, 1].
    """

    replace: float = 0.1
    insert: float = 0.1
    swap: float = 0.1
    delete: float = 0.1

    def __post_init__(self) -> None:
        for field in ("replace", "insert", "swap", "delete"):
            if not 0 <= getattr(self, field) <= 1:
                raise InvalidInput(f"{field}={getattr(self, field):g}; write a share, 0 to 1")

    def __call__(self, texts: Sequence[str], keys: Keys) -> list[str]:
        """One of the four operations on each text, drawn by its key."""
        rows = zip(texts, keys.fold("eda").generators(), strict=True)
        return [self._one(text, self._operations[int(rng.integers(4))], rng) for text, rng in rows]

    def many(self, text: str, keys: Keys, count: int = 9) -> list[str]:
        """``count`` augmentations of one text in a drawn order, and the text itself, as published.

        Each operation is applied ``count // 4 + 1`` times, and what is too much is left out.
        """
        (rng,) = keys.fold("eda").generators()
        made = [self._one(text, operation, rng) for operation in self._operations for _ in range(count // 4 + 1)]
        return [*(made[at] for at in rng.permutation(len(made))[:count]), text]

    @property
    def _operations(self) -> tuple[Operation, ...]:
        return self._replaced, self._inserted, self._swapped, self._deleted

    def _one(self, text: str, operation: Operation, rng: np.random.Generator) -> str:
        return " ".join(operation(text.split(), rng))

    def _replaced(self, words: Words, rng: np.random.Generator) -> Words:
        able = sorted({word for word in words if _replaceable(word)})
        chosen = [able[at] for at in rng.permutation(len(able))[: _count(self.replace, words)]]
        new = {word: _pick(synonyms()[word], rng) for word in chosen}
        return [new.get(word, word) for word in words]

    def _inserted(self, words: Words, rng: np.random.Generator) -> Words:
        able = sorted({word for word in words if _replaceable(word)})
        words = list(words)
        for _ in range(_count(self.insert, words) if able else 0):
            word = _pick(synonyms()[_pick(able, rng)], rng)
            words.insert(int(rng.integers(len(words) + 1)), word)
        return words

    def _swapped(self, words: Words, rng: np.random.Generator) -> Words:
        words = list(words)
        for _ in range(_count(self.swap, words) if len(words) > 1 else 0):
            one, other = rng.choice(len(words), 2, replace=False)
            words[one], words[other] = words[other], words[one]
        return words

    def _deleted(self, words: Words, rng: np.random.Generator) -> Words:
        kept = [word for word in words if rng.random() >= self.delete]
        return kept or [_pick(words, rng)]


def _count(share: float, words: Words) -> int:
    """How many words an operation is about; one at least, where its share is not nothing."""
    return max(1, int(share * len(words))) if share else 0


def _replaceable(word: str) -> bool:
    return word in synonyms() and word not in stop_words()


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def paraphrase(texts: Sequence[str], keys: Keys) -> list[str]:
    """Draws the wording of every phrase that has several; the meaning stays the same."""
    pattern, wordings = _grammar()
    rows = zip(texts, keys.fold("paraphrase").generators(), strict=True)
    return [
        pattern.sub(lambda found, rng=rng: rng.choice(wordings[found[0]]), text)  # type: ignore[misc]
        for text, rng in rows
    ]


@cache
def _grammar() -> tuple[re.Pattern[str], Mapping[str, tuple[str, ...]]]:
    """A pattern of the phrases, the longest first, and for each those of its meaning."""
    tables = (SYNONYMS, PLACE_PHRASES, RELATION_PHRASES)
    groups = [tuple(wordings) for table in tables for wordings in table.values()]
    known = {phrase: group for group in groups for phrase in group if len(group) > 1}
    longest = sorted(known, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest)})\b"), known


_SPARE = 16
"""Tokens that a paraphrase may be longer than its text."""


class Rewriter:
    """Texts to others, word by word at random with a key of each.

    Args:
        source: a folder or a name of the hub, with ``config.json``, weights and tokenizer.
        prompt: the input, with ``{}`` where the text goes; ``{}`` gives the text alone.
        top_p: a random token is one of the likeliest, which have this share of the probability.

    Raises:
        InvalidInput: transformers or a file is missing, or it is no such network.
    """

    def __init__(self, source: str, prompt: str = "{}", top_p: float = 0.9) -> None:
        extra("transformers", "hf")
        folder = source.removeprefix("hf:")
        bundle = Bundle(name=f"hf:{folder}", checkpoint=Checkpoint(source=folder, family="hf"))
        self.network: Any = bundle.network("AutoModelForSeq2SeqLM")
        self.tokenizer: Any = bundle.tokenizer()
        self.prompt, self.decoding = prompt, Decoding(style="sample", top_p=top_p)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], keys: Keys) -> list[str]:
        """A paraphrase of each text; where it is empty, the text itself."""
        asked = [self.prompt.replace("{}", text) for text in texts]
        given = self.tokenizer(asked, return_tensors="pt", padding=True, truncation=True)
        # The largest of the perturbed scores is the draw: no other generator is used.
        made = self.network.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            max_new_tokens=given["input_ids"].shape[1] + _SPARE,
            logits_processor=[_KeyedGumbel(keys.fold("rewrite"), self.decoding)],
        )
        said = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        return [new.strip() or old for new, old in zip(said, texts, strict=True)]


class _KeyedGumbel:
    """Perturbs the scores of each next token by the keys of the texts."""

    def __init__(self, keys: Keys, decoding: Decoding) -> None:
        self.keys, self.decoding, self.step = keys, decoding, -1

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        self.step += 1
        return self.decoding.perturbed(scores, self.keys, self.step)
