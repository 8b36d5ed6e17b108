"""Purifiers of sounds without weights: a lower rate, a band of frequencies, a lossy codec.

Each takes sounds as they are carried, ``[B, 1, 1, T]`` in [0, 1].
"""

from __future__ import annotations

import importlib
import importlib.util
import io
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Purifier
from secondlook.models.purifiers.soft import SoftPurifier
from secondlook.models.spectrogram import resampled
from secondlook.randomness import Keys
from secondlook.signals import SOUND

Codec = Literal["mp3", "opus", "vorbis"]
_FORMATS: Final = MappingProxyType[str, tuple[str, str]](
    {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "vorbis": ("OGG", "VORBIS")}
)
LAG: Final = 8
"""Samples that a codec may shift a sound by; it is shifted back."""


class Resampled(Purifier):
    """A sound at a lower rate and back again (after Hussain et al. 2021, *WaveGuard*).

    Raises:
        InvalidInput: ``inside`` is not below ``rate``, or one of them below 1.
    """

    stochastic, channels = False, 1

    def __init__(self, inside: int, rate: int) -> None:
        if not 1 <= inside < rate:
            raise InvalidInput(f"inside={inside} Hz at rate={rate} Hz; write a rate that is lower: {rate // 2}")
        self.inside, self.rate, self.name = inside, rate, f"resampled:{inside}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """Without what is above half the lower rate."""
        wave = SOUND.natural(x)
        low = resampled(wave, self.rate, self.inside)
        back = resampled(low, self.inside, self.rate)[:, : wave.shape[1]]
        return SOUND.carried(torch.nn.functional.pad(back, (0, wave.shape[1] - back.shape[1]))).clamp(0, 1)


class BandPass(Purifier):
    """The frequencies from ``low`` to ``high`` Hz alone, cut off in the spectrum of the whole sound.

    Raises:
        InvalidInput: ``low`` is not below ``high``, or outside of what the rate can hold.
    """

    stochastic, channels = False, 1

    def __init__(self, low: float, high: float, rate: int) -> None:
        if not 0 <= low < high <= rate / 2:
            raise InvalidInput(
                f"low={low:g}, high={high:g} Hz at rate={rate} Hz; write 0 <= low < high <= {rate / 2:g}"
            )
        self.low, self.high, self.rate, self.name = low, high, rate, f"band-pass:{low:g}-{high:g}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """With everything else taken out."""
        wave = SOUND.natural(x)
        spectrum = torch.fft.rfft(wave)
        at = torch.fft.rfftfreq(wave.shape[1], 1 / self.rate, device=wave.device)
        kept = ((at >= self.low) & (at <= self.high)).to(wave)
        return SOUND.carried(torch.fft.irfft(spectrum * kept, wave.shape[1])).clamp(0, 1)


class LossyCodec(SoftPurifier):
    """A sound through MP3, Opus or Vorbis in memory, as JPEG is to an image.

    Its gradient is the identity (straight-through).

    Raises:
        InvalidInput: the extra ``audio`` is missing, the codec is not in the installed libsndfile, or
            a strength outside [0, 1].
    """

    stochastic, channels = False, 1

    def __init__(self, codec: Codec = "mp3", strength: float = 0.5, rate: int = 8000) -> None:
        if codec not in _FORMATS:
            raise InvalidInput(f"codec={codec!r} is unknown; write one of {', '.join(_FORMATS)}")
        if not 0 <= strength <= 1:
            raise InvalidInput(f"strength={strength:g} is outside [0, 1]; 0.5 is usual")
        self.codec, self.strength, self.rate = codec, strength, rate
        self.name = f"{codec}:{strength:g}"
        self._library = _soundfile(codec, rate)

    @property
    def settings(self) -> tuple[float, ...]:
        return (self.strength, float(self.rate))

    def hard(self, x: Tensor, keys: Keys) -> Tensor:
        """What is decoded, aligned with what was encoded."""
        waves = SOUND.natural(x).cpu().double().numpy()
        decoded = np.stack([self._through(wave) for wave in waves]) if len(waves) else waves
        return SOUND.carried(torch.from_numpy(decoded).to(x)).clamp(0, 1)

    def soft(self, x: Tensor, keys: Keys) -> Tensor:
        """The sound itself."""
        return x

    def _through(self, wave: Any) -> Any:
        kind, subtype = _FORMATS[self.codec]
        held = io.BytesIO()
        self._library.write(held, wave, self.rate, format=kind, subtype=subtype, compression_level=self.strength)
        held.seek(0)
        decoded, _ = self._library.read(held, dtype="float64")
        return aligned(decoded, wave)


def aligned(decoded: Any, wave: Any) -> Any:
    """``decoded`` at the length of ``wave``, shifted by the few samples at which both agree best."""
    room = np.pad(decoded, (LAG, max(len(wave) + LAG - len(decoded), 0)))
    shifts = [float(room[at : at + len(wave)] @ wave) for at in range(2 * LAG + 1)]
    # Nothing moves where silence agrees with everything.
    best = int(np.argmax(shifts)) if max(shifts) > shifts[LAG] else LAG
    return room[best : best + len(wave)]


def _soundfile(codec: str, rate: int) -> Any:
    """The library, if it has the codec at this rate.

    Raises:
        InvalidInput: it has not.
    """
    if importlib.util.find_spec("soundfile") is None:
        raise InvalidInput(f"codec={codec!r} needs the extra audio; run: pip install 'secondlook[audio]'")
    library: Any = importlib.import_module("soundfile")
    kind, subtype = _FORMATS[codec]
    try:
        library.write(io.BytesIO(), np.zeros(rate // 4), rate, format=kind, subtype=subtype)
    except Exception as error:
        version = library.__libsndfile_version__
        raise InvalidInput(
            f"codec={codec!r} cannot be written at {rate} Hz by libsndfile {version} ({error}); install a newer "
            "soundfile, or write another codec or rate"
        ) from None
    return library
