"""AttackVLM on a captioner: crafted on a surrogate's eye, and perhaps asking the victim."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from secondlook.attacks.base import Objective
from secondlook.errors import InvalidInput
from secondlook.goals.echo import Echo, Relay, Resemble, Speaker
from secondlook.models import load
from secondlook.models.base import Embedder, Model
from secondlook.models.painter import Painter
from secondlook.tasks.captioning import CaptionBatch, CaptioningTask

TEXT, PICTURE, ANSWER = "mf-it", "mf-ii", "mf-tt"
AIMS: Final = (TEXT, PICTURE, ANSWER)
"""To be embedded like the target text, or like a picture of it; or to be captioned like it."""


class Transfer:
    """Objectives on a surrogate (arXiv 2305.16934, section 3).

    Args:
        task: names who paints what the attacker wants to be said.
    """

    def __init__(self, task: CaptioningTask) -> None:
        self.task = task
        self._painter: Painter | None = None

    def objective(self, batch: CaptionBatch, surrogate: Model, aim: str) -> Resemble:
        """To look to the surrogate like the target text, or like a picture of it."""
        eye = _embedder(surrogate)
        if aim == TEXT:
            return Resemble(embedder=eye, vectors=eye.embed_text(batch.targets))
        return Resemble(embedder=eye, vectors=self._painted(batch, eye))

    def relayed(self, batch: CaptionBatch, surrogate: Model, victim: Speaker) -> Objective:
        """First to look like a picture of the target, then to be captioned like it."""
        eye = _embedder(surrogate)
        return Relay(
            surrogate=self.objective(batch, eye, PICTURE),
            victim=Echo(captioner=victim, reader=eye, texts=batch.targets, said=self.task.said),
        )

    @torch.no_grad()
    def _painted(self, batch: CaptionBatch, eye: Embedder) -> Tensor:
        pictures = self.painter.paint(batch.targets, batch.keys.fold("attacker's own"))
        return eye.embed(pictures.to(batch.images.device))

    @property
    def painter(self) -> Painter:
        """Who paints what the attacker wants.

        Raises:
            InvalidInput: the task names no painter.
        """
        if self._painter is None:
            made = load(self.task.painter)
            if not isinstance(made, Painter):
                raise InvalidInput(
                    f"painter = {self.task.painter!r} paints nothing; try scenes:painter-grammar"
                )
            self._painter = made
        return self._painter


def _embedder(model: Model) -> Embedder:
    if not isinstance(model, Embedder):
        raise InvalidInput(
            f"{model.name} embeds no images and texts; mf-it, mf-ii and mf-tt are crafted on an "
            'embedder: surrogates = ["scenes:clip-vit"] and knowledge = ["transfer"]'
        )
    return model
