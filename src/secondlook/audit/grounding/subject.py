"""Grounding as an audit sees it: a text is looked for on an image, and the map held to a box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Pairs
from secondlook.audit.exhibit import Finger, MapExhibit
from secondlook.audit.figures import share
from secondlook.audit.gallery import magnified, picture
from secondlook.audit.retrieval.gallery import words
from secondlook.audit.retrieval.seen import Seen, Sight
from secondlook.audit.schema import Metric
from secondlook.audit.single.lens import Lens
from secondlook.audit.single.subject import Subject
from secondlook.audit.single.summary import average
from secondlook.audit.store import Record
from secondlook.defenses.base import Gradient
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model, evaluating
from secondlook.models.engine import exactly
from secondlook.randomness import Keys
from secondlook.tasks.grounding import AIMS, Aim, GroundingBatch, OpenGrounding
from secondlook.tasks.grounding_maps import Site, find_site

NEAR = 0.5
"""The overlap from which a box counts as found."""
_AIM: Mapping[str, Aim] = {aim: aim for aim in AIMS}


class Pointing(Subject[GroundingBatch]):
    """An embedder, asked where on an image a text is.

    Behind a purifier it looks at reconstructions; of several the mean of the maps is taken.
    """

    aims = AIMS
    touches = ("images", "captions", "both")

    def __init__(self, task: OpenGrounding) -> None:
        self.task: OpenGrounding = task
        self._sites: dict[str, Site] = {}

    def check(self, model: Model, name: str) -> None:
        """Refuses what embeds no texts, or has no spatial features."""
        if not isinstance(model, Embedder):
            raise InvalidInput(f"{name} embeds no images and texts; try scenes:clip")
        self._site(model)

    def wrapped(self, model: Model) -> Sight:
        """The embedder, whose scores are its vectors."""
        return Sight(_embedder(model))

    def batch(self, at: Sequence[int], size: tuple[int, int] | None) -> GroundingBatch:
        """Images, each with its text and box."""
        return self.task.batch(at, size)

    def objective(self, batch: GroundingBatch, model: Model, aim: str) -> Objective:
        """Away with the hottest place, or with the cosine."""
        return self.task.objective(batch, _embedder(model), _AIM[aim])

    def embedder(self, lens: Lens, draws: int, gradient: Gradient) -> Embedder:
        """The embedder as it sees images through the defence, anew each time that it is asked."""
        return Seen(_embedder(lens.model), lens.defence).victim(draws, gradient)

    def ask(
        self, batch: GroundingBatch, given: Pairs, lens: Lens, keys: Keys, aim: str
    ) -> list[Record]:
        """How well the maps of ``given`` fit the boxes of what was asked for at first."""
        model, views = _embedder(lens.model), lens.shown(given.images, keys)
        maps = self._maps(model, views, given)
        hit, overlap, inside = self.task.pointed(maps, batch.boxes)
        cosines = _cosines(model, views, given)
        rows = zip(
            hit.tolist(), overlap.tolist(), inside.tolist(), cosines.tolist(), _peaks(maps),
            strict=True,
        )  # fmt: skip
        return [
            {
                "outcome": "correct" if found else "wrong", "original_top1": float(found),
                "reached": float(not found), "iou50": float(over >= NEAR), "overlap": over,
                "inside": within, "cosine": near, "peak": peak,
            }
            for found, over, within, near, peak in rows
        ]  # fmt: skip

    def figures(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """The pointing game, the overlap of the boxes, the heat inside, the cosine."""
        found = {
            "pointing": share([row["original_top1"] for row in rows]),
            "iou50": share([row["iou50"] for row in rows]),
        }
        return found | {
            name: average([row[name] for row in rows]) for name in ("overlap", "inside", "cosine")
        }

    def goal(self, aim: str) -> str:
        """That the hottest place leaves the box, whatever is climbed."""
        return "grounding"

    def told(self) -> Record:
        """How many images there are, and how often a random finger hits."""
        task = self.task
        return {
            "images": len(task.rows), "a random finger hits": f"{task.chance:.3f}",
            "caveat": task.source.provenance,
        }  # fmt: skip

    def exhibit(
        self, at: int, lens: Lens, given: Pairs, rows: tuple[Record, Record], about: Record
    ) -> MapExhibit:
        """An image with the map over it, before and after."""
        batch, model = self.batch([at], lens.size), _embedder(lens.model)
        clean, (old,), (new,) = batch.pairs.images[0], *batch.pairs.captions, *given.captions
        fingers = []
        for pairs, row in zip((batch.pairs, given), rows, strict=True):
            views = lens.shown(pairs.images, batch.keys.fold("decide", 0))
            fingers.append(_finger(pairs.images[0], self._maps(model, views, pairs)[0], row))
        return MapExhibit(
            **about, clean=picture(clean), perturbation=picture(magnified(given.images[0] - clean)),
            adversarial=picture(given.images[0]), box=self.task.queries[at].box,
            text=words(old, old), altered=words(old, new), before=fingers[0], after=fingers[1],
        )  # fmt: skip

    def _maps(self, model: Embedder, views: Tensor, given: Pairs) -> Tensor:
        return self.task.maps(Pairs(views, given.captions), model, self._site(model))

    def _site(self, model: Embedder) -> Site:
        if model.name not in self._sites:
            first = self.task.batch([0], getattr(model, "size", None)).pairs.images[0]
            self._sites[model.name] = find_site(model, first)
        return self._sites[model.name]


def _embedder(model: Model) -> Embedder:
    assert isinstance(model, Embedder), f"{model.name} was not checked"
    return model


def _cosines(model: Embedder, views: Tensor, given: Pairs) -> Tensor:
    """Between the mean of what was seen of each image and the text that was asked for, ``[B]``."""
    with torch.no_grad(), evaluating(model.modules), exactly((model,)):
        seen = model.embed(views).unflatten(0, (len(given.images), -1)).mean(1)
        texts = model.embed_text([text for (text,) in given.captions]).to(seen)
    return F.cosine_similarity(seen, texts, dim=1)


def _peaks(maps: Tensor) -> list[list[float]]:
    """The middle of the hottest pixel of each map, as shares of width and height."""
    height, width = maps.shape[1:]
    places: list[int] = maps.flatten(1).argmax(1).tolist()
    return [[(place % width + 0.5) / width, (place // width + 0.5) / height] for place in places]


def _finger(image: Tensor, heat: Tensor, row: Record) -> Finger:
    """The map over the image in red, where it points, and whether that is right."""
    red = heat.new_tensor([1.0, 0.25, 0.0]).view(3, 1, 1)
    over = 0.7 * heat
    x, y = row["peak"]
    return Finger(
        picture=picture(image * (1 - over) + red * over), x=x, y=y,
        hit=row["original_top1"] > 0.5,
    )  # fmt: skip
