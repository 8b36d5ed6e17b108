"""What a captioner says of images that it is shown through a purifier, or bare."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from secondlook.audit.single.lens import Lens
from secondlook.metrics.medoid import medoid
from secondlook.models.captioner import Captioner
from secondlook.randomness import Keys
from secondlook.tasks.captioning import OpenCaptioning


def answered(task: OpenCaptioning, lens: Lens, images: Tensor, keys: Keys) -> list[str]:
    """A text for each image; of several looks the one that has most in common with the others."""
    captioner, views = lens.model, lens.shown(images, keys)
    assert isinstance(captioner, Captioner), f"{captioner.name} was not checked"
    texts = task.said(views, keys.repeat(lens.looks), captioner)
    looks = [texts[at : at + lens.looks] for at in range(0, len(texts), lens.looks)]
    return [each[medoid(each)] for each in looks]


class Screened:
    """A captioner behind a purifier as those hear it who ask.

    Args:
        task: says how captions are written.
        lens: the captioner, and what stands before it.
    """

    def __init__(self, task: OpenCaptioning, lens: Lens) -> None:
        self.task, self.lens, self.name = task, lens, lens.model.name
        self.modules = lens.model.modules

    def caption(self, x: Tensor, keys: Keys, **said: Any) -> list[str]:
        """A text for each image ``[B, 3, H, W]``, in the style of the task whatever ``said``."""
        return answered(self.task, self.lens, x, keys)
