"""Silero's detector of voices (MIT license): ``silero:vad``, from the weights that its package ships."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, ModelFamily
from secondlook.registry import register

RATE: Final = 16_000
"""Samples in a second."""
WINDOW, CONTEXT, AHEAD = 512, 64, 64
"""Samples that are judged at once, those before that are seen with them, and those mirrored at the end."""
_FILE: Final = "data/silero_vad_16k.safetensors"


class SileroNetwork(nn.Module):
    """A short-time Fourier transform as a convolution, four convolutions, and a memory over the windows."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.memory = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, wave: Tensor) -> Tensor:
        """``[B, T]`` in [-1, 1] at 16 kHz to a logit of voice for each window of 32 ms, ``[B, ceil(T / 512)]``."""
        padded = F.pad(wave, (CONTEXT, -wave.shape[1] % WINDOW))
        windows = padded.unfold(1, CONTEXT + WINDOW, WINDOW)
        flat = F.pad(windows.flatten(0, 1)[:, None], (0, AHEAD), mode="reflect")
        parts = self.stft_conv(flat)
        # The root of nothing has no slope: silence is told by what is added.
        x = (parts[:, :129].square() + parts[:, 129:].square() + 1e-12).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = layer(x).relu()
        seen, _ = self.memory(x[..., 0].unflatten(0, windows.shape[:2]))
        out: Tensor = self.final_conv(seen.relu().transpose(1, 2))[:, 0]
        return out


class SileroVad(Classifier):
    """Whether anybody speaks: the score of ``voice`` is the largest logit of all windows, that of ``no voice`` is 0."""

    classes = ("no voice", "voice")
    channels = 1
    rate = RATE

    def __init__(self, name: str, network: SileroNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)

    def features(self, x: Tensor) -> Tensor:
        """Sounds ``[B, 1, 1, T]`` in [0, 1] to the largest logit, ``[B, 1]``.

        Raises:
            InvalidInput: they are shorter than a window.
        """
        x = self.checked_input(x)
        if x.shape[2] != 1 or x.shape[3] < WINDOW:
            raise InvalidInput(f"{self.name} hears [B, 1, 1, T], T at least {WINDOW}, not {tuple(x.shape)}")
        found: Tensor = self.network(2 * x[:, 0, 0] - 1).amax(1, keepdim=True)
        return found

    def scores(self, features: Tensor) -> Tensor:
        """``[..., 1]`` to ``[..., 2]``."""
        return torch.cat([torch.zeros_like(features), features], dim=-1)


@register("model", "silero")
@dataclass(frozen=True, kw_only=True)
class Silero(ModelFamily):
    """``silero:vad`` of the package silero-vad, or ``silero:FILE.safetensors`` from elsewhere."""

    @staticmethod
    def listed() -> dict[str, str]:
        """The detector, where its package is installed."""
        return {"vad": "classifier, 0.3 M parameters; voice or no voice, 16 kHz"} if _installed() else {}

    def load(self) -> SileroVad:
        """The detector, frozen.

        Raises:
            InvalidInput: the package is not installed, or the file holds other weights.
        """
        file = _installed() if self.name == "vad" else self.path
        if file is None:
            raise InvalidInput("silero:vad needs silero-vad; run: pip install --no-deps silero-vad")
        try:
            held = load_file(file)
            network = SileroNetwork()
            network.load_state_dict({_renamed(name): value for name, value in held.items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise InvalidInput(f"{file} holds no weights of silero-vad at 16 kHz ({error}); name such a file") from None
        network.eval().requires_grad_(False)
        return SileroVad(f"silero:{self.name}", network)


def _renamed(name: str) -> str:
    """A cell's weights under the names that a layer of it has."""
    return f"{name.replace('lstm_cell.', 'memory.')}_l0" if name.startswith("lstm_cell.") else name


def _installed() -> Path | None:
    """The file of weights; the package itself is not imported."""
    found = importlib.util.find_spec("silero_vad")
    return Path(found.origin).parent / _FILE if found and found.origin else None
