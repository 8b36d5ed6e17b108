"""LLaVA, InternVL and Florence-2: the image takes the place of a placeholder in the prompt."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.hf.bundle import Bundle
from secondlook.models.hf.captioner import HubCaptioner
from secondlook.models.hub import Checkpoint


class ChatCaptioner(HubCaptioner):
    """A language model that is shown an image in a conversation: LLaVA (arXiv 2304.08485).

    A prompt is put into the checkpoint's chat template, behind the image. One that has the image's
    placeholder in it, say ``USER: <image> What is it? ASSISTANT:``, is taken as it stands.

    Attributes:
        template: the chat template, a Jinja source; None where the checkpoint has none.
        mark: the placeholder.
    """

    prompt = "Describe the image in one sentence."

    def prepare(self, bundle: Bundle) -> tuple[int, int] | None:
        self.template = _template(bundle.checkpoint) or self.tokenizer.chat_template
        self.mark: str = self.tokenizer.convert_ids_to_tokens(self.network.config.image_token_id)
        return self.sized(bundle)

    def sized(self, bundle: Bundle) -> tuple[int, int] | None:
        """The size that images are attacked at; counts the tokens of one."""
        size = super().prepare(bundle)
        blank = torch.zeros(1, 3, *self.preprocessing.size, device=self.network.device)
        with torch.no_grad():
            found = self.network.get_image_features(**self.pictures(blank))
        self.count = len(getattr(found, "pooler_output", found)[0])
        return size

    def places(self, x: Tensor) -> str:
        """What the placeholder is written out to: once for each token of an image like ``x``."""
        return self.mark * self.count

    def question(self, prompt: str, x: Tensor) -> list[int]:
        text = (prompt if self.mark in prompt else self._chat(prompt)).replace(
            self.mark, self.places(x)
        )
        begun = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        return list(self.tokenizer(text, add_special_tokens=not begun)["input_ids"])

    def _chat(self, prompt: str) -> str:
        if self.template is None:
            raise InvalidInput(
                f"{self.name} has no chat template; write the whole prompt, with {self.mark} in it"
            )
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], chat_template=self.template,
            add_generation_prompt=True, tokenize=False,
        )  # fmt: skip
        if text.count(self.mark) != 1:
            raise InvalidInput(
                f"the chat template of {self.name} has {text.count(self.mark)} places for one "
                f"image; write the whole prompt, with {self.mark} in it"
            )
        return text


class InternVLCaptioner(ChatCaptioner):
    """InternVL (arXiv 2312.14238), shown the whole image as one tile."""

    def places(self, x: Tensor) -> str:
        start, end = (
            getattr(self.tokenizer, f"{edge}_image_token", mark)
            for edge, mark in (("start", "<img>"), ("end", "</img>"))
        )
        return f"{start}{super().places(x)}{end}"


_TASKS: Final = MappingProxyType({
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
})  # fmt: skip


class FlorenceCaptioner(ChatCaptioner):
    """Florence-2 (arXiv 2311.06242): prompts are the sentences that its tasks were trained with."""

    prompt = "<CAPTION>"

    def question(self, prompt: str, x: Tensor) -> list[int]:
        begin, end = self.tokenizer.bos_token, self.tokenizer.eos_token
        text = f"{self.places(x)}{begin}{_TASKS.get(prompt, prompt)}{end}"
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _template(checkpoint: Checkpoint) -> str | None:
    """The chat template that lies beside the tokenizer, whose own may know of no images."""
    try:
        path, file = checkpoint.find(
            "chat_template.jinja", "chat_template.json", "processor_config.json"
        )
    except InvalidInput:
        return None
    text = file.read_text(encoding="utf-8")
    found = text if path.endswith(".jinja") else json.loads(text).get("chat_template")
    return found if isinstance(found, str) else None
