"""Captioning as an audit sees it: a captioner is asked, and its words are held to the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch import Tensor

from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Pairs
from secondlook.audit.captioning.figures import figures
from secondlook.audit.exhibit import CaptionExhibit
from secondlook.audit.gallery import SHOWN, magnified, picture
from secondlook.audit.retrieval.gallery import words
from secondlook.audit.schema import Metric
from secondlook.audit.single.lens import Lens, Unnamed
from secondlook.audit.single.subject import Subject
from secondlook.audit.store import Record
from secondlook.defenses.base import Gradient
from secondlook.errors import InvalidInput
from secondlook.metrics.medoid import medoid
from secondlook.models.base import Embedder, Model
from secondlook.models.captioner import Captioner
from secondlook.randomness import Keys
from secondlook.tasks.captioning import CaptionBatch, OpenCaptioning
from secondlook.tasks.captioning_told import Told
from secondlook.tasks.zeroshot import Wish

_WISHES: Final[Mapping[str, Wish]] = {"untargeted": "untargeted", "targeted": "targeted"}


class Telling(Subject[CaptionBatch]):
    """A captioner, asked about single images.

    Behind a purifier it is shown reconstructions. Of several the caption is taken that has most in
    common with the others.
    """

    aims = tuple(_WISHES)
    touches = ("images", "both")

    def __init__(self, task: OpenCaptioning) -> None:
        self.task: OpenCaptioning = task

    @property
    def stochastic(self) -> bool:
        """Whether words are drawn."""
        return self.task.task.style == "sample"

    def check(self, model: Model, name: str) -> None:
        """Refuses what writes no captions."""
        if not isinstance(model, Captioner):
            raise InvalidInput(f"{name} writes no captions; try scenes:captioner")

    def wrapped(self, model: Model) -> Unnamed:
        """The captioner without scores."""
        return Unnamed(model)

    def batch(self, at: Sequence[int], size: tuple[int, int] | None) -> CaptionBatch:
        """Images with their true captions, and those that an attacker wants."""
        return self.task.batch(at, size)

    def objective(self, batch: CaptionBatch, model: Model, aim: str) -> Objective:
        """Away from the true captions, or towards the attacker's."""
        return self.task.objective(batch, _captioner(model), _WISHES[aim])

    def embedder(self, lens: Lens, draws: int, gradient: Gradient) -> Embedder:
        """A captioner's images and texts have no common space: joint attacks need a surrogate."""
        if not isinstance(lens.model, Embedder):
            raise InvalidInput(
                f"{lens.model.name} embeds nothing, and an attack on pairs needs images and texts "
                'in one space; craft it on another model: surrogates = ["scenes:clip"], and '
                'knowledge = ["transfer"] under the attack'
            )
        return lens.model

    def ask(
        self, batch: CaptionBatch, given: Pairs, lens: Lens, keys: Keys, aim: str
    ) -> list[Record]:
        """What the captioner says of the images of ``given``, and what is to be thought of it."""
        model, views = _captioner(lens.model), lens.shown(given.images, keys)
        texts = self.task.said(views, keys.repeat(lens.looks), model)
        said = [texts[at : at + lens.looks] for at in range(0, len(texts), lens.looks)]
        told = self.task.judged(batch, [each[medoid(each)] for each in said])
        return [_record(one, aim) for one in told]

    def figures(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """CIDEr-D, BLEU-4, and the shares of what is right, said and claimed."""
        return figures(rows, dict(zip(self.task.ids, self.task.captions, strict=True)))

    def goal(self, aim: str) -> str:
        """An attack on pairs knows no target: it is content where the caption is not right."""
        return "say" if aim == "targeted" else "unsay"

    def told(self) -> Record:
        """How many images and captions there are, and what is known of them."""
        task = self.task
        return {
            "images": len(task.rows), "captions": sum(map(len, task.captions)),
            "known of the images": "what is on them" if task.facts else "their captions alone",
            "caveat": task.source.provenance,
        }  # fmt: skip

    def exhibit(
        self, at: int, lens: Lens, given: Pairs, rows: tuple[Record, Record], about: Record
    ) -> CaptionExhibit:
        """An image with what is said of it, before and after."""
        batch, (before, after) = self.batch([at], lens.size), rows
        clean = batch.images[0]
        wanted = self.task.targets[at][1] if about["aim"] == "targeted" else ""
        return CaptionExhibit(
            **about, clean=picture(clean), perturbation=picture(magnified(given.images[0] - clean)),
            adversarial=picture(given.images[0]),
            shown=[picture(view) for view in _looks(lens, given, batch.keys)],
            truth=self.task.captions[at][0], target=wanted,
            before=words(after["text"], before["text"]), after=words(before["text"], after["text"]),
            right_before=before["original_top1"] > 0.5, right=after["original_top1"] > 0.5,
            said=after["said"] > 0.5,
        )  # fmt: skip


def _captioner(model: Model) -> Captioner:
    assert isinstance(model, Captioner), f"{model.name} was not checked"
    return model


def _record(told: Told, aim: str) -> Record:
    truth = told.truth
    known: Record = {}
    if truth is not None:
        known = {"claims": truth.claims, "true": truth.true, "whole": float(truth.whole)}
    return {
        "outcome": "correct" if told.right else "wrong", "text": told.text,
        "original_top1": float(told.right), "said": float(told.said),
        "reached": float(told.said if aim == "targeted" else not told.right),
        "verbatim": float(told.verbatim), "cider": told.cider, "target_cider": told.target_cider,
        **known,
    }  # fmt: skip


def _looks(lens: Lens, given: Pairs, keys: Keys) -> Tensor:
    """The first reconstructions of the first image; none where nothing defends."""
    if lens.eye is None:
        return given.images[:0]
    return lens.shown(given.images[:1], keys.fold("decide", 0)[:1])[:SHOWN]
