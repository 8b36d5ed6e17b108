"""The family ``diffusers``: purifiers and painters of that ecosystem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Model
from secondlook.models.ddpm import DiffusionPurifier
from secondlook.models.frame import Frame
from secondlook.models.hub import Checkpoint, extra
from secondlook.models.latent import Latent, LatentPurifier, own_deviation
from secondlook.models.stablediffusion import PipelinePainter, SdEdit, pipeline
from secondlook.models.tunable import TunablePurifier
from secondlook.registry import register

Role = Literal["purifier", "painter", "img2img"]


@register("model", "diffusers")
@dataclass(frozen=True, kw_only=True)
class Diffusers:
    """``diffusers:PATH-OR-NAME`` reads an AutoencoderKL, an AutoencoderTiny or a DDPM.

    A pipeline gives its unconditional UNet, or else its autoencoder. Needs the extra ``diffusion``,
    and for the other roles ``hf``.

    Attributes:
        name: a folder, or ``OWNER/NAME`` on the hub.
        role: what to make of it. ``purifier``: see above; ``painter``: a pipeline from texts to
            images; ``img2img``: a purifier by the latent diffusion of such a pipeline.
    """

    name: str
    role: Role = "purifier"

    @staticmethod
    def listed() -> dict[str, str]:
        """Nothing: none is shipped."""
        return {}

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


class KlPurifier(LatentPurifier):
    """Through an AutoencoderKL; noise is the temperature of its posterior."""

    def __init__(self, name: str, network: Any, noise: float = 1.0) -> None:
        self.network = network
        frame = _frame(network.config.block_out_channels)
        super().__init__(name, (network,), noise=noise, frame=frame)

    def encode(self, x: Tensor) -> Latent:
        posterior = self.network.encode(2 * x - 1).latent_dist
        return Latent(posterior.mean, posterior.std)

    def decode(self, code: Tensor) -> Tensor:
        made: Tensor = self.network.decode(code).sample
        return (made + 1) / 2


class TinyPurifier(LatentPurifier):
    """Through an AutoencoderTiny; noise counts standard deviations of the image's own code."""

    def __init__(self, name: str, network: Any, noise: float = 0.0) -> None:
        self.network = network
        frame = _frame(network.config.encoder_block_out_channels)
        super().__init__(name, (network,), noise=noise, frame=frame)

    def encode(self, x: Tensor) -> Latent:
        return own_deviation(self.network.encode(2 * x - 1).latents)

    def decode(self, code: Tensor) -> Tensor:
        made: Tensor = self.network.decode(code).sample
        return (made + 1) / 2


class UnetPurifier(DiffusionPurifier):
    """Through an unconditional UNet2DModel; noise is t* as a share of its schedule's steps."""

    def __init__(
        self, name: str, network: Any, scheduler: Any, noise: float = 0.1, strides: int = 4
    ) -> None:
        if (kind := scheduler.config.prediction_type) != "epsilon":
            raise InvalidInput(f"{name} predicts {kind}; only predictors of noise are read here")
        if network.class_embedding is not None:
            raise InvalidInput(f"{name} wants a class beside the image; take an unconditional one")
        self.network = network
        super().__init__(
            name, (network,), kept=scheduler.alphas_cumprod.tolist(), noise=noise,
            strides=strides, frame=_frame(network.config.block_out_channels),
        )  # fmt: skip

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        # A network that learned its variance too says it in three more channels.
        noise: Tensor = self.network(x, t).sample[:, :3]
        return noise


def _scheduled(name: str, network: Any, checkpoint: Checkpoint) -> UnetPurifier:
    paths = ("scheduler/scheduler_config.json", "scheduler_config.json")
    _, config = checkpoint.first(*paths)
    return UnetPurifier(name, network, extra("diffusers").DDPMScheduler.from_config(config))


Maker = Callable[[str, Any, Checkpoint], TunablePurifier]
PURIFIERS: Final = MappingProxyType[str, Maker]({
    "AutoencoderKL": lambda name, network, _: KlPurifier(name, network),
    "AutoencoderTiny": lambda name, network, _: TinyPurifier(name, network),
    "UNet2DModel": _scheduled,
})  # fmt: skip
"""How to wrap each class of network."""
