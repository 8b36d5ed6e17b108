"""Putting images into words, and being made to say what is not so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from secondlook.attacks.pairs import Pairs
from secondlook.data import load
from secondlook.data.captioned import Captioned
from secondlook.errors import InvalidInput
from secondlook.goals.caption import Say, Spoken, Unsay
from secondlook.metrics.cider import Cider
from secondlook.metrics.ngrams import words
from secondlook.models.captioner import Captioner
from secondlook.models.decoding import Style
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.tasks.captioning_facts import Facts, facts
from secondlook.tasks.captioning_told import Told
from secondlook.tasks.zeroshot import Wish

_TRIES = 100


class CaptionBatch(NamedTuple):
    """Some images of the task.

    Attributes:
        at: their positions among the task's.
        ids: stable names.
        images: ``[B, 3, H, W]`` in [0, 1].
        captions: true ones of each image, as many for each.
        targets: what an attacker wants to be said of each: a caption of another image.
        keys: one key per image.
    """

    at: tuple[int, ...]
    ids: tuple[str, ...]
    images: Tensor
    captions: tuple[tuple[str, ...], ...]
    targets: tuple[str, ...]
    keys: Keys

    @property
    def pairs(self) -> Pairs:
        """The images with their true captions, as attacks on pairs take them."""
        return Pairs(self.images, self.captions)


@register("task", "captioning")
@dataclass(frozen=True, kw_only=True)
class CaptioningTask:
    """Captioning images that have captions to compare with.

    Attributes:
        data: a source with captions by name, ``scenes:test``, ``coco:PATH``.
        samples: how many of its images; 0 takes all.
        style: how captions are written, see :class:`~secondlook.models.decoding.Decoding`.
        length: tokens in a caption at most.
        prompt: what the captioner is asked; empty takes its own.
        painter: who paints, for attackers who want an image to be seen as what they want said.
        readers: embedders, with commas between, that compare what is said with what the attacker
            wants; empty for none.
        seed: chooses the images and what an attacker wants to be said of each.

    Raises:
        InvalidInput: a negative number of samples.
    """

    data: str = "scenes:test"
    samples: int = 100
    style: Style = "greedy"
    length: int = 40
    prompt: str = ""
    painter: str = "scenes:painter-grammar"
    readers: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise InvalidInput(f"samples={self.samples}; write how many images, or 0 for all")

    @property
    def said(self) -> dict[str, Any]:
        """How captions are written, as the keywords of ``Captioner.caption``."""
        return {"style": self.style, "length": self.length, "prompt": self.prompt}

    def open(self) -> OpenCaptioning:
        """The task with its source found on disk.

        Raises:
            InvalidInput: the source has no captions, or fewer than two images.
        """
        return OpenCaptioning(self, load(self.data).captioned())


class OpenCaptioning:
    """A task whose images and captions can be read.

    Attributes:
        rows: the chosen images, as positions in the source.
        ids: their names.
        captions: of each of them all.
        targets: for each of them the row of the image whose caption an attacker wants, and it.
        facts: what else is known of the images, or None.
        device: where the images are put.
    """

    def __init__(self, task: CaptioningTask, source: Captioned) -> None:
        self.task, self.source = task, source
        self.device = torch.device("cpu")
        self.facts: Facts | None = facts(source)
        keys = Keys.of(task.seed, source.ids)
        self.rows = tuple(keys.fold("choose").order()[: task.samples or None])
        if len(self.rows) < 2:
            raise InvalidInput(f"{task.data} gives {len(self.rows)} image(s); CIDEr needs two")
        self.ids = tuple(source.ids[row] for row in self.rows)
        self.captions = tuple(source.captions(row) for row in self.rows)
        chosen = zip(self.rows, (keys[np.array([row])] for row in self.rows), strict=True)
        self.targets = tuple(self._target(row, key) for row, key in chosen)

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"captioning {self.task.data}"

    @cached_property
    def cider(self) -> Cider:
        """CIDEr against the captions of the task's images, by which words are weighed."""
        return Cider.of(self.captions)

    def batch(self, at: Sequence[int], size: tuple[int, int] | None) -> CaptionBatch:
        """The images at the positions ``at``, at ``size``.

        Of images with different numbers of captions the first are taken, as many as each has.
        """
        captions = [self.captions[each] for each in at]
        each = min(map(len, captions), default=0)
        return CaptionBatch(
            at=tuple(at),
            ids=tuple(self.ids[row] for row in at),
            images=self.source.read([self.rows[row] for row in at], size).images.to(self.device),
            captions=tuple(texts[:each] for texts in captions),
            targets=tuple(self.targets[row][1] for row in at),
            keys=Keys.of(self.task.seed, [self.ids[row] for row in at]),
        )

    def objective(self, batch: CaptionBatch, captioner: Captioner, wish: Wish) -> Spoken:
        """What an attacker climbs: away from the true captions, or towards the target's."""
        if wish == "untargeted":
            return Unsay(captioner=captioner, texts=batch.captions, prompt=self.task.prompt)
        wanted = tuple((text,) for text in batch.targets)
        return Say(captioner=captioner, texts=wanted, prompt=self.task.prompt)

    def said(self, images: Tensor, keys: Keys, captioner: Captioner) -> list[str]:
        """What the captioner says of images in the style of the task, with a key for each."""
        return captioner.caption(images, keys.fold("caption"), **self.task.said)

    def fulfils(self, text: str, target: str) -> bool:
        """Whether a text says what the attacker who wants ``target`` is after."""
        row = self._wanted.get(tuple(words(target)))
        if self.facts is None or row is None:
            return words(text) == words(target)
        return self.facts.judge(text, row).main

    @cached_property
    def _wanted(self) -> dict[tuple[str, ...], int]:
        return {tuple(words(text)): row for row, text in self.targets}

    def judged(self, batch: CaptionBatch, texts: Sequence[str]) -> list[Told]:
        """Holds what was said of the images of a batch against what is true of them."""
        scores = self.cider.scores(texts, batch.at)
        return [self._judged(*row) for row in zip(batch.at, texts, scores, strict=True)]

    def _judged(self, at: int, text: str, cider: float) -> Told:
        row, (_, wanted) = self.rows[at], self.targets[at]
        verbatim = words(text) == words(wanted)
        theirs = self.cider.between(text, wanted)
        truth = self.facts.judge(text, row) if self.facts else None
        return Told(
            id=self.ids[at], text=text, target=wanted, cider=cider, target_cider=theirs,
            verbatim=verbatim, truth=truth, right=truth.main if truth else cider > theirs,
            said=self.fulfils(text, wanted),
        )  # fmt: skip

    def _target(self, row: int, key: Keys) -> tuple[int, str]:
        """Another image, of another main thing where that is known, and one of its captions."""
        for step in range(_TRIES):
            other = key.fold("target", step).integers(len(self.source))[0]
            if other == row or (self.facts and self.facts.same(row, other)):
                continue
            texts = self.source.captions(other)
            if texts and not set(texts) & set(self.source.captions(row)):
                return other, texts[key.fold("wording").integers(len(texts))[0]]
        raise InvalidInput(f"{self.source.ids[row]} looks like all others; there is no target")
