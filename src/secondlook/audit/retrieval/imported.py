"""Adversarial images and captions that somebody else made, behind the face of our own sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import PurePath

import torch
from torch import Tensor

from secondlook.attacks.edits import words_changed
from secondlook.attacks.pairs import AlteredPairs, Captions
from secondlook.audit.retrieval.sets import Part
from secondlook.audit.store import Record
from secondlook.data import load
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.tasks.retrieval import OpenRetrieval
from secondlook.threat import LEVELS, Threat

_CHUNK = 32
_JPEG = (".jpg", ".jpeg")


class ImportedSet:
    """An adversarial list beside the clean one, say ``sga:ADVERSARIAL.json@FOLDER``.

    Images belong together by name, or by name without its ending; captions by their order. What it
    was made with is not in it: what was really changed is measured, and held to ``threat``.

    Args:
        name: any data with captions and images.
        clean: the task, over the clean list.
        threat: what the attacker was allowed; None only measures.
        words: how many words of a caption may be others; negative only measures.

    Raises:
        InvalidInput: an image or caption has no partner, or images are of several sizes.
        BrokenThreat: more was changed than was allowed.
    """

    def __init__(
        self, name: str, clean: OpenRetrieval, threat: Threat | None = None, words: int = -1
    ) -> None:
        self.folder, self.clean, self.threat = name, clean, threat or Threat(eps=1.0)
        self.source = load(name).captioned()
        self.ids = clean.ids
        self._rows = _partners(self.source.ids, clean.ids, name)
        self.captions: Captions = tuple(
            clean.prepared(f"{own} of {name}", self.source.captions(row))
            for own, row in zip(self.ids, self._rows, strict=True)
        )
        self._edits = [
            list(self._edited(*row))
            for row in zip(self.ids, clean.captions, self.captions, strict=True)
        ]
        self._check_captions(words)
        self._changes = torch.cat([self._measured(part) for part in self._chunks()])
        if threat is not None:
            self._check_images(threat)

    @property
    def about(self) -> Record:
        """What is known of it: where it lies, and what was measured."""
        told = f"measured {self.threat.norm} eps = {_told(self.threat, self.eps)}"
        about: Record = {
            "set": self.folder, "attack": "imported; threat not recorded, " + told,
            "words": f"{self.words} changed in a caption at most",
            "data": self.clean.source.hash, "images": list(self.size),
        }  # fmt: skip
        if any(name.lower().endswith(_JPEG) for name in self._files):
            about["caveat"] = "JPEG files: their compression has changed what the attack made"
        return about

    @property
    def eps(self) -> float:
        """The largest change of an image, in the norm of the threat."""
        return float(self._changes.max())

    @property
    def words(self) -> int:
        """The most words that were changed in a caption."""
        return max(max(row) for row in self._edits)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self._read(self._rows[:1]).shape[-2:]
        return height, width

    def parts(self) -> Iterator[Part]:
        """Images and captions, some at a time."""
        for at in self._chunks():
            pairs = AlteredPairs(
                self._read([self._rows[each] for each in at]),
                tuple(self.captions[each] for each in at),
            )
            yield Part(tuple(self.ids[each] for each in at), pairs, self.about)

    def _chunks(self) -> Iterator[range]:
        for start in range(0, len(self.ids), _CHUNK):
            yield range(start, min(start + _CHUNK, len(self.ids)))

    def _read(self, rows: Sequence[int]) -> Tensor:
        return self.source.read(rows, None).images

    def _measured(self, at: range) -> Tensor:
        altered = self._read([self._rows[each] for each in at])
        clean = self.clean.batch(at, self.size).pairs.images.to(altered)
        return self.threat.size(altered - clean)

    def _edited(self, name: str, old: Sequence[str], new: Sequence[str]) -> Iterator[int]:
        if len(old) != len(new):
            raise InvalidInput(
                f"{self.folder} has {len(new)} captions of {name}, {self.clean.task.data} "
                f"{len(old)}; one is wanted for each, in the same order"
            )
        for before, after in zip(old, new, strict=True):
            yield words_changed(before, after)

    @property
    def _files(self) -> list[str]:
        paths = getattr(self.source, "paths", None) or ()
        return [str(paths[row]) for row in self._rows] if paths else []

    def _check_captions(self, words: int) -> None:
        if words >= 0 and self.words > words:
            at = next(at for at, row in enumerate(self._edits) if max(row) > words)
            raise BrokenThreat(
                f"{self.folder}: {max(self._edits[at])} words of a caption of {self.ids[at]} were "
                f"changed, and {words} may be; write words={self.words} if they were allowed"
            )

    def _check_images(self, threat: Threat) -> None:
        # Half a step of 8 bits in each pixel is the file's and not the attacker's.
        grain = float(threat.size(torch.full((1, 3, *self.size), 0.5 / LEVELS)))
        if self.eps > threat.eps + grain + 1e-6:
            worst = self.ids[int(self._changes.argmax())]
            raise BrokenThreat(
                f"{self.folder}: {worst} is {_told(threat, self.eps)} away in {threat.norm}, and "
                f"{threat} was allowed; if the clean images were cropped or resized in another way "
                "than here, name those that the attack began with"
            )


def _told(threat: Threat, size: float) -> str:
    return f"{size * LEVELS:.2f}/255" if threat.norm == "linf" else f"{size:.4g}"


def _partners(theirs: Sequence[str], ours: Sequence[str], name: str) -> list[int]:
    """For each of ``ours`` the place of its image among ``theirs``."""
    exact = {each: row for row, each in enumerate(theirs)}
    stems: dict[str, list[int]] = {}
    for row, each in enumerate(theirs):
        stems.setdefault(PurePath(each).stem, []).append(row)
    found = []
    for own in ours:
        near = [exact[own]] if own in exact else stems.get(PurePath(own).stem, [])
        if len(near) != 1:
            raise InvalidInput(
                f"{name} has {len(near) or 'no'} image(s) called {own}, with another ending or "
                f"without; name each as the clean list does ({theirs[0]!r} is its first)"
            )
        found += near
    return found
