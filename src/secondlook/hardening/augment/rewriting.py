"""Paraphrases by any sequence-to-sequence network of transformers: T5, BART, Pegasus, Marian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secondlook.models.decoding import Decoding
from secondlook.models.hf.bundle import Bundle
from secondlook.models.hub import Checkpoint, extra
from secondlook.randomness import Keys

_SPARE = 16
"""Tokens that a paraphrase may be longer than its text."""


class Rewriter:
    """Texts to others, word by word at random with a key of each.

    Args:
        source: a folder or a name of the hub, with ``config.json``, weights and tokenizer.
        prompt: what it is asked, with ``{}`` where the text goes; ``{}`` gives the text alone.
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
        """A paraphrase of each text; one of which nothing is left stays as it was."""
        asked = [self.prompt.replace("{}", text) for text in texts]
        given = self.tokenizer(asked, return_tensors="pt", padding=True, truncation=True)
        # The largest of perturbed scores is the draw, so that nobody draws but us.
        made = self.network.generate(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"],
            do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None,
            max_new_tokens=given["input_ids"].shape[1] + _SPARE,
            logits_processor=[_Luck(keys.fold("rewrite"), self.decoding)],
        )  # fmt: skip
        said = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        return [new.strip() or old for new, old in zip(said, texts, strict=True)]


class _Luck:
    """Perturbs the scores of each next token by the keys of the texts."""

    def __init__(self, keys: Keys, decoding: Decoding) -> None:
        self.keys, self.decoding, self.step = keys, decoding, -1

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        self.step += 1
        return self.decoding.perturbed(scores, self.keys, self.step)
