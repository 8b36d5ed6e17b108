"""A captioned image for the gallery, before and after, with what a detector makes of it."""

from __future__ import annotations

from torch import Tensor

from secondlook.attacks.pairs import Pairs
from secondlook.audit.captioning.guards import Guard
from secondlook.audit.exhibit import CaptionExhibit, Suspected
from secondlook.audit.gallery import SHOWN, magnified, picture
from secondlook.audit.retrieval.gallery import words
from secondlook.audit.single.lens import Lens
from secondlook.audit.store import Record
from secondlook.randomness import Keys
from secondlook.tasks.captioning import CaptionBatch


def exhibit(
    batch: CaptionBatch, given: Pairs, asked: tuple[Lens, Guard | None],
    rows: tuple[Record, Record], about: Record,
) -> CaptionExhibit:  # fmt: skip
    """One image with what is said of it, before and after.

    Args:
        batch: the clean image alone.
        given: the image as the attacker has left it.
        asked: the captioner with what stands before it, and its guard if it has one.
        rows: the records, clean and attacked.
        about: attack, defence and the like, and the ``target``; empty where there is none.
    """
    (lens, guard), (before, after), clean = asked, rows, batch.images[0]
    return CaptionExhibit(
        **about, clean=picture(clean), perturbation=picture(magnified(given.images[0] - clean)),
        adversarial=picture(given.images[0]),
        shown=[picture(view) for view in _looks(lens, given, batch.keys)],
        truth=batch.captions[0][0],
        before=words(after["text"], before["text"]), after=words(before["text"], after["text"]),
        right_before=before["original_top1"] > 0.5, right=after["original_top1"] > 0.5,
        said=after["said"] > 0.5, watched=_suspected(guard, given, batch.keys) if guard else None,
    )  # fmt: skip


def _looks(lens: Lens, given: Pairs, keys: Keys) -> Tensor:
    """The first reconstructions of the first image; none where nothing reconstructs."""
    if lens.eye is None:
        return given.images[:0]
    return lens.shown(given.images[:1], keys.fold("decide", 0)[:1])[:SHOWN]


def _suspected(guard: Guard, given: Pairs, keys: Keys) -> Suspected:
    """What the guard's first look came to, with the first of its paintings."""
    watched, first = guard.watched, keys.fold("decide", 0)
    found = watched.decide(given.images, first)
    hung = watched.detector.painted(found.captions, first.fold("detect"))
    return Suspected(
        paintings=[] if hung is None else [picture(one) for one in hung[0][:SHOWN]],
        suspicion=float(found.suspicion[0]), threshold=watched.threshold,
    )  # fmt: skip
