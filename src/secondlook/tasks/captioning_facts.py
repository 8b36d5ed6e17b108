"""What is known of an image beside its captions: of scenes everything, of photographs nothing."""

from __future__ import annotations

from typing import Protocol

from secondlook.data.captioned import Captioned
from secondlook.scenes.sampling import sample
from secondlook.scenes.source import CaptionedScenes
from secondlook.scenes.truth import Truth, judge
from secondlook.scenes.world import Scene


class Facts(Protocol):
    """Tells whether what is said of an image is so; images go by their rows in the source."""

    def judge(self, text: str, row: int) -> Truth:
        """Holds a sentence against an image."""
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
        self.scenes = source.pictures

    def judge(self, text: str, row: int) -> Truth:
        return judge(text, self._scene(row))

    def same(self, row: int, other: int) -> bool:
        return self._scene(row).label == self._scene(other).label

    def attributes(self, row: int) -> dict[str, str]:
        scene = self._scene(row)
        main, ground = scene.main, scene.background
        return {
            "shape": main.shape, "colour": main.colour, "size": main.size,
            "texture": main.texture, "place": main.place, "background": ground.colour,
            "pattern": ground.pattern, "things": str(len(scene.things)),
        }  # fmt: skip

    def _scene(self, row: int) -> Scene:
        return sample(self.scenes.seed, self.scenes.split, row)


def facts(source: Captioned) -> Facts | None:
    """The facts of a source; None where its captions are all that is known."""
    return SceneFacts(source) if isinstance(source, CaptionedScenes) else None
