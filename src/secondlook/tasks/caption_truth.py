"""A caption held against what is true of an image, and against what an attacker wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from secondlook.data.base import Captioned
from secondlook.scenes.parsing import Truth, preserves, verify
from secondlook.scenes.sampling import sample
from secondlook.scenes.source import CaptionedScenes
from secondlook.scenes.world import Scene


class Facts(Protocol):
    """Tells whether what is said of an image is so; images go by their rows in the source."""

    def judge(self, text: str, row: int) -> Truth:
        """Holds a sentence against an image."""
        ...

    def preserves(self, row: int, before: str, after: str) -> bool:
        """Whether a sentence is true of an image and claims no less than another."""
        ...

    def same(self, row: int, other: int) -> bool:
        """Whether the main things of two images go by the same name."""
        ...

    def attributes(self, row: int) -> dict[str, str]:
        """What can be said of an image, by attribute; of its main thing where it has several."""
        ...


class SceneFacts:
    """The facts of rendered scenes."""

    def __init__(self, source: CaptionedScenes) -> None:
        self.scenes = source.source

    def judge(self, text: str, row: int) -> Truth:
        return verify(text, self._scene(row))

    def preserves(self, row: int, before: str, after: str) -> bool:
        return preserves(before, after, self._scene(row))

    def same(self, row: int, other: int) -> bool:
        return self._scene(row).label == self._scene(other).label

    def attributes(self, row: int) -> dict[str, str]:
        scene = self._scene(row)
        main, ground = scene.main, scene.background
        return {
            "shape": main.shape,
            "color": main.color,
            "size": main.size,
            "texture": main.texture,
            "place": main.place,
            "background": ground.color,
            "pattern": ground.pattern,
            "things": str(len(scene.objects)),
        }

    def _scene(self, row: int) -> Scene:
        return sample(self.scenes.seed, self.scenes.split, row)


def facts(source: Captioned) -> Facts | None:
    """The facts of a source; None where its captions are all that is known."""
    return SceneFacts(source) if isinstance(source, CaptionedScenes) else None


@dataclass(frozen=True, kw_only=True)
class ScoredCaption:
    """What was said of one image.

    Attributes:
        id: the image.
        text: the caption.
        target: what the attacker wants to be said.
        cider: CIDEr-D against the image's true captions.
        target_cider: CIDEr-D against the attacker's.
        verbatim: whether it is the attacker's, word for word.
        truth: the caption held against the scene; None where captions are all that is known.
        right: whether it is about the image: it names color and shape of the main thing, or, of
            photographs, is nearer to the true captions than to the attacker's (CIDEr-D).
        said: whether it is about what the attacker's caption is about: it names color and shape
            of that scene's main thing, or, of photographs, is the attacker's verbatim.
    """

    id: str
    text: str
    target: str
    cider: float
    target_cider: float
    verbatim: bool
    truth: Truth | None
    right: bool
    said: bool
