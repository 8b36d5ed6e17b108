"""The world from above as data: ``overhead:test`` and its other splits, rendered when read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from secondlook.bounds import Count, Natural
from secondlook.data import decoding, images
from secondlook.data.base import Family, Samples, Source
from secondlook.errors import UnknownName
from secondlook.registry import digest, register
from secondlook.scenes.overhead.captions import PROMPT, captions as sentences, class_names
from secondlook.scenes.overhead.renderer import render
from secondlook.scenes.overhead.world import sample
from secondlook.scenes.sampling import SPLITS, Split
from secondlook.scenes.source import RenderedCaptions


class OverheadSource(Source):
    """The first ``n`` sites of a split under a seed; 64×64 pixels of their own."""

    prompt = PROMPT
    provenance = (
        "The images are those of the embedded world: small rendered sites, seen from above. They "
        "show how attack and defense behave there, not on photographs."
    )

    def __init__(self, split: Split, n: int, seed: int) -> None:
        self.split, self.seed = split, seed
        self.ids = tuple(f"overhead-{split}-{row}" for row in range(n))
        self.classes = class_names()

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Renders the sites ``rows``; their truth is their kind."""
        sites = [sample(self.seed, self.split, range(len(self))[row]) for row in rows]
        pictures = [decoding.fit(Image.fromarray(render(site)), size) for site in sites]
        stacked = images.stack(pictures, [self.ids[row] for row in rows])
        return Samples(stacked, torch.tensor([site.label for site in sites]))

    @property
    def hash(self) -> str:
        """Names, classes and the world's seed."""
        return digest([super().hash, self.seed])

    def captioned(self) -> CaptionedSites:
        """The same sites, each with its five sentences."""
        return CaptionedSites(self)


class CaptionedSites(RenderedCaptions[OverheadSource]):
    """Sites with five captions each."""

    def write_captions(self, row: int) -> tuple[str, ...]:
        """The five sentences of a site."""
        return sentences(sample(self.source.seed, self.source.split, row))


@register("data", "overhead")
@dataclass(frozen=True, kw_only=True)
class Overhead(Family):
    """The embedded world from above, in the part of remote sensing: ``overhead:test``.

    Twelve kinds of sites with five captions each, rendered as they are read.

    Attributes:
        n: how many sites.
        seed: names the world.
    """

    n: Count = 1000
    seed: Natural = 0

    def load(self) -> OverheadSource:
        """Opens the split ``name``.

        Raises:
            UnknownName: no such split.
        """
        if self.name not in SPLITS:
            raise UnknownName("split of overhead", self.name, SPLITS)
        return OverheadSource(self.name, self.n, self.seed)

    @staticmethod
    def listed() -> dict[str, str]:
        """The splits."""
        return {
            "test": "sites held out to report on",
            "calibration": "sites held out to set thresholds by, drawn like those of test",
            "val": "sites held out to choose by",
            "train": "sites to learn from",
        }
