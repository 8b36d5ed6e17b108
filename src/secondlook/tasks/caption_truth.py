"""A caption held against what is true of an image, and against what an attacker wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from secondlook.data.base import Captioned
from secondlook.metrics.ngrams import words
from secondlook.scenes.captions import SYNONYMS
from secondlook.scenes.parsing import Truth, preserves, verify
from secondlook.scenes.sampling import sample
from secondlook.scenes.shapes import SHAPES
from secondlook.scenes.source import CaptionedScenes
from secondlook.scenes.world import COLORS, Scene

COLOR_WORDS: Final[dict[str, str]] = {color: color for color in COLORS}
SHAPE_WORDS: Final[dict[str, str]] = {word: shape for shape in SHAPES for word in SYNONYMS[shape]}
"""The words that name a shape, with the shape."""


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

    def altered(self, text: str) -> list[str]:
        """The sentence with one word that names a thing made another."""
        ...

    def inserted(self, text: str, row: int) -> list[str]:
        """The sentence with the main thing of an image in place of one that it names."""
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

    def altered(self, text: str) -> list[str]:
        """With another color or another shape for one of those that it names, in any wording."""
        named = words(text)
        return [
            " ".join((*named[:at], other, *named[at + 1 :]))
            for at, word in enumerate(named)
            for kind in (COLOR_WORDS, SHAPE_WORDS)
            if word in kind
            for other, value in kind.items()
            if value != kind[word]
        ]

    def inserted(self, text: str, row: int) -> list[str]:
        """With color and shape of the main thing for a pair of those that it names."""
        main, named = self._scene(row).main, words(text)
        colors = [at for at, word in enumerate(named) if word in COLOR_WORDS]
        shapes = [at for at, word in enumerate(named) if word in SHAPE_WORDS]
        return [
            " ".join({color: main.color, shape: name}.get(at, word) for at, word in enumerate(named))
            for color in colors
            for shape in shapes
            for name in SYNONYMS[main.shape]
        ]

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
