"""Captioners with a placeholder for the image: LLaVA, InternVL, Florence-2 and Qwen-VL."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.families.hf.captioners import HubCaptioner
from secondlook.models.families.hf.processors import affine, kernel
from secondlook.models.io.hub import Checkpoint
from secondlook.models.io.preprocessing import Filter, Size, resampled


class ChatCaptioner(HubCaptioner):
    """A language model that takes an image in a conversation: LLaVA (arXiv 2304.08485).

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
        text = (prompt if self.mark in prompt else self._chat(prompt)).replace(self.mark, self.places(x))
        begun = bool(self.tokenizer.bos_token) and text.startswith(self.tokenizer.bos_token)
        return list(self.tokenizer(text, add_special_tokens=not begun)["input_ids"])

    def _chat(self, prompt: str) -> str:
        if self.template is None:
            raise InvalidInput(f"{self.name} has no chat template; write the whole prompt, with {self.mark} in it")
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self.template,
            add_generation_prompt=True,
            tokenize=False,
        )
        if text.count(self.mark) != 1:
            raise InvalidInput(
                f"the chat template of {self.name} has {text.count(self.mark)} places for one "
                f"image; write the whole prompt, with {self.mark} in it"
            )
        return text


class InternVLCaptioner(ChatCaptioner):
    """InternVL (arXiv 2312.14238); the whole image is one tile."""

    def places(self, x: Tensor) -> str:
        start, end = (
            getattr(self.tokenizer, f"{edge}_image_token", mark)
            for edge, mark in (("start", "<img>"), ("end", "</img>"))
        )
        return f"{start}{super().places(x)}{end}"


_TASKS: Final = MappingProxyType(
    {
        "<CAPTION>": "What does the image describe?",
        "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
        "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
    }
)


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
        path, file = checkpoint.find("chat_template.jinja", "chat_template.json", "processor_config.json")
    except InvalidInput:
        return None
    text = file.read_text(encoding="utf-8")
    found = text if path.endswith(".jinja") else json.loads(text).get("chat_template")
    return found if isinstance(found, str) else None


_SLIM: Final = 200
"""Of the longer edge to the shorter, at most: beyond it the model's own processor refuses."""


@dataclass(frozen=True, kw_only=True)
class MergedPatches:
    """Resize to whole squares of patches, normalize, cut up (arXiv 2409.12191, section 2.1).

    Attributes:
        patch: height and width of a patch, in pixels.
        merge: patches along an edge of a square that becomes one token.
        frames: times a still picture is repeated, for a patch is some frames deep.
        least: pixels of a picture at least.
        most: pixels of a picture at most.
        filter: the kernel of the resize.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
    """

    patch: int
    merge: int
    frames: int
    least: int
    most: int
    filter: Filter
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def target(self, height: int, width: int) -> Size:
        """Height and width that a picture is resized to: the nearest that fit, in whole squares.

        Raises:
            InvalidInput: the picture is too slim for the model.
        """
        if max(height, width) > _SLIM * min(height, width):
            raise InvalidInput(
                f"a picture of {height}x{width} is more than {_SLIM} times as long as it is wide; crop it"
            )
        square = self.patch * self.merge
        tall, wide = (round(edge / square) for edge in (height, width))
        if tall * wide * square**2 > self.most:
            shrink = math.sqrt(height * width / self.most)
            tall, wide = (max(1, math.floor(edge / shrink / square)) for edge in (height, width))
        elif tall * wide * square**2 < self.least:
            grow = math.sqrt(self.least / (height * width))
            tall, wide = (math.ceil(edge * grow / square) for edge in (height, width))
        return tall * square, wide * square

    def tokens(self, height: int, width: int) -> int:
        """Tokens of a picture of a size."""
        return math.prod(self.target(height, width)) // (self.patch * self.merge) ** 2

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels ``[B, 3, H, W]`` in [0, 1] to patches ``[B * P, 3 * frames * patch * patch]``.

        With them, under the names of transformers, their grid: frames, rows, columns, ``[B, 3]``.
        """
        height, width = self.target(x.shape[-2], x.shape[-1])
        if x.shape[-2:] != (height, width):
            x = resampled(x, height, width, self.filter)
        mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        across = (-1, self.merge, self.patch)
        cut = ((x - mean) / std).unflatten(3, across).unflatten(2, across)
        # Squares by rows, the patches in each by rows, then channel, frame, and pixels by rows.
        squares = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]
        flat = squares.expand(*[-1] * 6, self.frames, -1, -1).flatten(5).flatten(0, 4)
        grid = torch.tensor([1, height // self.patch, width // self.patch], device=x.device)
        return {"pixel_values": flat, "image_grid_thw": grid.expand(len(x), 3)}


class QwenCaptioner(ChatCaptioner):
    """Qwen2-VL (arXiv 2409.12191), Qwen2.5-VL (arXiv 2502.13923) and Qwen3-VL.

    Attributes:
        patches: from pixels to what its image tower takes.
    """

    def sized(self, bundle: Bundle) -> tuple[int, int] | None:
        given = bundle.image_processor()
        mean, std = affine(given)
        self.patches = MergedPatches(
            patch=given.patch_size,
            merge=given.merge_size,
            frames=given.temporal_patch_size,
            least=given.size["shortest_edge"],
            most=given.size["longest_edge"],
            filter=kernel(given, self.name),
            mean=mean,
            std=std,
        )
        # Before release 5 the network finds the image's tokens by itself.
        reads = inspect.signature(self.network.forward).parameters
        self.kinds = "mm_token_type_ids" in reads
        return None

    def pictures(self, x: Tensor) -> dict[str, Tensor]:
        return self.patches(x)

    def places(self, x: Tensor) -> str:
        return self.mark * self.patches.tokens(x.shape[-2], x.shape[-1])

    def given(self, x: Tensor, ids: Tensor) -> dict[str, Tensor]:
        made = super().given(x, ids)
        if self.kinds:
            made["mm_token_type_ids"] = (ids == self.network.config.image_token_id).int()
        return made
