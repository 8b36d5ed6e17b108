"""The embedded world's purifiers: an autoencoder, a variational one, and a diffusion model."""

from __future__ import annotations

from torch import Tensor

from secondlook.models.ddpm import DiffusionPurifier
from secondlook.models.frame import Frame
from secondlook.models.latent import Latent, LatentPurifier, own_deviation
from secondlook.scenes.networks.autoencoder import AutoencoderNetwork
from secondlook.scenes.networks.denoiser import DenoiserNetwork, Schedule
from secondlook.scenes.world import SIDE

FRAME = Frame(size=(SIDE, SIDE))


class SceneAutoencoder(LatentPurifier):
    """Through a 16×16 latent.

    Noise is the temperature of a VAE's posterior, 1 unless told; with an AE it counts standard
    deviations of the image's own code, 0 unless told.
    """

    def __init__(
        self, name: str, network: AutoencoderNetwork, *, noise: float | None = None
    ) -> None:
        self.network = network
        strength = float(network.variational) if noise is None else noise
        super().__init__(name, (network,), noise=strength, frame=FRAME)

    def encode(self, x: Tensor) -> Latent:
        mean, log_variance = self.network.encode(x)
        if not self.network.variational:
            return own_deviation(mean)
        return Latent(mean, (0.5 * log_variance).exp())

    def decode(self, code: Tensor) -> Tensor:
        return self.network.decode(code)


class SceneDiffusion(DiffusionPurifier):
    """Through a DDPM of scenes; noise is t* as a share of its thousand steps."""

    def __init__(
        self, name: str, network: DenoiserNetwork, *, noise: float = 0.05, strides: int = 1
    ) -> None:
        self.network = network
        kept = Schedule().kept.tolist()
        super().__init__(name, (network,), kept=kept, noise=noise, strides=strides, frame=FRAME)

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        guess: Tensor = self.network(x, t)
        return guess
