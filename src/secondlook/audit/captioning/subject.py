"""Captioning as an audit sees it: a captioner is asked, and its words are held to the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Pairs
from secondlook.audit.captioning import transfer
from secondlook.audit.captioning.answers import Screened, answered
from secondlook.audit.captioning.figures import figures
from secondlook.audit.captioning.gallery import exhibit
from secondlook.audit.captioning.guards import Guards
from secondlook.audit.captioning.knowing import unsuspected
from secondlook.audit.captioning.records import Ruling, compared, record
from secondlook.audit.exhibit import CaptionExhibit
from secondlook.audit.schema import Metric
from secondlook.audit.single.lens import Lens, Unnamed
from secondlook.audit.single.subject import Subject, Wary
from secondlook.audit.store import Record
from secondlook.defenses.base import Gradient
from secondlook.defenses.eyes import many
from secondlook.defenses.watched import Curtain
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.models.captioner import Captioner
from secondlook.randomness import Keys
from secondlook.tasks.captioning import CaptionBatch, OpenCaptioning
from secondlook.tasks.zeroshot import Wish

_WISHES: Final[Mapping[str, Wish]] = {"untargeted": "untargeted", "targeted": "targeted"}


class Telling(Subject[CaptionBatch]):
    """A captioner, asked about single images.

    Behind a purifier it is shown reconstructions. Of several the caption is taken that has most in
    common with the others.
    """

    aims = (*_WISHES, *transfer.AIMS)
    touches = ("images", "both")
    asking, carried = (transfer.ANSWER,), (transfer.TEXT, transfer.PICTURE)
    watches = True

    def __init__(self, task: OpenCaptioning) -> None:
        self.task: OpenCaptioning = task
        self._guards, self._transfer = Guards(task.task), transfer.Transfer(task.task)
        named = task.task.readers
        self.readers = many(named, Embedder, "readers", "scenes:clip") if named else ()

    @property
    def stochastic(self) -> bool:
        """Whether words are drawn."""
        return self.task.task.style == "sample"

    def check(self, model: Model, name: str) -> None:
        """Refuses what writes no captions."""
        if not isinstance(model, Captioner):
            raise InvalidInput(f"{name} writes no captions; try scenes:captioner")

    def surrogate(self, model: Model, aim: str) -> bool:
        """An embedder for what AttackVLM aims at, another captioner for the rest."""
        wanted: type[Model] = Embedder if aim in transfer.AIMS else Captioner
        return isinstance(model, wanted)

    def uses(self, aim: str) -> tuple[Model, ...]:
        """Who compares what is said; and who paints, for an attacker who needs a picture."""
        if aim in (transfer.PICTURE, transfer.ANSWER):
            return (*self.readers, self._transfer.painter)
        return self.readers

    def looked_at(self, lens: Lens) -> Record:
        """Where a detector would draw the line, by false rejection."""
        guard = self._guards.of(lens)
        return {"thresholds": guard.thresholds} if guard else {}

    def attributes(self) -> dict[str, dict[str, str]]:
        """Of scenes, what is on them."""
        task, facts = self.task, self.task.facts
        pairs = zip(task.ids, task.rows, strict=True)
        return {name: facts.attributes(row) for name, row in pairs} if facts else {}

    def wrapped(self, model: Model) -> Unnamed:
        """The captioner without scores."""
        return Unnamed(model)

    def batch(self, at: Sequence[int], size: tuple[int, int] | None) -> CaptionBatch:
        """Images with their true captions, and those that an attacker wants."""
        return self.task.batch(at, size)

    def objective(self, batch: CaptionBatch, model: Model, aim: str) -> Objective:
        """Away from the true captions, or towards the attacker's; or what a surrogate sees."""
        if aim in transfer.AIMS:
            return self._transfer.objective(batch, model, aim)
        return self.task.objective(batch, _captioner(model), _WISHES[aim])

    def relayed(self, batch: CaptionBatch, surrogate: Model, asked: Lens, aim: str) -> Objective:
        """The surrogate's eye first, then the answers of the victim, detector and all."""
        guard = self._guards.of(asked)
        victim = Curtain(guard.watched) if guard else Screened(self.task, asked)
        return self._transfer.relayed(batch, surrogate, victim)

    def knowing(self, wish: Objective, batch: CaptionBatch, lens: Lens, manner: Wary) -> Objective:
        """The wish, and a hinge on the suspicion of what is said if it comes true."""
        guard = self._guards.of(lens)
        assert guard is not None, f"nothing watches {lens.model.name}"
        return unsuspected(wish, self.task, batch, guard.watched, manner)

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
        said, rulings = self._answered(given, lens, keys)
        told, unsaying = self.task.judged(batch, said), self.goal(aim) == "unsay"
        given_out = [
            text if ruling is None or ruling.accepted else ""
            for text, ruling in zip(said, rulings, strict=True)
        ]
        near = compared(self.readers, given_out, batch.targets)
        return [
            {**record(one, unsaying, ruling), **more}
            for one, ruling, more in zip(told, rulings, near, strict=True)
        ]

    def _answered(
        self, given: Pairs, lens: Lens, keys: Keys
    ) -> tuple[list[str], Sequence[Ruling | None]]:
        guard = self._guards.of(lens)
        if guard is not None:
            found = guard.watched.decide(given.images, keys)
            ruled = zip(found.suspicion.tolist(), found.accepted.tolist(), strict=True)
            return found.captions, [Ruling(*each) for each in ruled]
        said = answered(self.task, lens, given.images, keys)
        return said, [None] * len(said)

    def figures(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """CIDEr-D, BLEU-4, and the shares of what is right, said and claimed."""
        return figures(rows, dict(zip(self.task.ids, self.task.captions, strict=True)))

    def goal(self, aim: str) -> str:
        """An attack on pairs knows no target: it is content where the caption is not right."""
        return "say" if aim in ("targeted", *transfer.AIMS) else "unsay"

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
        wanted = self.task.targets[at][1] if self.goal(about["aim"]) == "say" else ""
        batch, guard = self.batch([at], lens.size), self._guards.of(lens)
        return exhibit(batch, given, (lens, guard), rows, {**about, "target": wanted})


def _captioner(model: Model) -> Captioner:
    assert isinstance(model, Captioner), f"{model.name} was not checked"
    return model
