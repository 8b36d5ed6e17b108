"""BLIP, BLIP-2 and GIT: captioners that need no prompt, and go on from one if they are given it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from secondlook.models.hf.captioner import HubCaptioner


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
