"""Naming what is in a sound: zero-shot classification whose inputs are waveforms."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor

from secondlook.attacks.pairs import Pairs
from secondlook.data import load
from secondlook.data.base import Source
from secondlook.data.sounds import write_wave
from secondlook.decision import Decision
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.metrics.figures import average
from secondlook.models.spectrogram import Spectrogram
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.schema import Metric
from secondlook.signals import SOUND, decibels, segmental
from secondlook.tasks.base import Figures, Record, Shown
from secondlook.tasks.classification import VIEW, ClassExample, ClassificationBatch, OpenClassification, ZeroShotTask
from secondlook.tasks.view import Column, Table, View, picture

PLAYED: Final = 5.0
"""Seconds of a sound that a page can play, at most."""
QUANTILES: Final = {"least": 0.0, "lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75, "greatest": 1.0}
"""Of the signal-to-noise ratios of a row."""


class SoundExample(ClassExample):
    """A sound before and after, to be heard and, as spectrograms, to be seen."""

    clean_sound: str
    """Base64 of a 16-bit WAV file."""
    added_sound: str
    """What the attacker adds, as loud as the sound itself."""
    adversarial_sound: str
    waveform: str
    """What is added over the sound, sample by sample: a PNG."""
    snr: float
    """Signal-to-noise ratio in dB."""


@dataclass(frozen=True, kw_only=True)
class SoundDecision(Decision):
    """A decision on sounds, with what was done to them.

    Attributes:
        snr: signal-to-noise ratios against the clean sounds, ``[B]`` in dB; infinite where nothing changed.
        segments: the same over windows of 256 samples, see :func:`~secondlook.signals.segmental`.
    """

    snr: Tensor
    segments: Tensor


SOUND_VIEW: Final = View(
    goals=VIEW.goals,
    columns=tuple(Column(metric=f"snr_{name}", title=name.replace("_", " ")) for name in QUANTILES),
    things="sounds",
    tables=(
        Table(
            title="Signal-to-noise ratio, dB",
            metrics=(*(f"snr_{name}" for name in QUANTILES), "segmental_snr"),
            note="<dfn>Ratio</dfn>: 20 log10 of the length of the sound over that of the change; 30 dB is faint, "
            "0 dB is as loud. <dfn>Segmental</dfn>: the mean over windows of 256 samples, each cut to [-10, 35].",
        ),
        *VIEW.tables,
    ),
    example=SoundExample,
    gallery="What the attacker adds is played and drawn as loud as the sound itself.",
    template=files("secondlook.tasks").joinpath("sound.html.jinja"),
)


@register("task", "sound")
@dataclass(frozen=True, kw_only=True)
class SoundTask(ZeroShotTask):
    """Zero-shot classification of sounds, or of what else they are bound to.

    Attributes:
        data: a source of sounds by name, ``scene-sounds:test``.
        samples: how many of its sounds; 0 takes all.
        goal: what the attacker wants: the answer ``targeted``, or any wrong one, ``untargeted``.
        target: align to the ``text`` of another class, or to an ``image`` of one.
        images: where such an image is from.
        seed: chooses the sounds and the targets.
    """

    data: str = "scene-sounds:test"
    target: Literal["text", "image"] = "text"
    images: str = "scenes:test"
    view: ClassVar[View] = SOUND_VIEW

    def open(self) -> OpenSound:
        """The task with its sounds found.

        Raises:
            InvalidInput: the data are no sounds.
        """
        source = load(self.data).labeled()
        if source.signal is not SOUND:
            raise InvalidInput(f"data={self.data!r} are no sounds; write scene-sounds:test")
        return OpenSound(self, source)


class OpenSound(OpenClassification):
    """Sounds that can be read, and images to be taken for."""

    signal = SOUND
    settings: SoundTask

    def __init__(self, settings: SoundTask, source: Source) -> None:
        super().__init__(settings, source)
        self._images: Source | None = load(settings.images).labeled() if settings.target == "image" else None

    def _vectors(self, target: Tensor, keys: Keys, model: object) -> Tensor | None:
        if self._images is None:
            return super()._vectors(target, keys, model)  # type: ignore[arg-type]
        embedder = getattr(getattr(model, "embedder", None), "anchor", None)
        if embedder is None:
            raise InvalidInput("target='image' needs a model that is bound to images, scenes:bind; write target='text'")
        with torch.no_grad():
            found = [self._pictured(int(each), int(key)) for each, key in zip(target, keys.words, strict=True)]
            vectors: Tensor = embedder.embed(torch.cat(found).to(self.device))
        return vectors

    def _pictured(self, target: int, key: int) -> Tensor:
        """An image of a class, ``[1, 3, H, W]``."""
        assert self._images is not None
        for row in Keys.of(key % 2**32, self._images.ids[:1000]).order():
            images, truth = self._images.read([row], None)
            if int(truth[0]) == target:
                return images
        raise InvalidInput(
            f"{self.settings.images} has no image of {self.source.classes[target]!r}; write target='text'"
        )

    def answer(self, batch: ClassificationBatch, given: Pairs, guarded: Guarded, keys: Keys) -> SoundDecision:
        """The decision on the sounds, and how much was changed."""
        made = super().answer(batch, given, guarded, keys)
        clean, other = (SOUND.natural(x).cpu() for x in (batch.images, given.images))
        own = {each.name: getattr(made, each.name) for each in fields(Decision)}
        return SoundDecision(**own, snr=decibels(clean, other), segments=segmental(clean, other))

    def records(
        self, batch: ClassificationBatch, guarded: Guarded, answers: Sequence[Decision], objective: str
    ) -> list[Record]:
        """Those of classification, and the ratios in dB where something was changed."""
        first = answers[0]
        assert isinstance(first, SoundDecision)
        found = super().records(batch, guarded, answers, objective)
        changed = first.snr.isfinite().tolist()
        for row, known, ratio, parts in zip(found, changed, first.snr.tolist(), first.segments.tolist(), strict=True):
            if known:
                row.update(snr=ratio, segmental_snr=parts)
        return found

    def figures(self, rows: Sequence[Record], clean: Sequence[Record]) -> Figures:
        """Those of classification, and the distribution of the ratios."""
        found = super().figures(rows, clean)
        ratios = np.array([row["snr"] for row in rows if "snr" in row])
        if not len(ratios):
            return found
        ratios_of: dict[str, Metric] = {}
        for name, at in QUANTILES.items():
            value = round(float(np.quantile(ratios, at)), 2)  # hundredths of a decibel
            ratios_of[f"snr_{name}"] = Metric(value=value, low=value, high=value)
        ratios_of["segmental_snr"] = average([row["segmental_snr"] for row in rows if "snr" in row])
        return replace(found, metrics={**found.metrics, **ratios_of})

    def example(self, guarded: Guarded, shown: Shown) -> SoundExample:
        """What the attack changed, to be heard and seen, and how the votes fell."""
        about = super().example(guarded, shown).model_dump()
        clean, other = (
            SOUND.natural(x[:1]).cpu() for x in (self.batch([shown.at], guarded).images, shown.given.images)
        )
        added = other - clean
        louder = added * (clean.norm() / added.norm().clamp_min(1e-12))
        rate = int(getattr(self.source, "rate", 8000))
        about |= {name: picture(spectrogram(x, rate)) for name, x in (("clean", clean), ("adversarial", other))}
        return SoundExample(
            **{**about, "perturbation": picture(spectrogram(louder, rate)), "reconstructions": []},
            clean_sound=playable(clean[0], rate),
            added_sound=playable(louder[0].clamp(-1, 1), rate),
            adversarial_sound=playable(other[0], rate),
            waveform=picture(traces(clean[0], added[0])),
            snr=float(decibels(clean, other)[0]) if bool(added.any()) else 120.0,
        )


def playable(samples: Tensor, rate: int) -> str:
    """Samples ``[T]`` in [-1, 1] as base64 of a 16-bit WAV file, cut to :data:`PLAYED` seconds."""
    held = io.BytesIO()
    write_wave(held, samples[: int(PLAYED * rate)], rate)
    return base64.b64encode(held.getvalue()).decode()


def spectrogram(wave_: Tensor, rate: int) -> Tensor:
    """Log-mel energies of ``[1, T]`` as an image ``[1, bands, frames]`` over 80 dB, low pitches below."""
    levels = Spectrogram(rate=rate).log_mel(wave_) * (10 / np.log(10))
    shown: Tensor = ((levels - levels.max()) / 80 + 1).clamp(0, 1).flip(1)
    return shown


def traces(clean: Tensor, added: Tensor, height: int = 64, width: int = 96) -> Tensor:
    """The envelope of a sound ``[T]`` in gray, and of what is added in white, as ``[1, H, W]``."""
    peaks = [each[: len(each) // width * width].abs().unflatten(0, (width, -1)).amax(1) for each in (clean, added)]
    away = (torch.arange(height) - (height - 1) / 2).abs()[:, None] / (height / 2)
    full = clean.abs().max().clamp_min(1e-6)
    whole, own = (away <= (peak / full)[None] for peak in peaks)
    return torch.where(own, 1.0, torch.where(whole, 0.55, 0.12))[None]
