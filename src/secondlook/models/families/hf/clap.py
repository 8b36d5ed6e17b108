"""CLAP: sounds and texts to vectors of one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.ledger import tally
from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.families.hf.embedders import HubEmbedder, pooled
from secondlook.models.identity import Answer


class LogMel:
    """Waveforms to log-mel spectrograms, as CLAP's feature extractor makes them, with a gradient.

    Attributes:
        rate: samples in a second, Hz.
        longest: samples in the longest sound that it takes.
        copies: spectrograms for each sound: four where the network fuses views of long ones.
    """

    def __init__(self, extractor: Any) -> None:
        self.rate, self.longest = int(extractor.sampling_rate), int(extractor.nb_max_samples)
        self.frame, self.hop = int(extractor.fft_window_size), int(extractor.hop_length)
        fuses = extractor.truncation == "fusion"
        self.copies, self.padding = 4 if fuses else 1, str(extractor.padding)
        bank = extractor.mel_filters if fuses else extractor.mel_filters_slaney
        self.filters = torch.from_numpy(np.asarray(bank)).float()

    def __call__(self, wave: Tensor) -> Tensor:
        """Mono waveforms ``[B, T]`` in [-1, 1] to decibels ``[B, copies, frames, bands]``."""
        wave = self._filled(wave)
        window = torch.hann_window(self.frame, dtype=wave.dtype, device=wave.device)
        spectrum = torch.stft(wave, self.frame, self.hop, window=window, pad_mode="reflect", return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = power.transpose(1, 2) @ self.filters.to(wave)
        return (10 * mel.clamp_min(1e-10).log10())[:, None].expand(-1, self.copies, -1, -1)

    def _filled(self, wave: Tensor) -> Tensor:
        """A short sound repeated, where it is trained so, and filled up with silence."""
        whole, rest = divmod(self.longest, wave.shape[1])
        if self.padding == "repeatpad":
            wave = wave.repeat(1, whole)
        elif self.padding == "repeat":
            wave = wave.repeat(1, whole + (rest > 0))[:, : self.longest]
        return F.pad(wave, (0, self.longest - wave.shape[1]))


class ClapEmbedder(HubEmbedder):
    """CLAP (arXiv 2211.06687): encodes sounds and texts, and no images.

    Attributes:
        mel: from waveforms to what its audio tower takes.
    """

    prompt = "This is a sound of {}."

    def prepare(self, bundle: Bundle) -> tuple[int, int] | None:
        self.mel = LogMel(bundle.feature_extractor())
        return None

    def encode_image(self, x: Tensor) -> Tensor:
        raise InvalidInput(f"{self.name} encodes sounds and texts, no images; call embed_audio")

    def encode_audio(self, wave: Tensor) -> Tensor:
        """Mono waveforms ``[B, T]`` in [-1, 1], at ``mel.rate`` Hz, to vectors ``[B, D]``."""
        mel = self.mel(wave)
        # No sound here is longer than the window. transformers calls a random one so all the same.
        short = torch.zeros(len(wave), 1, dtype=torch.bool, device=wave.device)
        return pooled(self.network.get_audio_features(input_features=mel, is_longer=short))

    def probe_answers(self) -> Sequence[Answer]:
        return (*super().probe_answers(), lambda x: self.embed_audio(x.flatten(1)[:, :4800] - 0.5))

    def embed_audio(self, wave: Tensor) -> Tensor:
        """Sounds to unit vectors ``[B, D]`` in fp32; see :meth:`encode_audio`.

        Raises:
            InvalidInput: wrong shape or type, NaN, silence of no length, or a sound too long.
        """
        self._check(wave)
        return F.normalize(self.encode_audio(tally(self.name, wave)).float(), dim=-1)

    def _check(self, wave: Tensor) -> None:
        if wave.dim() != 2 or not wave.is_floating_point() or not wave.shape[1]:
            raise InvalidInput(
                f"{self.name} was handed {wave.dtype} of shape {tuple(wave.shape)}; sounds are [B, T], mono, in [-1, 1]"
            )
        if wave.shape[1] > self.mel.longest:
            seconds = self.mel.longest / self.mel.rate
            raise InvalidInput(
                f"sounds of {wave.shape[1]} samples are longer than the {seconds:g} s at "
                f"{self.mel.rate} Hz that {self.name} takes; cut them"
            )
        if bool(wave.detach().isnan().any()):
            raise InvalidInput(f"{self.name} was handed NaN samples; find what made them")
