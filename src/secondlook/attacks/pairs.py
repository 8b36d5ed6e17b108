"""The frame of every attack on images with their captions: a final call around a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from secondlook.attacks.base import FinalCall, Trace, finished
from secondlook.attacks.edits import words_changed
from secondlook.bounds import Count
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.models.base import Embedder, check_pixels, evaluating
from secondlook.randomness import Keys
from secondlook.threat import Threat

Touches = Literal["images", "captions", "both"]
Captions = tuple[tuple[str, ...], ...]
Preserves = Callable[[str, str], bool]
"""Whether the second caption says of an image all that the first one does, and nothing false."""


class Pairs(NamedTuple):
    """Images and the captions of each.

    Attributes:
        images: ``[B, C, H, W]`` in [0, 1].
        captions: of each image one or more, not always as many.
        preserves: of each image who knows what is true of it; none where nobody does.
    """

    images: Tensor
    captions: Captions
    preserves: tuple[Preserves, ...] = ()

    def part(self, rows: slice) -> Pairs:
        """Some of the images in a row, with what belongs to them."""
        return Pairs(self.images[rows], self.captions[rows], self.preserves[rows])


class AlteredPairs(NamedTuple):
    """What an attack has made of them.

    Attributes:
        images: ``[B, C, H, W]``; the attack's call puts them on the threat's grid.
        captions: as many for each image as before, in the same order.
        trace: of the images' making; None where none were searched for.
        notices: what the user has to know of how they were made.
    """

    images: Tensor
    captions: Captions
    trace: Trace | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PairAttack(FinalCall, ABC):
    """A search for images and captions that no longer find each other.

    Subclasses write :meth:`search`; the call around it is final. It puts the networks into eval
    mode and restores them, and checks what was found by itself: norm, range and shape of the
    images, before and after rounding where the threat has a grid, and the words that were changed.

    Attributes:
        words: how many words of each caption may be replaced, added or taken away.
    """

    touches: ClassVar[Touches] = "both"
    words: Count = 1

    def __post_init__(self) -> None:
        """Refuses settings that do not fit together; what a number may be, its type says."""

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Networks of the attack's own, a masked language model's, say."""
        return ()

    @property
    def phrase(self) -> int:
        """Words that may stand in place of one and count as one; more than 1 is a legacy."""
        return 1

    @abstractmethod
    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Looks for images within ``threat``, and captions within ``words``, that part."""

    @final
    def __call__(self, victim: Embedder | Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Attacks images and captions.

        Args:
            victim: the embedder that is attacked, or surrogates that stand for it.
            pairs: images ``[B, C, H, W]`` in [0, 1] with their captions.
            threat: norm and radius of what may be done to an image.
            keys: one key per image, for every random draw of the search.

        Raises:
            InvalidInput: no victim, no batch of pixels, keys, captions or truths not for each
                image, an image without captions, or a caption without words.
            BrokenThreat: the search left its threat model: a defect of the attack.
        """
        victims = (victim,) if isinstance(victim, Embedder) else tuple(victim)
        if not victims:
            raise InvalidInput("there is no embedder to attack; name one or more")
        _check_given(pairs, keys, type(self).__name__)
        captions = tuple(tuple(texts) for texts in pairs.captions)
        networks = [module for model in victims for module in model.modules]
        with torch.inference_mode(False), torch.enable_grad(), evaluating([*networks, *self.modules]):
            images = pairs.images.detach().clone()
            found = self.search(victims, Pairs(images, captions, tuple(pairs.preserves)), threat, keys)
            self._check_captions(found.captions, captions)
            return found._replace(images=self._checked(found.images, images, threat))

    def _checked(self, images: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """The images inside the threat, on its grid if any; the clean ones if not touched."""
        if self.touches == "captions":
            if not torch.equal(images, clean):
                raise BrokenThreat(f"{type(self).__name__} touches captions, and changed an image")
            return clean
        return finished(images, clean, threat)

    def _check_captions(self, found: Captions, clean: Captions) -> None:
        allowed = 0 if self.touches == "images" else self.words
        if [len(texts) for texts in found] != [len(texts) for texts in clean]:
            raise BrokenThreat("captions were lost or added; each must be where it was")
        for before, after in zip(clean, found, strict=True):
            for old, new in zip(before, after, strict=True):
                changed = words_changed(old, new, self.phrase)
                if changed > allowed:
                    raise BrokenThreat(f"{changed} words changed, not {allowed}: {old!r}, {new!r}")


def _check_given(pairs: Pairs, keys: Keys, who: str) -> None:
    check_pixels(pairs.images, who, channels=None)
    count = len(pairs.images)
    if len(keys) != count:
        raise InvalidInput(f"{len(keys)} keys for {count} images; one key per image")
    if len(pairs.captions) != count:
        raise InvalidInput(f"{len(pairs.captions)} rows of captions for {count} images")
    if pairs.preserves and len(pairs.preserves) != count:
        raise InvalidInput(f"preserves knows {len(pairs.preserves)} of {count} images; give one for each, or none")
    rows: Sequence[Sequence[str]] = pairs.captions
    for row, texts in enumerate(rows):
        if isinstance(texts, str):
            raise InvalidInput(f"captions[{row}]={texts!r} is one string; write ({texts!r},)")
        if not texts:
            raise InvalidInput(f"image {row} has no caption; leave it out, or give it one")
        for text in texts:
            if not text.split():
                raise InvalidInput(f"captions[{row}] has {text!r}, which has no word; leave it out")
