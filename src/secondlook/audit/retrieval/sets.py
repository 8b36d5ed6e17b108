"""Adversarial sets on disk: images and captions with their provenance, a file for each chunk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secondlook.attacks.base import Trace
from secondlook.attacks.pairs import AlteredPairs, Captions
from secondlook.audit.store import Record, load_tensors, save_tensors
from secondlook.errors import BrokenRun
from secondlook.threat import LEVELS

_TRACES = (
    "first_loss", "middle_loss", "last_loss", "zero_gradient", "bad_gradient", "steps",
)  # fmt: skip


class Part(NamedTuple):
    """One file of a set.

    Attributes:
        ids: the names of its images.
        pairs: images ``[B, 3, H, W]`` as an 8-bit file holds them, captions, and the trace.
        about: its provenance: attack, threat, seed, models, data, cost.
    """

    ids: tuple[str, ...]
    pairs: AlteredPairs
    about: Record


def save_part(path: Path, ids: Sequence[str], pairs: AlteredPairs, about: Record) -> None:
    """Stores what an attack has made, in one move."""
    tensors = {"images": (pairs.images * LEVELS).round().byte()}
    if pairs.trace is not None:
        tensors |= {name: getattr(pairs.trace, name).clone() for name in _TRACES}
    told = {"samples": ids, "captions": pairs.captions, "notices": pairs.notices, **about}
    save_tensors(path, tensors, told)


def load_part(path: Path) -> Part | None:
    """What :func:`save_part` stored; None where there is nothing, or nothing whole."""
    stored = load_tensors(path)
    if stored is None:
        return None
    tensors, about = stored
    trace = Trace(**{name: tensors[name] for name in _TRACES}) if "steps" in tensors else None
    images = tensors["images"].to(torch.get_default_dtype()) / LEVELS
    captions = tuple(map(tuple, about.pop("captions")))
    pairs = AlteredPairs(images, captions, trace, tuple(about.pop("notices")))
    return Part(tuple(about.pop("samples")), pairs, about)


def is_whole(path: Path) -> bool:
    """Whether a file of a set is there and was written to its end."""
    return _head(path) is not None


class AlteredSet:
    """The files of one attack on one set of images: ``RUN/adversarial/ID``.

    Nothing is held but names and captions; images are read a file at a time.

    Args:
        folder: where they lie.

    Raises:
        BrokenRun: there is no file, or one is damaged or of another attack.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, sorted(folder.glob("*.safetensors"))
        heads = [_head(path) for path in self.files]
        if not heads:
            raise BrokenRun(f"{folder} holds no adversarial set; name RUN/adversarial/ID")
        for path, head in zip(self.files, heads, strict=True):
            if head is None or "captions" not in head:
                raise BrokenRun(f"{path} is no part of a set of captioned images; delete it")
            if head["forge"] != (heads[0] or {})["forge"]:
                raise BrokenRun(f"{path} is of another attack than {self.files[0].name}")
        self._heads = [head for head in heads if head is not None]

    @property
    def about(self) -> Record:
        """Where the set comes from: attack, threat, seed, victims, and the hashes of all."""
        told = ("forge", "attack", "threat", "seed", "victims", "models", "data", "torch")
        return {key: self._heads[0][key] for key in told}

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The names of the images."""
        return tuple(name for head in self._heads for name in head["samples"])

    @cached_property
    def captions(self) -> Captions:
        """Those of each image."""
        return tuple(tuple(texts) for head in self._heads for texts in head["captions"])

    @property
    def cost(self) -> Record:
        """What the making of all of it cost."""
        costs = [head["cost"] for head in self._heads]
        found = {key: sum(cost[key] for cost in costs) for key in ("forwards", "backwards")}
        found["seconds"] = round(sum(cost["seconds"] for cost in costs), 4)
        return {**found, "peak_memory": max(cost["peak_memory"] for cost in costs)}

    @property
    def notices(self) -> list[str]:
        """What the attack said of itself, each once."""
        return list(dict.fromkeys(text for head in self._heads for text in head["notices"]))

    def parts(self) -> Iterator[Part]:
        """The files one after the other.

        Raises:
            BrokenRun: one is damaged.
        """
        for path in self.files:
            part = load_part(path)
            if part is None:
                raise BrokenRun(f"{path} is damaged; delete it and run the same command again")
            yield part

    def images(self, ids: Sequence[str]) -> Tensor:
        """The images called ``ids``, ``[B, 3, H, W]`` in [0, 1].

        Raises:
            BrokenRun: the set has not all of them.
        """
        wanted, found = set(ids), dict[str, Tensor]()
        for path, head in zip(self.files, self._heads, strict=True):
            if wanted & set(head["samples"]) and (part := load_part(path)):
                rows = zip(part.ids, part.pairs.images, strict=True)
                found.update((name, image) for name, image in rows if name in wanted)
        if missing := [name for name in ids if name not in found]:
            raise BrokenRun(f"{self.folder} has no image {missing[0]} ({len(missing)} missing)")
        return torch.stack([found[name] for name in ids])


def _head(path: Path) -> Record | None:
    """What is told of a file's content, which is not read."""
    try:
        with safe_open(path, "pt") as file:
            return {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError, OSError):
        return None
