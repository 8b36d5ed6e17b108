"""Recorded sounds at one rate and of one length, as an audit reads them: ``waveforms:FOLDER``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.bounds import Count
from secondlook.data.base import Family, Samples, Source
from secondlook.data.sounds import Sounds, find
from secondlook.errors import InvalidInput
from secondlook.models.spectrogram import resampled
from secondlook.registry import digest, register
from secondlook.signals import SOUND, Signal


class WaveformSource(Source):
    """Sounds that are a file each, brought to one rate and length and onto the steps of 16-bit PCM.

    What is too short is followed by silence; what is too long is cut. Both happen before an attack,
    which changes what a model is handed, and is the only one to do so.

    Args:
        sounds: the files and classes.
        rate: samples in a second.
        length: samples of each.
    """

    rounded = False
    signal: ClassVar[Signal] = SOUND

    def __init__(self, sounds: Sounds, rate: int, length: int) -> None:
        self.sounds, self.rate, self.length = sounds, rate, length
        self.ids, self.classes, self.prompt = sounds.ids, sounds.classes, sounds.prompt
        self.provenance = sounds.provenance

    @property
    def files(self) -> Sequence[Path]:
        return self.sounds.files

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Reads the sounds ``rows``, ``[B, 1, 1, T]`` in [0, 1].

        Raises:
            InvalidInput: a file is no sound, or another length is asked for than the data have.
        """
        if size not in (None, (1, self.length)):
            raise InvalidInput(
                f"the sounds have {self.length} samples, and a model wants {size[1]}; write ?length={size[1]}"
            )
        found = self.sounds.read(rows)
        waves = torch.stack([self._fitted(each.samples, each.rate) for each in found.waves])
        steps = SOUND.stored(SOUND.carried(waves))
        return Samples(SOUND.read(steps, torch.float32), found.truth)

    def _fitted(self, samples: Tensor, rate: int) -> Tensor:
        # What is cut off is not resampled first; a second more keeps the filter's edge out.
        ahead = samples[: -(-(self.length + self.rate) * rate // self.rate)]
        wave = resampled(ahead[None], rate, self.rate)[0, : self.length]
        return F.pad(wave, (0, self.length - len(wave))).clamp(-1, 1)

    @property
    def hash(self) -> str:
        """Names, classes, bytes and truth, rate and length."""
        return digest([self.sounds.hash, self.rate, self.length])


@register("data", "waveforms")
@dataclass(frozen=True, kw_only=True)
class Waveforms(Family):
    """Sounds to audit: a folder with a sub-folder for each class, or a published layout.

    Attributes:
        layout: ``folders``, or that of ``esc10``, ``esc50`` or ``audiocaps``.
        rate: samples in a second, which the model wants.
        length: samples of each sound.
        prompt: makes a text of a class name; empty takes the source's own.
    """

    layout: Literal["folders", "esc10", "esc50", "audiocaps"] = "folders"
    rate: Count = 16_000
    length: Count = 16_000
    prompt: str = ""

    def load(self) -> WaveformSource:
        """Lists the files.

        Raises:
            InvalidInput: fewer than two classes, or one without sounds; or as the other source raises it.
        """
        if self.layout == "folders":
            sounds = _foldered(self.path, self.prompt or "the sound of {}")
        else:
            own = {"prompt": self.prompt} if self.prompt else {}
            sounds = registry.build("data", self.layout, {"name": self.name, **own}).load()
        return WaveformSource(sounds, self.rate, self.length)


def _foldered(folder: Path, prompt: str) -> Sounds:
    """The sounds of a folder with a sub-folder for each class, which is called as that is."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder; name one with a sub-folder for each class: rain/1.wav, dog/1.wav")
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(inner) < 2:
        raise InvalidInput(f"{folder} has {len(inner)} sub-folders; make two or more, as rain/1.wav and dog/1.wav")
    found = [(row, path) for row, each in enumerate(inner) for path in find(each).values()]
    return Sounds(
        ids=tuple(path.relative_to(folder).as_posix() for _, path in found),
        classes=tuple(path.name.replace("_", " ") for path in inner),
        paths=tuple(path for _, path in found),
        truth=tuple(row for row, _ in found),
        prompt=prompt,
    )
