"""Finding the thing on an image that a text names, without having been trained to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import ClassVar, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Pairs
from secondlook.bounds import Count, Natural, Share
from secondlook.data import load
from secondlook.data.base import Source
from secondlook.data.refcoco import Grounded
from secondlook.defenses.base import Defense
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.metrics.figures import average, share
from secondlook.metrics.pointing import Pointed, pointed
from secondlook.models.base import Embedder, Model, evaluating
from secondlook.models.heatmap import Site, Weights, evidence, find_site, heat
from secondlook.models.runtime.engine import exactly
from secondlook.objectives.base import ThroughViews
from secondlook.objectives.candidates import AnsweredGoal, Candidates, Found
from secondlook.objectives.grounding import LowerCosine, MoveMap, nearest_places
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.scenes.sampling import sample
from secondlook.scenes.source import SceneSource
from secondlook.scenes.world import SIDE
from secondlook.tasks.base import AttackOptions, Figures, OpenTask, Record, Shown, how_many, mean_records
from secondlook.tasks.view import Column, GoalView, ImageExample, Part, View, Word, compared, picture, pictures

NEAR_MISS: Final = "near-miss"
"""The places outside that are hottest already, in turn."""
NEAR: Final = 0.5
"""The overlap from which a box counts as found."""


class Place(Part):
    """Where a text is found on an image; places are shares of its width and height."""

    picture: str
    """The image with the map over it."""
    x: float
    y: float
    """The hottest place."""
    hit: bool


class MapExample(ImageExample):
    """One image with a text, and where it is found before and after the attack."""

    objective: str
    """``map``, ``cosine``, ``near-miss``, or empty for an attack on images with texts."""
    box: tuple[float, float, float, float]
    """What the text names: left, top, width and height as shares of the image."""
    text: list[Word]
    altered: list[Word]
    before: Place
    after: Place


VIEW: Final = View(
    goals=(
        GoalView(
            name="grounding",
            deed="moves the hottest place out of the box on",
            columns=("pointing", "iou50", "overlap", "inside"),
            brief=("pointing", "overlap"),
            drawn=("pointing", "iou50"),
            note="<dfn>Pointing</dfn>: the hottest place of the map is inside the box; high is good. "
            "<dfn>IoU ≥ 0.5</dfn>: the box around the heat fits the true one. <dfn>Heat inside</dfn>: "
            "its share in the box.",
        ),
    ),
    columns=(
        Column(metric="pointing", title="pointing", unit="share"),
        Column(metric="iou50", title="IoU ≥ 0.5", unit="share"),
        Column(metric="overlap", title="mean IoU", unit="share"),
        Column(metric="inside", title="heat inside", unit="share"),
    ),
    outcome="Of a map: whether its hottest place is inside the box.",
    example=MapExample,
    gallery="Where a text is found, before and after the attack: the map in red, the true box, "
    "and the hottest place as a dot, green where it is inside. Words that the attacker has put in "
    "are marked; what is added to an image is magnified to full contrast.",
    template=files("secondlook.tasks").joinpath("grounding.html.jinja"),
)


class Query(NamedTuple):
    """A text and what it names.

    Attributes:
        text: the text.
        box: left, top, width and height as shares of the image.
    """

    text: str
    box: tuple[float, float, float, float]


class GroundingBatch(NamedTuple):
    """Some images of the task, each with one text.

    Attributes:
        ids: stable names of the images.
        pairs: images ``[B, 3, H, W]`` in [0, 1] and the text of each, as attacks on pairs take it.
        boxes: ``[B, 4]``: left, top, width and height as shares of the image.
        keys: one key per image.
    """

    ids: tuple[str, ...]
    pairs: Pairs
    boxes: Tensor
    keys: Keys


@register("task", "grounding")
@dataclass(frozen=True, kw_only=True)
class GroundingTask:
    """Pointing at what a text names, one text an image.

    Attributes:
        data: a source that knows boxes, ``scenes:test`` or ``refcoco:FILE.json``.
        samples: how many of its images; 0 takes all.
        weights: how features are weighed, see :data:`secondlook.models.heatmap.Weights`.
        contrast: look for what sets a text apart from the others of the task, its vector less
            their mean, and not for all that it has in common with them.
        threshold: the share of the peak from which a place counts as found.
        side: height and width that the images are brought to; 0 leaves it to the model.
        candidates: places that an attacker who picks among several tries at most.
        seed: chooses the images, and of each one a text.

    Raises:
        InvalidInput: a negative number of samples, a negative side, or no candidate at all.
    """

    data: str = "scenes:test"
    samples: Natural = 100
    weights: Weights = "mean"
    contrast: bool = True
    threshold: Share = 0.5
    side: Natural = 0
    candidates: Count = 4
    seed: Natural = 0
    view: ClassVar[View] = VIEW

    def open(self) -> OpenGrounding:
        """The task with its source found on disk.

        Raises:
            InvalidInput: the source knows no boxes.
        """
        return OpenGrounding(self, load(self.data))


class Located(NamedTuple):
    """Where a guarded embedder finds the texts of a batch.

    Attributes:
        maps: ``[B, H, W]`` in [0, 1], the mean over the views.
        cosines: ``[B]``, between the mean vector of the views and the text.
    """

    maps: Tensor
    cosines: Tensor


class OpenGrounding(OpenTask[GroundingBatch, Located]):
    """Grounding whose images can be read.

    Attributes:
        queries: the text of each image, and its box.

    Raises:
        InvalidInput: no image of the source has a text to ask for.
    """

    modalities = ("images", "captions", "both")
    settings: GroundingTask
    source: Source

    def __init__(self, settings: GroundingTask, source: Source) -> None:
        self.settings, self.source = settings, source
        keys, ask = Keys.of(settings.seed, source.ids), _asking(source)
        asked = ((row, ask(row)) for row in keys.fold("choose").order())
        found = [(row, queries) for row, queries in asked if queries]
        if not found:
            raise InvalidInput(f"{settings.data} has no image with a text and a box; look at its files")
        chosen = found[: how_many(settings, len(found))]
        self.rows = tuple(row for row, _ in chosen)
        self.ids = tuple(source.ids[row] for row in self.rows)
        luck = [keys[np.array([row])].fold("query") for row in self.rows]
        self.queries = tuple(
            queries[key.integers(len(queries))[0]] for key, (_, queries) in zip(luck, chosen, strict=True)
        )
        self._sites: dict[str, Site] = {}

    @property
    def objectives(self) -> tuple[str, ...]:
        """The map that points, the cosine that it is made from, or the nearest places that are wrong."""
        return ("map", "cosine", NEAR_MISS)

    @property
    def chance(self) -> float:
        """The share of pixels inside a box: how often a random place hits."""
        return float(np.mean([query.box[2] * query.box[3] for query in self.queries]))

    def guarded(self, model: Model, defense: Defense) -> Guarded:
        """The model behind a defense.

        Raises:
            InvalidInput: the defense works with vectors or scores, which a map is not made from.
        """
        made = super().guarded(model, defense)
        if made.adapts:
            raise InvalidInput(
                f"{defense.registered_name} works with the vectors or scores of {made.model.name}, and a map comes "
                "from its inner features; take a defense that shows other images: jpeg, noise or consensus"
            )
        return made

    def check(self, model: Model, name: str) -> None:
        """Refuses what embeds no texts, or has no spatial features."""
        if not isinstance(model, Embedder):
            raise InvalidInput(f"{name} embeds no images and texts; try scenes:clip")
        self._site(model)

    def batch(self, at: Sequence[int], guarded: Guarded) -> GroundingBatch:
        """Images at the task's side or the model's size, each with its text and box."""
        return self.read(at, guarded.size)

    def read(self, at: Sequence[int], size: tuple[int, int] | None) -> GroundingBatch:
        """The same at ``size``, unless the task has a side of its own."""
        size = (self.settings.side,) * 2 if self.settings.side else size
        queries, ids = [self.queries[row] for row in at], tuple(self.ids[row] for row in at)
        images = self.source.read([self.rows[row] for row in at], size).images.to(self.device)
        texts = tuple((query.text,) for query in queries)
        boxes = torch.tensor([query.box for query in queries]).reshape(-1, 4)
        return GroundingBatch(ids, Pairs(images, texts), boxes, Keys.of(self.settings.seed, ids))

    def objective(self, batch: GroundingBatch, guarded: Guarded, options: AttackOptions) -> AnsweredGoal:
        """Away with the hottest place, or with the cosine; or to one place after the other."""

        def seen(objective: Objective) -> ThroughViews:
            return ThroughViews(objective=objective, victim=guarded, draws=options.draws, gradient=options.gradient)

        def judge(x: Tensor, keys: Keys, rows: tuple[int, ...]) -> Tensor:
            texts, at = tuple(batch.pairs.captions[row] for row in rows), torch.tensor(rows, dtype=torch.long)
            part = batch._replace(pairs=Pairs(x, texts), boxes=batch.boxes[at])
            found = self.answer(part, part.pairs, guarded, keys)
            return ~self.pointed(found.maps, part.boxes).hit

        wanted = options.objective
        return AnsweredGoal(
            victim=guarded,
            judge=judge,
            rows=tuple(range(len(batch.ids))),
            candidates=self._candidates(batch, guarded, seen),
            whole=None if wanted == NEAR_MISS else seen(self.map_objective(batch, _embedder(guarded), wanted)),
        )

    def _candidates(
        self, batch: GroundingBatch, guarded: Guarded, seen: Callable[[Objective], ThroughViews]
    ) -> Candidates:
        """The places outside of the box that are nearest to being the hottest, which are tried in turn."""

        def find() -> Found:
            goal = self._move_map(batch, _embedder(guarded))
            with evaluating(guarded.modules), torch.enable_grad():
                shown = guarded.views(batch.pairs.images, batch.keys.fold("candidates")).detach().requires_grad_()
                coarse = evidence(goal.model, shown, goal.vectors, goal.site, goal.weights).detach()
            places = nearest_places(coarse, batch.boxes, self.settings.candidates)

            def of(chosen: tuple[int, ...]) -> Objective:
                nowhere = torch.zeros(4)
                picked = [each[at] if at >= 0 else nowhere for each, at in zip(places, chosen, strict=True)]
                return seen(replace(goal, places=torch.stack(picked)))

            return Found(tuple(map(len, places)), of)

        return Candidates("near miss", self.settings.candidates, find)

    def map_objective(self, batch: GroundingBatch, model: Embedder, objective: str) -> Objective:
        """What an attacker on the images wants of the bare embedder.

        Raises:
            InvalidInput: the model has no spatial features.
        """
        if objective == "cosine":
            texts = [text for (text,) in batch.pairs.captions]
            return LowerCosine(model=model, vectors=model.embed_text(texts).to(batch.pairs.images))
        return self._move_map(batch, model)

    def _move_map(self, batch: GroundingBatch, model: Embedder) -> MoveMap:
        return MoveMap(
            model=model,
            vectors=self.directions(batch.pairs, model),
            boxes=batch.boxes,
            site=find_site(model, batch.pairs.images[0]),
            weights=self.settings.weights,
        )

    def answer(self, batch: GroundingBatch, given: Pairs, guarded: Guarded, keys: Keys) -> Located:
        """Where the embedder finds the texts of ``given`` on the views that it is shown."""
        model, views = _embedder(guarded), guarded.shown(given.images, keys)
        maps = self.maps(Pairs(views, given.captions), model, self._site(model))
        return Located(maps, _cosines(model, views, given))

    def records(
        self, batch: GroundingBatch, guarded: Guarded, answers: Sequence[Located], objective: str
    ) -> list[Record]:
        """How well the maps fit the boxes of what was asked for at first."""
        return mean_records([self._records(batch, each) for each in answers])

    def _records(self, batch: GroundingBatch, found: Located) -> list[Record]:
        hit, overlap, inside = self.pointed(found.maps, batch.boxes)
        rows = zip(
            hit.tolist(), overlap.tolist(), inside.tolist(), found.cosines.tolist(), _peaks(found.maps), strict=True
        )
        return [
            {
                "outcome": "correct" if right else "wrong",
                "original_top1": float(right),
                "success": float(not right),
                "iou50": float(over >= NEAR),
                "overlap": over,
                "inside": within,
                "cosine": near,
                "peak": peak,
            }
            for right, over, within, near, peak in rows
        ]

    def maps(self, pairs: Pairs, model: Embedder, site: Site | None = None) -> Tensor:
        """Where the model finds what the texts of ``pairs`` name, ``[B, H, W]``, 1 at its best.

        Args:
            pairs: a text each, and of each one image or more side by side: several views, the mean
                of whose maps is taken.
            model: the embedder.
            site: see :func:`~secondlook.models.heatmap.find_site`; None looks for it.

        Raises:
            InvalidInput: the model has no spatial features.
        """
        count = len(pairs.images) // max(len(pairs.captions), 1)
        vectors = self.directions(pairs, model).repeat_interleave(count, 0)
        each = heat(model, pairs.images, vectors, site, self.settings.weights)
        return each.unflatten(0, (-1, count)).mean(1) if count > 1 else each

    def pointed(self, maps: Tensor, boxes: Tensor) -> Pointed:
        """How well maps ``[B, H, W]`` fit the boxes of a batch."""
        return pointed(maps, boxes, self.settings.threshold)

    def directions(self, pairs: Pairs, model: Embedder) -> Tensor:
        """What the model looks for, for the text of each pair, ``[B, D]``."""
        vectors = model.embed_text([text for (text,) in pairs.captions])
        if self.settings.contrast:
            common = sorted({query.text for query in self.queries})
            vectors = vectors - model.embed_text(common).mean(0)
        return vectors.to(pairs.images)

    def figures(self, rows: Sequence[Record], clean: Sequence[Record]) -> Figures:
        """The pointing game, the overlap of the boxes, the heat inside, the cosine."""
        found = {
            "pointing": share([row["original_top1"] for row in rows]),
            "iou50": share([row["iou50"] for row in rows]),
        }
        means = {n: average([row[n] for row in rows]) for n in ("overlap", "inside", "cosine")}
        return Figures(metrics=found | means)

    def goal(self, objective: str) -> str:
        """That the hottest place leaves the box, whatever is optimized."""
        return "grounding"

    def provenance(self) -> Record:
        """How many images there are, and how often a random place hits."""
        return {"images": len(self.rows), "a random place hits": f"{self.chance:.3f}", **super().provenance()}

    def example(self, guarded: Guarded, shown: Shown) -> MapExample:
        """An image with the map over it, before and after."""
        batch = self.batch([shown.at], guarded)
        clean, (old,), (new,) = batch.pairs.images[0], *batch.pairs.captions, *shown.given.captions
        places = []
        for pairs, row in zip((batch.pairs, shown.given), (shown.before, shown.after), strict=True):
            found = self.answer(batch, pairs, guarded, batch.keys.fold("decide", 0))
            places.append(_place(pairs.images[0], found.maps[0], row))
        return MapExample(
            **shown.about,
            **pictures(clean, shown.given.images[0]),
            objective=shown.objective,
            box=self.queries[shown.at].box,
            text=compared(old, old),
            altered=compared(old, new),
            before=places[0],
            after=places[1],
        )

    def _site(self, model: Embedder) -> Site:
        if model.name not in self._sites:
            first = self.read([0], getattr(model, "size", None)).pairs.images[0]
            self._sites[model.name] = find_site(model, first)
        return self._sites[model.name]


def _embedder(guarded: Guarded) -> Embedder:
    assert isinstance(guarded.model, Embedder), f"{guarded.model.name} was not checked"
    return guarded.model


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


def _place(image: Tensor, heat: Tensor, row: Record) -> Place:
    """The map over the image in red, where it points, and whether that is right."""
    red = heat.new_tensor([1.0, 0.25, 0.0]).view(3, 1, 1)
    over = 0.7 * heat
    x, y = row["peak"]
    return Place(picture=picture(image * (1 - over) + red * over), x=x, y=y, hit=row["original_top1"] > 0.5)


def _asking(source: Source) -> Callable[[int], Sequence[Query]]:
    """What can be asked of each image of a source."""
    if isinstance(source, SceneSource):
        return lambda row: _of_scene(source, row)
    if isinstance(source, Grounded):
        return lambda row: _of_photograph(source, row)
    raise InvalidInput(f"{type(source).__name__} knows no boxes; name scenes:test or refcoco:FILE.json")


def _of_scene(source: SceneSource, row: int) -> Sequence[Query]:
    """The things that no other thing of the scene is named like."""
    things = sample(source.seed, source.split, row).objects
    names = [f"a {thing.color} {thing.shape}" for thing in things]
    return [
        Query(name, _shares(*thing.box)) for name, thing in zip(names, things, strict=True) if names.count(name) == 1
    ]


def _shares(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    return left / SIDE, top / SIDE, (right - left) / SIDE, (bottom - top) / SIDE


def _of_photograph(source: Grounded, row: int) -> Sequence[Query]:
    texts = [text for text, owner in enumerate(source.owner) if owner == row]
    boxes = source.boxes(texts).tolist()
    return [Query(source.texts[t], tuple(b)) for t, b in zip(texts, boxes, strict=True)]
