"""Stable Diffusion: a painter of texts, and a purifier by the same latent diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import tally
from secondlook.models.ddpm import DiffusionPurifier
from secondlook.models.frame import Frame
from secondlook.models.hub import Checkpoint, extra
from secondlook.models.painter import Painter
from secondlook.randomness import Keys

# An SDXL UNet wants sizes and a second text beside the first, which means nothing to a purifier.
_ROLES: Final = MappingProxyType({
    "painter": ("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    "img2img": ("StableDiffusionPipeline",),
})  # fmt: skip


def pipeline(checkpoint: Checkpoint, role: Literal["painter", "img2img"]) -> Any:
    """The pipeline in a checkpoint, in fp32 and eval mode, frozen, without its safety checker.

    The checker answers some texts with a black picture, which a defence that compares pictures
    would take for an attack.

    Raises:
        InvalidInput: the extra or a file is missing.
        UnknownName: it is of a class that has no such role.
    """
    extra("transformers", "hf")
    index = checkpoint.first("model_index.json")[1]
    if (kind := str(index.get("_class_name"))) not in _ROLES[role]:
        raise UnknownName(f"class in {checkpoint.source} for role={role}:", kind, _ROLES[role])
    unchecked = {"safety_checker": None, "requires_safety_checker": False}
    made = checkpoint.made(
        getattr(extra("diffusers"), kind).from_pretrained, "model_index.json",
        low_cpu_mem_usage=False, **(unchecked if "safety_checker" in index else {}),
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    for part in _networks(made):
        part.float().eval().requires_grad_(False)
    return made


def _networks(made: Any) -> tuple[torch.nn.Module, ...]:
    parts = (part for _, part in sorted(made.components.items()))
    return tuple(part for part in parts if isinstance(part, torch.nn.Module))


class PipelinePainter(Painter):
    """Stable Diffusion (arXiv 2112.10752) or SDXL (arXiv 2307.01952), by its own scheduler.

    Guidance is classifier-free (arXiv 2207.12598): above 1, the network is asked twice a step.

    Attributes:
        pipeline: the pipeline of diffusers.
    """

    steps = 50
    guidance = 7.5

    def __init__(self, name: str, pipeline: Any) -> None:
        self.name, self.pipeline, self.modules = name, pipeline, _networks(pipeline)
        given = pipeline.unet.config.sample_size
        tall, wide = (given, given) if isinstance(given, int) else given
        self.size = (tall * pipeline.vae_scale_factor, wide * pipeline.vae_scale_factor)

    def unread(self, text: str) -> bool:
        tokenizer = self.pipeline.tokenizer
        return len(tokenizer(text).input_ids) > int(tokenizer.model_max_length)

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        side = self.pipeline.vae_scale_factor
        shape = (self.pipeline.unet.config.in_channels, *(edge // side for edge in self.size))
        # A stochastic scheduler draws at every step; each sample has a generator of its own for it.
        seeds = keys.fold("scheduler").integers(2**63)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]

        def count(made: Any, step: int, t: Any, now: dict[str, Tensor]) -> dict[str, Tensor]:
            for _ in range(2 if guidance > 1 else 1):
                tally(self.name, now["latents"])
            return now

        made: Tensor = self.pipeline(
            list(texts), num_inference_steps=steps, guidance_scale=guidance, output_type="pt",
            latents=keys.fold("latents").normal(shape), generator=generators,
            callback_on_step_end=count,
        ).images  # fmt: skip
        return made


class SdEdit(DiffusionPurifier):
    """Through the latents of Stable Diffusion; noise is t* as a share of its schedule's steps.

    Encode, noise, denoise in a few strides, decode (SDEdit, arXiv 2108.01073; img2img), told no
    text and without guidance, so that nothing is known about the image but itself.
    """

    bounded = False

    def __init__(self, name: str, pipeline: Any, noise: float = 0.1, strides: int = 4) -> None:
        self.unet, self.vae = pipeline.unet, pipeline.vae
        scheduler = extra("diffusers").DDPMScheduler.from_config(pipeline.scheduler.config)
        self.kind = str(scheduler.config.prediction_type)
        if self.kind not in ("epsilon", "v_prediction"):
            raise InvalidInput(f"{name} predicts {self.kind}; noise and v are read here")
        if self.unet.config.in_channels != self.vae.config.latent_channels:
            raise InvalidInput(f"{name} wants more than latents; take one from texts to images")
        with torch.no_grad():
            self.told: Tensor = pipeline.encode_prompt("", "cpu", 1, False)[0]
        halvings = sum(len(part.config.block_out_channels) - 1 for part in (self.unet, self.vae))
        super().__init__(
            name, (self.unet, self.vae), kept=scheduler.alphas_cumprod.tolist(), noise=noise,
            strides=strides, frame=Frame(multiple=2**halvings),
        )  # fmt: skip

    def enter(self, x: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(2 * x - 1).latent_dist.mean
        return (mean - self._shift) * self._scale

    def leave(self, x: Tensor) -> Tensor:
        made: Tensor = self.vae.decode(x / self._scale + self._shift).sample
        return (made + 1) / 2

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        told = self.told.to(x).expand(len(x), -1, -1)
        answer: Tensor = self.unet(x, t, encoder_hidden_states=told).sample
        if self.kind == "epsilon":
            return answer
        kept = self.kept[int(t[0])]
        return math.sqrt(kept) * answer + math.sqrt(1 - kept) * x

    @property
    def _scale(self) -> float:
        return float(self.vae.config.scaling_factor)

    @property
    def _shift(self) -> float:
        return float(self.vae.config.get("shift_factor") or 0)
