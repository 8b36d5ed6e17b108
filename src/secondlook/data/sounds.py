"""Sounds with classes or captions, read lazily to one channel of samples in [-1, 1]."""

from __future__ import annotations

import warnings
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import wavfile
from torch import Tensor

from secondlook.data.base import Listing
from secondlook.data.decoding import extra, reason, refuse_irregular
from secondlook.errors import InvalidInput
from secondlook.registry import digest
from secondlook.signals import SOUND

EXTENSIONS: Final = (".flac", ".mp3", ".ogg", ".wav")
"""What a file must end in, in small or capital letters, to count as a sound."""

MAX_SAMPLES: Final = 200_000_000
"""A longer sound is refused from its header, before it takes memory: an hour of stereo at 28 kHz."""


_FLOATS, _EXTENSIBLE = 3, 0xFFFE
"""Forms of samples, as ``mmreg.h`` numbers them."""


class Wave(NamedTuple):
    """A sound.

    Attributes:
        samples: ``[T]`` in [-1, 1], float32; several channels are averaged.
        rate: samples per second.
    """

    samples: Tensor
    rate: int


def read_wave(path: Path) -> Wave:
    """Reads one sound file: ``.wav`` of whole numbers or floats as it is, other formats with the extra ``audio``.

    Raises:
        InvalidInput: the file is missing, empty, truncated or no sound, or the extra is missing.
    """
    refuse_irregular(path)
    try:
        channels, rate = _uncompressed(path) if path.suffix.lower() == ".wav" else _other(path)
    except InvalidInput:
        raise
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({reason(error)}); check the path") from error
    # Decoders meet broken bytes with errors of their own: wave.Error, EOFError, RuntimeError.
    except Exception as error:
        raise InvalidInput(
            f"{path} cannot be read as a sound ({reason(error)}); replace the file, by one of PCM"
        ) from error
    if not len(channels):
        raise InvalidInput(f"{path} holds no sample; replace the file or remove it")
    mono = channels.mean(axis=1, dtype=np.float64).astype(np.float32)
    if not np.isfinite(mono).all():
        raise InvalidInput(f"{path} holds NaN or infinite samples; find what made them, and write it anew")
    return Wave(torch.from_numpy(mono), rate)


def _uncompressed(path: Path) -> tuple[NDArray[Any], int]:
    """Samples ``[T, channels]`` of a file of whole numbers, or of floats, or with an extended head."""
    if _form(path) not in (_FLOATS, _EXTENSIBLE):
        return _pcm(path)
    if path.stat().st_size > 8 * MAX_SAMPLES:
        raise InvalidInput(f"{path} has {path.stat().st_size:,} bytes; cut it to {MAX_SAMPLES / 1e6:g} million samples")
    begin, length = _chunk(path, b"data")
    if begin + length > path.stat().st_size:
        raise InvalidInput(
            f"{path} is truncated: {path.stat().st_size - begin} of {length} bytes of sound; load it again"
        )
    with warnings.catch_warnings():  # of parts that are no sound
        warnings.simplefilter("ignore", wavfile.WavFileWarning)
        rate, samples = wavfile.read(path)
    if not rate:
        raise InvalidInput(f"{path} says that it has {rate} Hz; write it anew")
    if samples.dtype.kind == "u":
        samples = (samples.astype(np.float64) - 128) / 128
    elif samples.dtype.kind == "i":  # 24 bits come in the upper bytes of 32
        samples = samples / 2.0 ** (8 * samples.dtype.itemsize - 1)
    return samples.reshape(len(samples), -1 if len(samples) else 1), int(rate)


def _pcm(path: Path) -> tuple[NDArray[Any], int]:
    """Samples ``[T, channels]`` of a file of whole numbers."""
    with wave.open(str(path), "rb") as file:
        frames, width, channels = file.getnframes(), file.getsampwidth(), file.getnchannels()
        rate, content = file.getframerate(), file.readframes(frames)
        if len(content) != frames * width * channels:
            raise InvalidInput(
                f"{path} is truncated: {len(content)} of {frames * width * channels} bytes of sound; load it again"
            )
        if not channels or not 1 <= width <= 4 or not rate:
            form = f"{channels} channels of {8 * width} bits at {rate} Hz"
            raise InvalidInput(f"{path} says that it has {form}; write it anew")
        if (bits := _bits(path)) != 8 * width:
            raise InvalidInput(f"{path} says that it has {bits} bits a sample; write it anew, with 16 or 24")
        return _scaled(content, width).reshape(-1, channels), rate


def _bits(path: Path) -> int:
    """Bits of a sample, as the head of a WAV file has them; :mod:`wave` tells whole bytes."""
    return int.from_bytes(_head(path)[14:], "little")


def _form(path: Path) -> int:
    """The number of the form of the samples: 1 for whole numbers."""
    return int.from_bytes(_head(path)[:2], "little")


def _head(path: Path) -> bytes:
    """The 16 bytes that say how a WAV file is written; fewer where it ends before."""
    with path.open("rb") as file:
        file.seek(_chunk(path, b"fmt ")[0])
        return file.read(16)


def _chunk(path: Path, name: bytes) -> tuple[int, int]:
    """Where a part of a WAV file begins, and how long it says that it is; the end of the file where there is none."""
    with path.open("rb") as file:
        file.seek(12)
        while (head := file.read(8)) and head[:4] != name:
            length = int.from_bytes(head[4:], "little")
            file.seek(length + length % 2, 1)
        return file.tell(), int.from_bytes(head[4:], "little")


def _scaled(content: bytes, width: int) -> NDArray[Any]:
    """Whole numbers of 1 to 4 bytes as shares of full scale; those of one byte have no sign."""
    if width == 1:
        return (np.frombuffer(content, np.uint8).astype(np.float64) - 128) / 128
    parts = np.frombuffer(content, np.uint8).reshape(-1, width)
    whole = np.zeros((len(parts), 4), np.uint8)
    whole[:, 4 - width :] = parts  # in the upper bytes, so that the sign is where it belongs
    return whole.view("<i4")[:, 0] / 2.0**31


def _other(path: Path) -> tuple[NDArray[Any], int]:
    if path.suffix.lower() not in EXTENSIONS:
        raise InvalidInput(f"{path} is no sound; it must end in {', '.join(EXTENSIONS)}")
    reader = extra("soundfile", "audio", f"{path.name}, which is no .wav,")
    with reader.SoundFile(str(path)) as file:
        if file.frames * file.channels > MAX_SAMPLES:
            raise InvalidInput(
                f"{path} unpacks to {file.frames * file.channels / 1e6:.0f} million samples; cut it to "
                f"{MAX_SAMPLES / 1e6:g} million or fewer"
            )
        return file.read(dtype="float32", always_2d=True), int(file.samplerate)


def write_wave(file: Path | BinaryIO, samples: Tensor, rate: int) -> None:
    """Writes samples ``[T]`` in [-1, 1] as a WAV file of one channel of 16-bit PCM, rounded to its steps.

    Example:
        ``write_wave(Path("attacked.wav"), found.x[0], 16_000)``
    """
    steps = SOUND.stored(SOUND.carried(samples.detach().cpu()[None]))[0, 0, 0].numpy()
    with wave.open(file if not isinstance(file, Path) else str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(steps.astype("<i2").tobytes())


class SoundSamples(NamedTuple):
    """Sounds that were read. They may differ in length and rate: bringing them to one is a model's.

    Attributes:
        waves: samples in [-1, 1] and their rate, one for each row.
        truth: ``[B]``, index into ``classes``.
    """

    waves: tuple[Wave, ...]
    truth: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Sounds(Listing):
    """Sounds that are a file each; a file is opened when its row is read.

    Attributes:
        ids: one name per sound.
        classes: candidate texts.
        paths: the file of each sound.
        truth: the class of each sound.
        prompt: the template around a class name.
        texts: all captions; none where the sounds have classes alone.
        owner: for each caption the row of its sound.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    truth: tuple[int, ...]
    prompt: str = "{}"
    texts: tuple[str, ...] = ()
    owner: tuple[int, ...] = ()

    def read(self, rows: Sequence[int]) -> SoundSamples:
        """Reads the sounds ``rows``.

        Raises:
            InvalidInput: a file is truncated or no sound, or the extra ``audio`` is missing.
        """
        truth = torch.tensor([self.truth[row] for row in rows], dtype=torch.long)
        return SoundSamples(tuple(read_wave(self.paths[row]) for row in rows), truth)

    @property
    def files(self) -> tuple[Path, ...]:
        return self.paths

    @property
    def hash(self) -> str:
        """Names, classes, bytes, truth and captions."""
        return digest([super().hash, self.truth, self.texts, self.owner])


def find(folder: Path) -> dict[str, Path]:
    """The sound files of a folder by name, sorted; hidden ones left out.

    Raises:
        InvalidInput: the folder is missing, or holds none.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.is_file())
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read as a folder ({reason(error)}); name one that is there") from error
    found = {path.name: path for path in files if not path.name.startswith(".")}
    if not found:
        raise InvalidInput(f"no sounds in {folder}; they must end in {', '.join(EXTENSIONS)}")
    return found
