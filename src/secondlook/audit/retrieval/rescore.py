"""An adversarial set, our own or imported, against any model: scored again, or transferred."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.audit.replay import Rescored
from secondlook.audit.retrieval.figures import figures
from secondlook.audit.retrieval.imported import ImportedSet
from secondlook.audit.retrieval.records import records, worded
from secondlook.audit.retrieval.search import Reader, Side, flat, search, sides_of
from secondlook.audit.retrieval.seen import Seen, Sight
from secondlook.audit.retrieval.sets import AlteredSet
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.tasks.retrieval import OpenRetrieval, RetrievalTask, Setting
from secondlook.threat import Threat


def rescored(
    folder: Path | str, model: Embedder, task: RetrievalTask, setting: Setting = "both", *,
    threat: Threat | None = None, words: int = -1,
) -> Rescored:  # fmt: skip
    """Recalls, success rates and drops of a stored set against ``model``, which nothing defends.

    Args:
        folder: ``RUN/adversarial/ID`` of a run of retrieval; or one made elsewhere, by the name
            of its data: ``sga:ADVERSARIAL.json@FOLDER``.
        model: any embedder, the set's victim or another.
        task: the data that the set was made of.
        setting: which side of the search is the altered one.
        threat: what an imported set is held to; None only measures it.
        words: how many words of a caption an imported set may have changed; negative measures.

    Raises:
        InvalidInput: the set is of other data, or not of all images of the task.
        BrokenRun: there is no set, or a file of it is damaged.
        BrokenThreat: an imported set has changed more than it was allowed.
    """
    opened = task.open()
    stored = _stored(folder, opened, threat, words)
    seen = Seen(model, Undefended(model=Sight(model)))
    clean, altered, captions = _vectors(stored, opened, seen)
    reader = Reader(model, opened.device)
    sides = (
        Side(images=clean, texts=reader(opened.texts, keep=True)),
        Side(images=altered, texts=reader(flat(captions))),
    )
    before = _rows(sides[0], sides[0], opened)
    query, gallery = (sides[which] for which in sides_of(setting))
    likeness = (sides[0].texts * sides[1].texts).sum(1).clamp(-1, 1).tolist()
    cosines = [[likeness[text] for text in texts] for texts in opened.own.texts]
    after = worded(_rows(query, gallery, opened), opened.captions, captions, cosines)
    return Rescored(*figures(after, before), stored.about)


def _stored(
    folder: Path | str, opened: OpenRetrieval, threat: Threat | None, words: int
) -> AlteredSet | ImportedSet:
    name = str(folder)
    if ":" in name and not Path(name).exists():
        return ImportedSet(name, opened, threat, words)
    if threat is not None or words >= 0:
        raise InvalidInput(f"{name} says itself what it was made with; leave eps and words away")
    stored = AlteredSet(Path(folder))
    _check_same(stored, opened)
    return stored


def _check_same(stored: AlteredSet, opened: OpenRetrieval) -> None:
    if stored.about["data"] != opened.source.hash:
        raise InvalidInput(
            f"{stored.folder} was made of other data than {opened.task.data}: its hash is "
            f"{stored.about['data']}, this one's {opened.source.hash}; name the data of its run"
        )
    if missing := sorted(set(opened.ids) - set(stored.ids)):
        raise InvalidInput(
            f"{stored.folder} has no {missing[0]} ({len(missing)} of {len(opened.ids)} are "
            "missing); take the samples and the seed of its run"
        )


def _vectors(
    stored: AlteredSet | ImportedSet, opened: OpenRetrieval, seen: Seen
) -> tuple[Tensor, Tensor, Captions]:
    """Of all images the clean vectors and the altered ones, and the altered captions."""
    place = {name: at for at, name in enumerate(opened.ids)}
    clean: dict[int, Tensor] = {}
    altered: dict[int, Tensor] = {}
    captions: dict[int, tuple[str, ...]] = {}
    for part in stored.parts():
        rows = [row for row, name in enumerate(part.ids) if name in place]
        if not rows:
            continue
        at = [place[part.ids[row]] for row in rows]
        batch = opened.batch(at, seen.size)
        clean.update(zip(at, seen.look(batch.pairs.images, batch.keys), strict=True))
        altered.update(zip(at, seen.look(part.pairs.images[rows], batch.keys), strict=True))
        captions.update(zip(at, (part.pairs.captions[row] for row in rows), strict=True))
    order = range(len(opened.ids))
    return (
        torch.stack([clean[at] for at in order]), torch.stack([altered[at] for at in order]),
        tuple(captions[at] for at in order),
    )  # fmt: skip


def _rows(query: Side, gallery: Side, opened: OpenRetrieval) -> list[dict[str, object]]:
    found = search(query, gallery, opened.rights, opened.owner)
    return records("", opened.ids, found[0], found[-1])
