"""Models of the sounds of scenes: a tower bound to the images of ``scenes:clip``, and purifiers.

A sound is a batch of images of one row here, ``[B, 1, 1, 8192]`` in [0, 1], as
:class:`~secondlook.signals.Signal` carries it: 0 is -1 and 1 is +1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.purifiers.base import Frame, Latent, LatentPurifier, own_deviation
from secondlook.models.spectrogram import Spectrogram
from secondlook.randomness import Keys
from secondlook.scenes.captions import PROMPT
from secondlook.scenes.models.clip import SceneEmbedder
from secondlook.scenes.models.layers import Residual, conv, unit
from secondlook.scenes.models.purifiers import Posterior
from secondlook.scenes.sound import LENGTH, RATE

SPECTROGRAM: Final = Spectrogram(rate=RATE)
MEAN, DEVIATION = -7.3, 3.8
"""Of the logarithms of the energies, about."""


def normalized(wave: Tensor) -> Tensor:
    """``[B, 8192]`` in [-1, 1] to log-mel ``[B, 1, 64, 64]`` of deviation near 1."""
    return (SPECTROGRAM.log_mel(wave)[:, None] - MEAN) / DEVIATION


class BindNetwork(nn.Module):
    """A sound to a unit vector where the picture of the same scene is (ImageBind, arXiv 2305.05665)."""

    def __init__(self, *, dim: int = 256) -> None:
        super().__init__()
        self.sound = nn.Sequential(
            conv(1, 32, stride=2, kernel=5),
            Residual(conv(32, 32)),
            conv(32, 64, stride=2),
            Residual(conv(64, 64)),
            conv(64, 128, stride=2),
            Residual(conv(128, 128)),
            conv(128, 16, kernel=1),
            nn.Flatten(),
            nn.Linear(16 * 64, dim),
        )
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def forward(self, mel: Tensor) -> Tensor:
        """Normalized log-mel ``[B, 1, 64, 64]`` to unit vectors ``[B, D]``."""
        return unit(self.sound(mel))


class SoundEmbedder(Embedder):
    """Sounds and texts: the texts are those of ``scenes:clip``, which never heard anything."""

    channels = 1
    size = (1, LENGTH)
    prompt = PROMPT

    def __init__(self, name: str, network: BindNetwork) -> None:
        self.name, self.network = name, network

    @cached_property
    def anchor(self) -> SceneEmbedder:
        """The embedder of images and texts that the sounds are bound to."""
        made = load("scenes:clip")
        assert isinstance(made, SceneEmbedder)
        return made

    @property
    def modules(self) -> tuple[nn.Module, ...]:  # type: ignore[override]
        """The tower of sounds, and the anchor's two."""
        return (self.network, self.anchor.network)

    def encode_image(self, x: Tensor) -> Tensor:
        """Sounds ``[B, 1, 1, 8192]`` in [0, 1] to vectors.

        Raises:
            InvalidInput: they are of another length.
        """
        if x.shape[2:] != self.size:
            raise InvalidInput(f"{self.name} hears {LENGTH} samples at {RATE} Hz, and was given {tuple(x.shape)}")
        found: Tensor = self.network(normalized(2 * x[:, 0, 0] - 1))
        return found

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.anchor.encode_text(texts)


class MelAutoencoderNetwork(nn.Module):
    """Encoder and decoder of a normalized log-mel; with ``variational`` the latent is a Gaussian."""

    def __init__(self, *, variational: bool, channels: int = 8) -> None:
        super().__init__()
        self.variational = variational
        self.encoder = nn.Sequential(
            conv(1, 32, stride=2, kernel=5),
            Residual(conv(32, 32)),
            conv(32, 64, stride=2),
            Residual(conv(64, 64)),
            Residual(conv(64, 64, dilation=2)),
            Residual(conv(64, 64, dilation=4)),
            nn.Conv2d(64, 2 * channels if variational else channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1),
            Residual(conv(64, 64)),
            Residual(conv(64, 64)),
            conv(64, 128, kernel=1),
            nn.PixelShuffle(2),
            Residual(conv(32, 32)),
            Residual(conv(32, 32)),
            nn.Conv2d(32, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def encode(self, mel: Tensor) -> Posterior:
        """``[B, 1, 64, 64]`` to its posterior; an AE's has no variance."""
        latent = self.encoder(mel)
        if not self.variational:
            return Posterior(latent, torch.full_like(latent, float("-inf")))
        mean, log_variance = latent.chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12, 4))

    def decode(self, latent: Tensor) -> Tensor:
        """``[B, C, 16, 16]`` to a log-mel."""
        made: Tensor = self.decoder(latent).float()
        return made


class SoundAutoencoder(LatentPurifier):
    """A waveform whose log-mel is an autoencoder's reconstruction of its own, with its own phases.

    Each band and frame of the spectrum is multiplied with what brings its energy there; then the
    spectrum is inverted. A model of any front end may be behind it, since it hears a waveform.
    Noise is the temperature of a VAE's posterior, 1 by default; with an AE it counts standard
    deviations of the sound's own code, 0 by default.
    """

    channels = 1

    def __init__(self, name: str, network: MelAutoencoderNetwork, *, noise: float | None = None) -> None:
        self.network = network
        strength = float(network.variational) if noise is None else noise
        super().__init__(name, (network,), noise=strength, frame=Frame())

    def encode(self, x: Tensor) -> Latent:
        """Normalized log-mel ``[B, 1, 64, 64]`` to a latent."""
        mean, log_variance = self.network.encode(x)
        if not self.network.variational:
            return own_deviation(mean)
        return Latent(mean, (0.5 * log_variance).exp())

    def decode(self, code: Tensor) -> Tensor:
        return self.network.decode(code)

    def remake(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of sounds ``[B, 1, 1, 8192]`` in [0, 1].

        Raises:
            InvalidInput: they are of another length.
        """
        if x.shape[2:] != (1, LENGTH):
            raise InvalidInput(f"{self.name} purifies {LENGTH} samples at {RATE} Hz, and was given {tuple(x.shape)}")
        wave = 2 * x[:, 0, 0] - 1
        wanted = super().remake(normalized(wave), keys)[:, 0] * DEVIATION + MEAN
        return ((imposed(wave, wanted) + 1) / 2)[:, None, None]


def imposed(wave: Tensor, wanted: Tensor) -> Tensor:
    """``wave`` ``[B, 8192]`` with the log-mel ``wanted`` ``[B, 64, 64]``, as near as a gain can bring it."""
    spectrum = SPECTROGRAM.transform(wave)
    found = (SPECTROGRAM.energies(spectrum)[..., : wanted.shape[-1]] + SPECTROGRAM.floor).log()
    change = (0.5 * (wanted - found)).clamp(-4, 4)
    filters = SPECTROGRAM.filters().to(change)
    spread = filters / filters.sum(0).clamp_min(1e-9)
    gain = (spread.T @ change).exp()
    gain = torch.cat([gain, gain[..., -1:]], dim=-1)
    return SPECTROGRAM.inverse(spectrum * gain, wave.shape[1])
