"""The sounds of the embedded world as data: ``scene-sounds:test`` and its other splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from secondlook.bounds import Count, Natural
from secondlook.data.base import Family, Samples, Source
from secondlook.errors import InvalidInput, UnknownName
from secondlook.registry import digest, register
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.sampling import SPLITS, Split, sample
from secondlook.scenes.sound import LENGTH, STEPS, render_sounds
from secondlook.signals import SOUND, Signal

CAVEAT = (
    "The sounds are those of the embedded world: a second each, made of small rendered scenes that come with the "
    "package. They show how attack and defense behave there, not on recordings."
)


class SoundSource(Source):
    """The sounds of the first ``n`` scenes of a split under a seed, ``[B, 1, 1, 8192]``."""

    prompt, provenance, rounded = PROMPT, CAVEAT, False
    signal: ClassVar[Signal] = SOUND

    def __init__(self, split: Split, n: int, seed: int) -> None:
        self.split, self.seed = split, seed
        self.ids = tuple(f"{split}-sound-{row}" for row in range(n))
        self.classes = class_names()

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Makes the sounds ``rows``, on the steps of 16 bits; their truth is the class of the main object.

        Raises:
            InvalidInput: another size is asked for.
        """
        if size not in (None, (1, LENGTH)):
            raise InvalidInput(f"a sound of a scene has {LENGTH} samples, and a model wants {size}; name one of sounds")
        indices = [range(len(self))[row] for row in rows]
        waves = torch.from_numpy(render_sounds(self.seed, self.split, indices)).float() / STEPS
        truth = [sample(self.seed, self.split, index).label for index in indices]
        return Samples(SOUND.carried(waves), torch.tensor(truth, dtype=torch.long))

    @property
    def hash(self) -> str:
        """Names, classes and the world's seed."""
        return digest([super().hash, self.seed])


@register("data", "scene-sounds")
@dataclass(frozen=True, kw_only=True)
class SceneSounds(Family):
    """What the scenes of the embedded world sound like: ``scene-sounds:test``.

    Attributes:
        n: how many scenes.
        seed: names the world; the shipped models were trained in world 0.
    """

    n: Count = 1000
    seed: Natural = 0

    def load(self) -> SoundSource:
        """Opens the split ``name``.

        Raises:
            UnknownName: no such split.
        """
        if self.name not in SPLITS:
            raise UnknownName("split of scenes", self.name, SPLITS)
        return SoundSource(self.name, self.n, self.seed)

    @staticmethod
    def listed() -> dict[str, str]:
        """The splits."""
        return {split: f"the sounds of scenes:{split}" for split in SPLITS}
