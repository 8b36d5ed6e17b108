"""The family ``diffusers``: purifiers and painters of that ecosystem."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import tally
from secondlook.models.base import Model, ModelFamily
from secondlook.models.io.hub import Checkpoint, extra
from secondlook.models.painter import Painter
from secondlook.models.purifiers.base import Frame, Latent, LatentPurifier, TunablePurifier, own_deviation
from secondlook.models.purifiers.diffusion import DiffusionPurifier
from secondlook.randomness import Keys
from secondlook.registry import register

# An SDXL UNet wants sizes and a second text beside the first, which means nothing to a purifier.
_ROLES: Final = MappingProxyType(
    {"painter": ("StableDiffusionPipeline", "StableDiffusionXLPipeline"), "img2img": ("StableDiffusionPipeline",)}
)


def pipeline(checkpoint: Checkpoint, role: Literal["painter", "img2img"]) -> Any:
    """The pipeline in a checkpoint, in fp32 and eval mode, frozen, without its safety checker.

    The checker answers some texts with a black picture, which a defense that compares pictures
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
        getattr(extra("diffusers"), kind).from_pretrained,
        "model_index.json",
        low_cpu_mem_usage=False,
        **(unchecked if "safety_checker" in index else {}),
    )
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

    def truncates(self, text: str) -> bool:
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
            list(texts),
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="pt",
            latents=keys.fold("latents").normal(shape),
            generator=generators,
            callback_on_step_end=count,
        ).images
        return made


class SdEdit(DiffusionPurifier):
    """Through the latents of Stable Diffusion; noise is t* as a share of its schedule's steps.

    Encode, noise, denoise in a few strides, decode (SDEdit, arXiv 2108.01073; img2img), with no
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
            self.empty_prompt: Tensor = pipeline.encode_prompt("", "cpu", 1, False)[0]
        halvings = sum(len(part.config.block_out_channels) - 1 for part in (self.unet, self.vae))
        super().__init__(
            name,
            (self.unet, self.vae),
            kept=scheduler.alphas_cumprod.tolist(),
            noise=noise,
            strides=strides,
            frame=Frame(multiple=2**halvings),
        )

    def enter(self, x: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(2 * x - 1).latent_dist.mean
        return (mean - self._shift) * self._scale

    def leave(self, x: Tensor) -> Tensor:
        made: Tensor = self.vae.decode(x / self._scale + self._shift).sample
        return (made + 1) / 2

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        prompt = self.empty_prompt.to(x).expand(len(x), -1, -1)
        answer: Tensor = self.unet(x, t, encoder_hidden_states=prompt).sample
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


Role = Literal["purifier", "painter", "img2img"]


@register("model", "diffusers")
@dataclass(frozen=True, kw_only=True)
class Diffusers(ModelFamily):
    """``diffusers:PATH-OR-NAME`` reads an AutoencoderKL, an AutoencoderTiny or a DDPM.

    A pipeline gives its unconditional UNet, or else its autoencoder. Needs the extra ``diffusion``,
    and for the other roles ``hf``.

    Attributes:
        name: a folder, or ``OWNER/NAME`` on the hub.
        role: what to make of it. ``purifier``: see above; ``painter``: a pipeline from texts to
            images; ``img2img``: a purifier by the latent diffusion of such a pipeline.
    """

    role: Role = "purifier"

    def load(self) -> Model:
        """The purifier or painter.

        Raises:
            InvalidInput: the extra or a file is missing, or the checkpoint sees no RGB images.
            UnknownName: it is of a class that has no such role here.
        """
        diffusers = extra("diffusers")
        checkpoint = Checkpoint(source=self.name)
        if self.role != "purifier":
            full = f"diffusers:{self.name}?role={self.role}"
            made = pipeline(checkpoint, self.role)
            return PipelinePainter(full, made) if self.role == "painter" else SdEdit(full, made)
        subfolder, config = _config(checkpoint)
        kind = str(config.get("_class_name"))
        if kind not in PURIFIERS:
            raise UnknownName(f"class in {self.name}:", kind, PURIFIERS)
        if config.get("in_channels", 3) != 3:
            raise InvalidInput(f"{self.name} sees {config['in_channels']} channels, not RGB")
        network = checkpoint.weights(getattr(diffusers, kind).from_pretrained, subfolder)
        network = network.float().eval().requires_grad_(False)
        return PURIFIERS[kind](f"diffusers:{self.name}", network, checkpoint)


def _config(checkpoint: Checkpoint) -> tuple[str | None, dict[str, Any]]:
    """Where in the checkpoint the network is, and its configuration."""
    path, config = checkpoint.first("config.json", "model_index.json")
    if path == "config.json":
        return None, config
    if config.get("unet", ["", ""])[1] == "UNet2DModel":
        part = "unet"
    elif "vae" in config:
        part = "vae"
    else:
        raise InvalidInput(
            f"{checkpoint.source} is a {config.get('_class_name')} "
            "with neither an unconditional UNet nor an autoencoder"
        )
    return part, checkpoint.first(f"{part}/config.json")[1]


def _frame(blocks: Any) -> Frame:
    """Each block but one halves the image."""
    return Frame(multiple=2 ** (len(blocks) - 1))


class AutoencoderPurifier(LatentPurifier):
    """Through an autoencoder of diffusers, whose pixels lie in [-1, 1]."""

    def __init__(self, name: str, network: Any, channels: Sequence[int], noise: float) -> None:
        self.network = network
        super().__init__(name, (network,), noise=noise, frame=_frame(channels))

    def decode(self, code: Tensor) -> Tensor:
        made: Tensor = self.network.decode(code).sample
        return (made + 1) / 2


class KlPurifier(AutoencoderPurifier):
    """Through an AutoencoderKL; noise is the temperature of its posterior."""

    def __init__(self, name: str, network: Any, noise: float = 1.0) -> None:
        super().__init__(name, network, network.config.block_out_channels, noise)

    def encode(self, x: Tensor) -> Latent:
        posterior = self.network.encode(2 * x - 1).latent_dist
        return Latent(posterior.mean, posterior.std)


class TinyPurifier(AutoencoderPurifier):
    """Through an AutoencoderTiny; noise counts standard deviations of the image's own code."""

    def __init__(self, name: str, network: Any, noise: float = 0.0) -> None:
        super().__init__(name, network, network.config.encoder_block_out_channels, noise)

    def encode(self, x: Tensor) -> Latent:
        return own_deviation(self.network.encode(2 * x - 1).latents)


class UnetPurifier(DiffusionPurifier):
    """Through an unconditional UNet2DModel; noise is t* as a share of its schedule's steps."""

    def __init__(self, name: str, network: Any, scheduler: Any, noise: float = 0.1, strides: int = 4) -> None:
        if (kind := scheduler.config.prediction_type) != "epsilon":
            raise InvalidInput(f"{name} predicts {kind}; only predictors of noise are read here")
        if network.class_embedding is not None:
            raise InvalidInput(f"{name} wants a class beside the image; take an unconditional one")
        self.network = network
        super().__init__(
            name,
            (network,),
            kept=scheduler.alphas_cumprod.tolist(),
            noise=noise,
            strides=strides,
            frame=_frame(network.config.block_out_channels),
        )

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        # A network that learned its variance too says it in three more channels.
        noise: Tensor = self.network(x, t).sample[:, :3]
        return noise


def _scheduled(name: str, network: Any, checkpoint: Checkpoint) -> UnetPurifier:
    paths = ("scheduler/scheduler_config.json", "scheduler_config.json")
    _, config = checkpoint.first(*paths)
    return UnetPurifier(name, network, extra("diffusers").DDPMScheduler.from_config(config))


Maker = Callable[[str, Any, Checkpoint], TunablePurifier]
PURIFIERS: Final = MappingProxyType[str, Maker](
    {
        "AutoencoderKL": lambda name, network, _: KlPurifier(name, network),
        "AutoencoderTiny": lambda name, network, _: TinyPurifier(name, network),
        "UNet2DModel": _scheduled,
    }
)
"""How to wrap each class of network."""
