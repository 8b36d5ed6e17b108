"""Captioners of transformers: a network that reads pixels and tokens; BLIP, BLIP-2 and GIT."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.models.captioner import Captioner, Sentence
from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.families.hf.processors import preprocessing
from secondlook.models.text.decoding import Decoding
from secondlook.randomness import Keys


class HubCaptioner(Captioner):
    """A network that continues a prompt, or, with an encoder of its own for it, answers it.

    All prompts of a batch are the same and so are the images' sizes, so that no row is padded
    before its text, and what fills it up behind is read by no token.

    Attributes:
        network: the network of transformers.
        preprocessing: from pixels to what its image tower takes.
        tokenizer: of prompts and texts.
        answers: whether the prompt has an encoder of its own.
    """

    def __init__(self, bundle: Bundle, kind: str) -> None:
        self.name, self.network = bundle.name, bundle.network(kind)
        self.modules, self.tokenizer = (self.network,), bundle.tokenizer()
        self.answers = bool(self.writer.config.is_encoder_decoder)
        self.end = self.ending()
        self.size = self.prepare(bundle)

    def prepare(self, bundle: Bundle) -> tuple[int, int] | None:
        """Reads the preprocessing; returns the size that images are attacked at."""
        self.preprocessing = preprocessing(bundle.image_processor(), self.name, bundle.resolution)
        return self.preprocessing.size if bundle.resolution == "input" else None

    @abstractmethod
    def question(self, prompt: str, x: Tensor) -> list[int]:
        """The tokens of a prompt, with places for those of an image of the size of ``x``."""

    @property
    def writer(self) -> Any:
        """The part of the network that writes."""
        return self.network

    @property
    def start(self) -> int:
        """The token before the first of an answer."""
        config = self.writer.config.get_text_config()
        return int(config.decoder_start_token_id)

    def ending(self) -> int:
        """The token that ends a text."""
        ends = self.writer.generation_config.eos_token_id
        if ends is None:
            ends = self.tokenizer.eos_token_id
        return int(ends[0] if isinstance(ends, Sequence) else ends)

    def pictures(self, x: Tensor) -> dict[str, Tensor]:
        """What the network takes of images, under the names of transformers."""
        return {"pixel_values": self.preprocessing(x)}

    def given(self, x: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """All that the network takes, of images and of the tokens ``[B, L]`` that it reads."""
        return {**self.pictures(x), "input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def tokens(self, texts: Sequence[str], prompt: str) -> Sentence:
        rows = [self.row(text, prompt) for text in texts]
        longest = max(map(len, rows))
        ids = [row + [self.end] * (longest - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return Sentence(torch.tensor(ids), torch.tensor(mask))

    def row(self, text: str, prompt: str) -> list[int]:
        """The tokens of one text, its end included."""
        if self.answers:
            return list(self.tokenizer(text)["input_ids"])
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end]

    def detokenize(self, ids: Tensor) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()

    def logits(self, x: Tensor, ids: Tensor, prompt: str) -> Tensor:
        asked, before = self._asked(x, prompt), ids[:, :-1]
        if self.answers:
            start = ids.new_full((len(ids), 1), self.start)
            begun = torch.cat([start, before], dim=1)
            answer = self.network(**self.given(x, asked), decoder_input_ids=begun)
        else:
            answer = self.network(**self.given(x, torch.cat([asked, before], dim=1)))
        scores: Tensor = answer.logits[:, -ids.shape[1] :]
        return scores

    def write(self, x: Tensor, keys: Keys, decoding: Decoding, prompt: str) -> list[str]:
        asked = self._asked(x, prompt)
        noise = [_KeyedNoise(keys, decoding)] if decoding.style == "sample" else []
        made = self.generate(self.given(x, asked), **self._rules(decoding), logits_processor=noise)
        return [self.detokenize(row) for row in made[:, 0 if self.answers else asked.shape[1] :]]

    def generate(self, given: Mapping[str, Tensor], **rules: Any) -> Tensor:
        """Tokens ``[B, L]``, after those of the prompt where they continue it."""
        made: Tensor = self.network.generate(**given, **rules)
        return made

    def _asked(self, x: Tensor, prompt: str) -> Tensor:
        return torch.tensor([self.question(prompt, x)], device=x.device).expand(len(x), -1)

    def _rules(self, decoding: Decoding) -> dict[str, Any]:
        """The rules of generation that the caller chooses; the others are the checkpoint's own.

        Random tokens are the largest of perturbed scores, so that nobody draws but us.
        """
        return {
            "do_sample": False,
            "temperature": None,
            "top_p": None,
            "top_k": None,
            "num_beams": decoding.beams if decoding.style == "beam" else 1,
            "max_new_tokens": decoding.length,
        }


class _KeyedNoise:
    """A logits processor of transformers that perturbs scores with the keys of the samples."""

    def __init__(self, keys: Keys, decoding: Decoding) -> None:
        self.keys, self.decoding, self.step = keys, decoding, -1

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        self.step += 1
        return self.decoding.perturbed(scores, self.keys, self.step)


class ContinuingCaptioner(HubCaptioner):
    """A captioner that was trained on bare captions; a prompt is the beginning of one."""

    def row(self, text: str, prompt: str) -> list[int]:
        # Behind the beginning of a sentence, the next word begins with a space.
        return super().row(f" {text}" if prompt and not self.answers else text, prompt)


class GitCaptioner(ContinuingCaptioner):
    """GIT (arXiv 2205.14100): one decoder over the image's tokens and the text's."""

    def question(self, prompt: str, x: Tensor) -> list[int]:
        words = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return [self.tokenizer.cls_token_id, *words]


class BlipCaptioner(ContinuingCaptioner):
    """BLIP (arXiv 2201.12086): a decoder that attends to the image."""

    @property
    def writer(self) -> Any:
        return self.network.text_decoder

    def ending(self) -> int:
        # What its training ended texts with; eos_token_id of its configuration is another token.
        return int(self.network.config.text_config.sep_token_id)

    def question(self, prompt: str, x: Tensor) -> list[int]:
        words = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return [self.network.config.text_config.bos_token_id, *words]

    def generate(self, given: Mapping[str, Tensor], **rules: Any) -> Tensor:
        # It expects an end behind the prompt, and takes it away unread.
        ended = {
            "input_ids": F.pad(given["input_ids"], (0, 1), value=self.end),
            "attention_mask": F.pad(given["attention_mask"], (0, 1), value=1),
        }
        return super().generate({**given, **ended}, **rules)


class Blip2Captioner(ContinuingCaptioner):
    """BLIP-2 (arXiv 2301.12597): queries about the image, put before a language model's prompt."""

    @property
    def writer(self) -> Any:
        return self.network.language_model

    def question(self, prompt: str, x: Tensor) -> list[int]:
        config = self.network.config
        places = [config.image_token_id] * config.num_query_tokens
        return [*places, *self.tokenizer(prompt)["input_ids"]]
