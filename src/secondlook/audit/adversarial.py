"""Adversarial sets on disk: images and captions with their provenance, a file for each chunk."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secondlook.attacks.base import Trace
from secondlook.attacks.pairs import Captions
from secondlook.audit.store import Record, StoredTensors, load_tensors, reading, save_tensors
from secondlook.audit.written import PartHead, SetHead, fits
from secondlook.errors import BrokenRun
from secondlook.signals import IMAGE, Signal, signal_of

REMADE = "the audit that made it makes it again; run the same command"
"""What to do where a file of a set is damaged."""
_TRACES = ("first_loss", "middle_loss", "last_loss", "zero_gradient", "bad_gradient", "steps")


class Adversarial(NamedTuple):
    """What an attack has made of some samples.

    Attributes:
        images: ``[B, 3, H, W]`` on the grid of an 8-bit file, or sounds ``[B, 1, 1, T]`` on that of 16-bit PCM.
        captions: of each image as many as before, in the same order.
        trace: of the images' making; None where none were searched for.
        notices: what the user has to know of how they were made.
        by: the member attack that fooled each sample, ``[B]``, -1 for none; None where the attack
            has no members.
        members: the names that ``by`` counts.
    """

    images: Tensor
    captions: Captions
    trace: Trace | None = None
    notices: tuple[str, ...] = ()
    by: Tensor | None = None
    members: tuple[str, ...] = ()


class Part(NamedTuple):
    """One file of a set.

    Attributes:
        ids: the names of its samples.
        adversarial: the samples, as an 8-bit file holds them.
        about: its provenance: attack, threat, seed, models, data, cost.
    """

    ids: tuple[str, ...]
    adversarial: Adversarial
    about: Record


def save_part(path: Path, ids: Sequence[str], made: Adversarial, about: Record, signal: Signal = IMAGE) -> None:
    """Stores what an attack has made, in one move: pixels of 8 bits, or samples of 16."""
    tensors = {"images": signal.stored(made.images)}
    if made.trace is not None:
        tensors |= {name: getattr(made.trace, name).clone() for name in _TRACES}
    if made.by is not None:
        tensors["by"] = made.by
    head = {"samples": ids, "captions": made.captions, "notices": made.notices, "members": made.members, **about}
    save_tensors(path, tensors, head)


def load_part(path: Path) -> Part | None:
    """What :func:`save_part` stored; None where there is nothing, or nothing whole."""
    stored = load_tensors(path)
    if stored is None or not _fit_together(stored):
        return None
    tensors, about, _ = stored
    trace = Trace(**{name: tensors[name] for name in _TRACES}) if "steps" in tensors else None
    made = Adversarial(
        images=signal_of(tensors["images"]).read(tensors["images"], torch.get_default_dtype()),
        captions=tuple(map(tuple, about.pop("captions"))),
        trace=trace,
        notices=tuple(about.pop("notices")),
        by=tensors.get("by"),
        members=tuple(about.pop("members", ())),
    )
    return Part(tuple(about.pop("samples")), made, about)


def _fit_together(stored: StoredTensors) -> bool:
    """Whether a file holds what files of sets do, each of it for all of its samples."""
    tensors, about, _ = stored
    images = tensors.get("images")
    if (
        not fits(PartHead, about)
        or images is None
        or images.dtype not in (torch.uint8, torch.int16)
        or images.ndim != 4
    ):
        return False
    traced = [name for name in _TRACES if name in tensors]
    each = [tensors[name] for name in ("by", *traced) if name in tensors]
    sizes = {len(images), len(about["captions"]), len(about["samples"])}
    return len(traced) in (0, len(_TRACES)) and len(sizes) == 1 and all(one.shape == images.shape[:1] for one in each)


def is_whole(path: Path) -> bool:
    """Whether a file of a set is there, and is what was written."""
    return load_part(path) is not None


class AdversarialSet:
    """The files of one attack on one set of samples: ``RUN/adversarial/ID``.

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
            raise BrokenRun(f"{folder} holds no adversarial set; name {_sets_in(folder) or 'RUN/adversarial/ID'}")
        for path, head in zip(self.files, heads, strict=True):
            if head is None or not fits(SetHead, head):
                raise BrokenRun(f"{path} is damaged, or no part of an adversarial set; {REMADE}")
            if head["spec"] != (heads[0] or {})["spec"]:
                raise BrokenRun(f"{path} is of another attack than {self.files[0].name}")
        self._heads = [head for head in heads if head is not None]
        if len(set(self.ids)) < len(self.ids):
            twice = next(name for name, count in Counter(self.ids).items() if count > 1)
            raise BrokenRun(f"{folder} holds {twice!r} twice; move away the file that its run did not write")

    @property
    def about(self) -> Record:
        """Where the set comes from: attack, threat, seed, victims, and the hashes of all."""
        keys = ("spec", "attack", "threat", "seed", "victims", "models", "data", "torch")
        return {key: self._heads[0][key] for key in keys}

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The names of the samples."""
        return tuple(name for head in self._heads for name in head["samples"])

    @cached_property
    def captions(self) -> Captions:
        """Those of each sample."""
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
                raise BrokenRun(f"{path} is damaged; {REMADE}")
            yield part

    def images(self, at: Sequence[int]) -> Tensor:
        """The images at some positions of the set, ``[B, 3, H, W]`` in [0, 1]."""
        return self.named([self.ids[each] for each in at])

    def named(self, ids: Sequence[str]) -> Tensor:
        """The images called ``ids``, ``[B, 3, H, W]`` in [0, 1].

        Raises:
            BrokenRun: the set has not all of them.
        """
        wanted, found = set(ids), dict[str, Tensor]()
        for path, head in zip(self.files, self._heads, strict=True):
            if wanted.isdisjoint(head["samples"]):
                continue
            part = load_part(path)
            if part is None:
                raise BrokenRun(f"{path} is damaged; {REMADE}")
            rows = zip(part.ids, part.adversarial.images, strict=True)
            found.update((name, image) for name, image in rows if name in wanted)
        if missing := [name for name in ids if name not in found]:
            raise BrokenRun(f"{self.folder} has no image {missing[0]} ({len(missing)} missing)")
        return torch.stack([found[name] for name in ids])


def _sets_in(run: Path) -> str:
    """The sets of a run, where somebody names the run itself: the first three."""
    found = sorted({path.parent for path in run.glob("adversarial/*/*.safetensors")})
    return ", ".join(map(str, found[:3])) + (f" or another of its {len(found)}" if len(found) > 3 else "")


def _head(path: Path) -> Record | None:
    """What is said of a file's content, which is not read."""
    try:
        with reading(path), safe_open(path, "pt") as file:
            return {key: json.loads(value) for key, value in (file.metadata() or {}).items() if key != "digest"}
    except (SafetensorError, ValueError, RecursionError):
        return None
