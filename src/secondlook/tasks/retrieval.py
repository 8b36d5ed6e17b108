"""Finding the texts of an image, and the image of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from itertools import chain
from typing import ClassVar, Final, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from secondlook import registry, statistics
from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Captions, Pairs
from secondlook.bounds import Natural
from secondlook.data import load
from secondlook.data.base import Captioned
from secondlook.data.captions import groups, normalized
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.metrics.figures import metric, share
from secondlook.metrics.ranks import ranks
from secondlook.metrics.retrieval import CUTS, Groups, Rate, asr, drop, mean_recall, recall, share_of
from secondlook.models.base import Embedder, Matcher, Model
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.schema import Metric
from secondlook.tasks.base import Answered, AttackOptions, Figures, OpenTask, Record, Shown, Stored, how_many
from secondlook.tasks.caption_truth import facts
from secondlook.tasks.retrieval_search import (
    Answers,
    Found,
    Rematcher,
    Reranking,
    Side,
    TextVectors,
    check_readable,
    flat,
    leaders,
    notices,
    search,
    sides_of,
)
from secondlook.tasks.view import (
    Column,
    Curve,
    GoalView,
    ImageExample,
    Part,
    Table,
    View,
    Word,
    compared,
    picture,
    pictures,
)

Setting = Literal["query", "gallery", "both"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
"""What is attacked: the query alone, all that is searched, or both, as SGA and Co-Attack do."""
DIRECTIONS: Final = ("image_to_text", "text_to_image")
ALIKE: Final = "alike_"
"""How the figures begin for which captions that say the same belong to each other's images."""


class PairBatch(NamedTuple):
    """Some images of the task with their captions.

    Attributes:
        ids: stable names of the images.
        rows: their positions in the source.
        pairs: images and captions.
        keys: one key per image.
    """

    ids: tuple[str, ...]
    rows: tuple[int, ...]
    pairs: Pairs
    keys: Keys


class Hit(Part):
    """One of the first answers to a search: a caption, or an image."""

    words: list[Word] = []
    picture: str = ""
    right: bool
    """Whether it is one that should be found."""


class SearchExample(ImageExample):
    """One image with one of its captions, and what they find before and after the attack."""

    attacked: str
    """Which side of the search is attacked: ``query``, ``gallery`` or ``both``."""
    caption: list[Word]
    altered: list[Word]
    texts_before: list[Hit]
    """The first captions that the image finds."""
    texts_after: list[Hit]
    images_before: list[Hit]
    """The first images that the caption finds."""
    images_after: list[Hit]


def _columns() -> tuple[Column, ...]:
    """Recalls first, then what an attack took of them; k rising."""
    named = (("r", "R", ""), ("r", "R", "alike_"), ("asr", "ASR", ""), ("drop", "drop of R", ""))
    return tuple(
        Column(
            metric=f"{alike}{way}_{figure}{k}",
            unit="points" if figure == "drop" else "share",
            title=f"{way.replace('_', ' ')} {title}@{k}{', captions alike' if alike else ''}",
        )
        for figure, title, alike in named
        for way in DIRECTIONS
        for k in CUTS
    )


VIEW: Final = View(
    goals=(
        GoalView(
            name="retrieval",
            deed="makes the first answer wrong in",
            columns=("image_to_text_r1", "text_to_image_r1", "mean_recall", "changed_captions", "false_captions"),
            brief=("image_to_text_r1", "mean_recall"),
            drawn=("image_to_text_r1", "text_to_image_r1"),
            note="<dfn>R@1</dfn>: of the searches, those whose first answer is right; high is good. "
            "<dfn>Mean recall</dfn>: of R@1, R@5 and R@10 in both directions. <dfn>False captions</dfn>: of "
            "the attacked captions, those that are not true of their image; searches by what is false "
            "of an image should not find it.",
        ),
    ),
    columns=(
        *_columns(),
        Column(metric="mean_recall", title="mean recall", unit="share"),
        Column(metric="alike_mean_recall", title="mean recall, captions alike", unit="share"),
        Column(metric="changed_captions", title="changed captions", unit="share"),
        Column(metric="false_captions", title="false captions", unit="share"),
    ),
    things="searches",
    outcome="Of a search: whether the first caption that the image finds is one of its own.",
    tables=(
        Table(
            title="Every search, by its cut",
            metrics=tuple(column.metric for column in _columns()),
            note="<dfn>R@k</dfn>: the share of the searches with a right answer among the first k; "
            "ties count against it. <dfn>ASR@k</dfn>: of those that were right among the first k "
            "without the attack, the share that no more are. <dfn>Drop</dfn>: by how much R@k is "
            "lower than without it, which some papers call ASR. Each stands with what it is a "
            "share of. Searches of one image fall together, and intervals count images.",
        ),
    ),
    curves=tuple(
        Curve(title=way.replace("_", " "), lines={f"R@{k}": f"{way}_r{k}" for k in reversed(CUTS)})
        for way in DIRECTIONS
    ),
    curves_note="From the searches that nobody attacks, at the left, to the largest change of an "
    "image; the bands are 95 % intervals. Where words may change, as many may at every budget but "
    "the first, at which nothing does.",
    example=SearchExample,
    gallery="The first five answers to a search, before and after the attack; right ones have a "
    "bar, and words that the attacker has put in are marked. What is added to an image is "
    "magnified to full contrast; gray means no change.",
    template=files("secondlook.tasks").joinpath("retrieval.html.jinja"),
)


@register("task", "retrieval")
@dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Searching texts by images and images by texts, several captions to an image.

    Attributes:
        data: a source with captions by name, ``scenes:test``, ``flickr8k:PATH``.
        samples: how many of its images; 0 takes all.
        captions: how many captions of each image; 0 takes all.
        form: captions as they are ``written``, or as ``sga`` prepares them: small letters, no
            punctuation, 30 words.
        attacked: what is attacked: ``query``, ``gallery``, ``both``; one row for each.
        rerank: how many of the first a model that can match image and text looks at again.
        seed: chooses the images.

    Raises:
        InvalidInput: a negative number.
    """

    data: str = "scenes:test"
    samples: Natural = 100
    captions: Natural = 0
    form: Literal["written", "sga"] = "written"
    attacked: tuple[Setting, ...] = SETTINGS
    rerank: Natural = 0
    seed: Natural = 0
    view: ClassVar[View] = VIEW

    def __post_init__(self) -> None:
        if not self.attacked:
            raise InvalidInput('attacked = [] attacks nothing; write ["both"], say')

    def open(self) -> OpenRetrieval:
        """The task with its source found on disk.

        Raises:
            InvalidInput: the source has no captions, or fewer than two images.
        """
        return OpenRetrieval(self, load(self.data).captioned())


class OpenRetrieval(OpenTask[PairBatch, Tensor]):
    """Retrieval whose images and captions can be read.

    Attributes:
        captions: of each image.
    """

    modalities = ("images", "captions", "both")
    collective = True
    variant = "attacked"
    default_attack = "sga"
    settings: RetrievalTask
    source: Captioned

    def __init__(self, settings: RetrievalTask, source: Captioned) -> None:
        self.settings, self.source = settings, source
        _check_unique(source.ids)
        keys = Keys.of(settings.seed, source.ids)
        self.rows = tuple(keys.fold("choose").order()[: how_many(settings, len(source))])
        if len(self.rows) < 2:
            raise InvalidInput(f"{settings.data} gives {len(self.rows)} image(s); a search needs two")
        self.ids = tuple(source.ids[row] for row in self.rows)
        self.captions: Captions = tuple(map(self._captions, self.rows))
        self.facts = facts(source)
        self._vectors: dict[str, TextVectors] = {}

    @property
    def objectives(self) -> tuple[str, ...]:
        """Attacks on pairs bring their own."""
        return ()

    @property
    def variants(self) -> tuple[str, ...]:
        """Which side of the search is attacked."""
        return self.settings.attacked

    @property
    def identity(self) -> Record:
        """Which side is attacked changes nothing of what is attacked."""
        given = registry.describe(self.settings)
        return {key: value for key, value in given.items() if key != "attacked"}

    def check(self, model: Model, name: str) -> None:
        """Refuses what embeds no texts, cannot match pairs where that is asked, or a caption."""
        if not isinstance(model, Embedder):
            raise InvalidInput(f"{name} embeds no texts, and a search needs both; try scenes:clip")
        if self.settings.rerank and not isinstance(model, Matcher):
            raise InvalidInput(f"rerank={self.settings.rerank}: {name} matches no pairs; write 0")
        check_readable(model, self.ids, self.captions)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All captions, those of one image side by side."""
        return tuple(chain.from_iterable(self.captions))

    @cached_property
    def own(self) -> Answers:
        """Each caption belongs to its image alone, as published recalls have it."""
        return Answers(tuple(_positions(self.captions)), tuple((row,) for row in self.owner))

    @cached_property
    def alike(self) -> Answers:
        """A caption that says the same as another's belongs to both images."""
        texts: list[set[int]] = [set() for _ in self.rows]
        images: list[tuple[int, ...]] = [()] * len(self.texts)
        for group in groups(self.texts):
            bearers = sorted({self.owner[text] for text in group})
            for image in bearers:
                texts[image].update(group)
            for text in group:
                images[text] = tuple(bearers)
        return Answers(tuple(tuple(sorted(each)) for each in texts), tuple(images))

    @property
    def rights(self) -> list[Answers]:
        """``own``, and ``alike`` where it is another."""
        return [self.own] if self.alike == self.own else [self.own, self.alike]

    @cached_property
    def owner(self) -> tuple[int, ...]:
        """For each text its image."""
        return tuple(row for row, texts in enumerate(self.captions) for _ in texts)

    def batch(self, at: Sequence[int], guarded: Guarded) -> PairBatch:
        """Images at the size of a model, with their captions."""
        return self.read(at, guarded.size)

    def read(self, at: Sequence[int], size: tuple[int, int] | None) -> PairBatch:
        """The same at ``size``."""
        rows = tuple(self.rows[each] for each in at)
        ids = tuple(self.ids[each] for each in at)
        images = self.source.read(rows, size).images.to(self.device)
        truths = tuple(partial(self.facts.preserves, row) for row in rows) if self.facts else ()
        pairs = Pairs(images, tuple(self.captions[each] for each in at), truths)
        return PairBatch(ids, rows, pairs, Keys.of(self.settings.seed, ids))

    def objective(self, batch: PairBatch, guarded: Guarded, options: AttackOptions) -> Objective:
        """There is none.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            "a search is attacked by attacks on images with their captions; take sga, co-attack, "
            "sep-attack or bert-attack"
        )

    def answer(self, batch: PairBatch, given: Pairs, guarded: Guarded, keys: Keys) -> Tensor:
        """Unit vectors ``[B, D]`` of the images."""
        return guarded.decide(given.images, keys).scores

    def agree(self, batch: PairBatch, guarded: Guarded, first: Tensor, second: Tensor) -> bool:
        """Whether the vectors are the same."""
        return torch.allclose(first, second, rtol=1e-4, atol=1e-5, equal_nan=True)

    def records(self, batch: PairBatch, guarded: Guarded, answers: Sequence[Tensor], objective: str) -> list[Record]:
        """A search goes through everything: see :meth:`collected`."""
        raise NotImplementedError("a search is scored all together")

    def collected(
        self, guarded: Guarded, before: Answered, after: Answered, variant: str, shown: int
    ) -> tuple[list[Record], Record]:
        """What the searches of each image, and of its captions, came to."""
        clean, altered = (self._side(guarded, each) for each in (before, after))
        query, gallery = ((clean, altered)[which] for which in sides_of(variant))
        again = self._reranking(guarded, after.stored, variant)
        found = search(query, gallery, self.rights, self.owner, again)
        rows = _records(self.ids, found[0], found[-1])
        self._lead(rows, query, gallery, again, shown)
        if after.stored is None:
            model = _embedder(guarded)
            return rows, {"notices": notices(model, self.texts, self.owner, clean.texts)}
        cosines = iter((clean.texts * altered.texts).sum(1).clamp(-1, 1).tolist())
        for row, texts in zip(rows, self.captions, strict=True):
            row["caption_cosine"] = [round(next(cosines), 6) for _ in texts]
        return self._with_truth(rows, after.stored), {}

    def _with_truth(self, rows: list[Record], stored: Stored) -> list[Record]:
        """The records with which captions are false of their image, where anybody knows."""
        if self.facts is None:
            return rows
        held = zip(rows, self.rows, stored.captions, strict=True)
        return [
            {**row, "false_captions": [not self.facts.judge(text, at).whole for text in texts]}
            for row, at, texts in held
        ]

    def _side(self, guarded: Guarded, answered: Answered) -> Side:
        """All of it as one model sees it."""
        stored = answered.stored
        texts = self._read(guarded)(flat(stored.captions if stored else self.captions), keep=stored is None)
        return Side(images=torch.cat(list(answered.answers)), texts=texts)

    def _read(self, guarded: Guarded) -> TextVectors:
        """Texts are read by the bare model, whatever stands in front of its images."""
        model = _embedder(guarded)
        if model.name not in self._vectors:
            self._vectors[model.name] = TextVectors(model, self.device)
        return self._vectors[model.name]

    def _reranking(self, guarded: Guarded, stored: Stored | None, variant: str) -> Reranking | None:
        """The matcher that ranks anew what the cosines put first; None where none is wanted."""
        model, top = guarded.model, self.settings.rerank
        if not top or not isinstance(model, Matcher):
            return None

        def clean(rows: Sequence[int]) -> Tensor:
            return self.read(rows, guarded.size).pairs.images

        def altered(rows: Sequence[int]) -> Tensor:
            return stored.images(rows).to(self.device) if stored else clean(rows)

        images = (clean, altered)
        texts = (self.captions, stored.captions if stored else self.captions)
        asks, answers = sides_of(variant)
        return Reranking(
            texts=Rematcher(model, images[asks], flat(texts[answers]), by_image=True),
            images=Rematcher(model, images[answers], flat(texts[asks]), by_image=False),
            top=top,
        )

    def _lead(self, rows: list[Record], query: Side, gallery: Side, again: Reranking | None, shown: int) -> None:
        """Notes in the first rows what the report shows: the first answers to their searches."""
        count = min(shown, len(rows))
        ends = [self.own.texts[at][-1] + 1 for at in range(count)]
        texts, images = leaders(query, gallery, count, ends[-1] if ends else 0, again)
        for row, own, start, end in zip(rows, texts, [0, *ends], ends, strict=False):
            row |= {"first_texts": own, "first_images": images[start:end]}

    def reached(self, batch: PairBatch, given: Pairs, guarded: Guarded, objective: str) -> list[bool]:
        """Whether images find none of their captions first."""
        vectors = self.answer(batch, given, guarded, batch.keys.fold("p"))
        texts = self._read(guarded)(self.texts, keep=True)
        right = [self.own.texts[self.ids.index(name)] for name in batch.ids]
        return [rank > 1 for rank in ranks(vectors, texts, right).tolist()]

    def tried(self, variant: str) -> bool:
        """A changed gallery changes no query, and images are tried as queries."""
        return variant != "gallery"

    def held(self, rows: Sequence[Record]) -> frozenset[str] | None:
        """The images that find none of their captions."""
        return frozenset(row["sample"] for row in rows if row["image_to_text"] > 1)

    def figures(self, rows: Sequence[Record], clean: Sequence[Record]) -> Figures:
        """All figures of a row; attacked ones are compared with the clean row, image by image."""
        rates: dict[str, Rate] = {}
        metrics = {"mean_recall": metric(mean_recall(*(_groups(rows, way) for way in DIRECTIONS)))}
        if any(row[way] != row[ALIKE + way] for row in rows for way in DIRECTIONS):
            alike = (_groups(rows, ALIKE + way) for way in DIRECTIONS)
            metrics[f"{ALIKE}mean_recall"] = metric(mean_recall(*alike))
            rates |= {f"{ALIKE}{way}_r{k}": recall(_groups(rows, ALIKE + way), k) for way in DIRECTIONS for k in CUTS}
        rates |= {f"{way}_r{k}": recall(_groups(rows, way), k) for way in DIRECTIONS for k in CUTS}
        if "words" in rows[0]:
            before = {row["sample"]: row for row in clean}
            paired = [before[row["sample"]] for row in rows]
            for way in DIRECTIONS:
                was, now = _groups(paired, way), _groups(rows, way)
                rates |= {f"{way}_asr{k}": asr(was, now, k) for k in CUTS}
                metrics |= {f"{way}_drop{k}": metric(drop(was, now, k)) for k in CUTS}
            metrics["caption_cosine"] = _spread(rows, "caption_cosine")
            rates |= _changed_captions(rows)
        metrics |= {name: metric(rate.interval) for name, rate in rates.items()}
        metrics["original_top1"] = share([row["original_top1"] for row in rows])
        return Figures(metrics=metrics, denominators={n: rate.of for n, rate in rates.items()})

    def goal(self, objective: str) -> str:
        """To break the search."""
        return "retrieval"

    def provenance(self) -> Record:
        """How many images and captions there are."""
        return {
            "images": len(self.rows),
            "captions": len(self.texts),
            "captions that say what another image's does": sum(len(images) > 1 for images in self.alike.images),
            **super().provenance(),
        }

    def example(self, guarded: Guarded, shown: Shown) -> SearchExample | None:
        """What the image and one of its captions find, before and after."""
        if "first_texts" not in shown.before or "first_texts" not in shown.after:
            return None
        at, number = shown.at, self._changed(shown)
        old = self.captions[at][number]
        searched = None if shown.variant == "query" else shown.stored
        clean = self.read([at], guarded.size).pairs.images[0].cpu()
        before, after = shown.before, shown.after
        return SearchExample(
            **shown.about,
            **pictures(clean, shown.given.images[0].cpu()),
            attacked=shown.variant,
            caption=compared(old, old),
            altered=compared(old, shown.given.captions[0][number]),
            texts_before=self._texts_hit(at, before["first_texts"], None),
            texts_after=self._texts_hit(at, after["first_texts"], searched),
            images_before=self._images_hit(guarded, at, before["first_images"][number], number),
            images_after=self._images_hit(guarded, at, after["first_images"][number], number, searched),
        )

    def _changed(self, shown: Shown) -> int:
        """The first caption of the image that was changed, or its first."""
        pairs = zip(self.captions[shown.at], shown.given.captions[0], strict=True)
        return next((n for n, (old, new) in enumerate(pairs) if old != new), 0)

    def _texts_hit(self, at: int, rows: Sequence[int], stored: Stored | None) -> list[Hit]:
        found = []
        for row in rows:
            image = self.owner[row]
            number = row - self.own.texts[image][0]
            old = self.captions[image][number]
            new = stored.captions[image][number] if stored else old
            found.append(Hit(words=compared(old, new), right=row in self.alike.texts[at]))
        return found

    def _images_hit(
        self, guarded: Guarded, at: int, rows: Sequence[int], number: int, stored: Stored | None = None
    ) -> list[Hit]:
        right = self.alike.images[self.own.texts[at][number]]
        found = []
        for row in rows:
            images = stored.images([row]) if stored else self.read([row], guarded.size).pairs.images
            found.append(Hit(picture=picture(images[0].cpu()), right=row in right))
        return found

    def _captions(self, row: int) -> tuple[str, ...]:
        return self.prepared(self.source.ids[row], self.source.captions(row))

    def prepared(self, name: str, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Captions of an image as the task takes them: so many, in its form.

        Args:
            name: of the image, for errors.
            texts: its captions.

        Raises:
            InvalidInput: there is none, or one has no word.
        """
        texts = texts[: self.settings.captions or len(texts)]
        if self.settings.form == "sga":
            texts = tuple(map(normalized, texts))
        if not texts:
            raise InvalidInput(f"image {name} has no caption; caption it, or take it out")
        for number, text in enumerate(texts):
            if not text.split():
                raise InvalidInput(f"caption {number} of image {name} has no word; take it out")
        return texts


def _positions(captions: Captions) -> Iterator[tuple[int, ...]]:
    """For each image the places of its captions among all of them."""
    start = 0
    for texts in captions:
        yield tuple(range(start, start + len(texts)))
        start += len(texts)


def _check_unique(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InvalidInput(f"two images are called {name}; give each a name of its own")
        seen.add(name)


def _embedder(guarded: Guarded) -> Embedder:
    assert isinstance(guarded.model, Embedder), f"{guarded.model.name} was not checked"
    return guarded.model


def _records(ids: Sequence[str], own: Found, alike: Found) -> list[Record]:
    """What the searches of each image, and of its captions, came to.

    Args:
        ids: of the images.
        own: ranks where a caption belongs to its image alone.
        alike: ranks where it belongs to whichever image bears one that says the same.
    """
    return [
        {
            "sample": name,
            "outcome": "correct" if image == 1 else "wrong",
            "image_to_text": image,
            "text_to_image": list(texts),
            "alike_image_to_text": alike.image_to_text[row][0],
            "alike_text_to_image": list(alike.text_to_image[row]),
            **_hits(image, texts),
        }
        for row, (name, (image,), texts) in enumerate(zip(ids, own.image_to_text, own.text_to_image, strict=True))
    ]


def _hits(image: int, texts: Sequence[int]) -> dict[str, float]:
    """The share of the searches that find at once, either direction weighing a half."""
    share = ((image == 1) + sum(rank == 1 for rank in texts) / len(texts)) / 2
    return {"original_top1": share, "success": 1 - share, "rejected": 0.0}


def _groups(rows: Sequence[Record], way: str) -> Groups:
    """The ranks of each image's searches in one direction."""
    found = [row[way] for row in rows]
    return [[each] if isinstance(each, int) else each for each in found]


def _changed_captions(rows: Sequence[Record]) -> dict[str, Rate]:
    """The shares of captions that were changed, and that are false of their image where it is known."""
    found = {"changed_captions": share_of([[count > 0 for count in row["words"]] for row in rows])}
    if "false_captions" in rows[0]:
        found["false_captions"] = share_of([row["false_captions"] for row in rows])
    return found


def _spread(rows: Sequence[Record], key: str) -> Metric:
    """The mean over images, and the deviation over all captions."""
    values = list(chain.from_iterable(row[key] for row in rows))
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    found = metric(statistics.mean([float(np.mean(row[key])) for row in rows]))
    return found.model_copy(update={"sd": deviation})
