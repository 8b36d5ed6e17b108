"""Adversarial sets, our own or made elsewhere, against any model: scored again, or transferred."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.edits import words_changed
from secondlook.attacks.pairs import Captions, Pairs
from secondlook.audit.adversarial import Adversarial, AdversarialSet, Part
from secondlook.audit.plan import opened
from secondlook.audit.store import Record, read_head
from secondlook.audit.study import parse
from secondlook.audit.summary import figures
from secondlook.data import load
from secondlook.data.illusions import Bundle
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.undefended import Undefended
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.metrics.figures import share
from secondlook.models.base import Classifier, Embedder, Model, evaluating
from secondlook.places import at_home, everywhere
from secondlook.schema import Metric
from secondlook.tasks.base import Answered
from secondlook.tasks.classification import OpenClassification, ZeroShotTask, translated
from secondlook.tasks.retrieval import OpenRetrieval, RetrievalTask
from secondlook.threat import LEVELS, Threat

_CHUNK = 32
_JPEG = (".jpg", ".jpeg")


class Rescored(NamedTuple):
    """A stored set against a model.

    Attributes:
        metrics: all figures, with intervals.
        denominators: of the shares, what they are of.
        about: where the set comes from, and what was measured of it.
    """

    metrics: dict[str, Metric]
    denominators: dict[str, int]
    about: Record

    def written(self) -> str:
        """All of it as JSON."""
        figures = {name: metric.model_dump() for name, metric in self.metrics.items()}
        content = {"about": everywhere(self.about, at_home), "metrics": figures, "denominators": self.denominators}
        return f"{json.dumps(content, indent=2)}\n"


def rescored(
    folder: Path | str,
    model: Embedder,
    task: RetrievalTask,
    setting: str = "both",
    *,
    threat: Threat | None = None,
    words: int = -1,
) -> Rescored:
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
    guarded = Guarded(model)
    clean, altered, given = _vectors(stored, opened, guarded)
    before, _ = opened.collected(guarded, Answered([clean], None), Answered([clean], None), "", 0)
    after, _ = opened.collected(guarded, Answered([clean], None), Answered([altered], given), setting, 0)
    for row, old, new in zip(after, opened.captions, given.captions, strict=True):
        row["words"] = [words_changed(*pair) for pair in zip(old, new, strict=True)]
    found = figures(opened, after, before)
    return Rescored(found.metrics, found.denominators, stored.about)


def scored_again(folder: Path, model: Model, device: torch.device | None = None) -> tuple[str, Rescored]:
    """What ``model``, which nothing defends, answers to a set of a task that is scored sample by sample.

    The samples, their truth and their targets are those of the set's run, whose ``run.json`` lies two
    folders above it. Of the figures, ``clean_original_top1`` is of the samples before they were changed.

    Args:
        folder: ``RUN/adversarial/ID``.
        model: any that the run's task takes, of the set's size.
        device: where it is; None is the CPU.

    Returns:
        The task's name, and the figures.

    Raises:
        InvalidInput: the data have changed, or the model takes another size or is none of the task's.
        BrokenRun: there is no set, or a file of it is damaged.
    """
    head = folder.parent.parent / "run.json"
    task, stored = opened(parse(read_head(head.parent)["study"], str(head)), device), AdversarialSet(folder)
    if stored.about["data"] != task.source.hash:
        raise InvalidInput(f"{folder} was made of other data than {task.settings.data} holds now; put those back")
    task.check(model, model.name)
    (asked, *_), place = list(task.prompted(model, [])), {name: at for at, name in enumerate(task.ids)}
    guarded, objective = task.guarded(asked, Undefended()), str(stored.about["attack"].get("objective", ""))
    before, after = list[Record](), list[Record]()
    for part in stored.parts():
        batch = task.batch([place[name] for name in part.ids], guarded)
        if part.adversarial.images.shape != batch.pairs.images.shape:
            (h, w), (height, width) = part.adversarial.images.shape[-2:], batch.pairs.images.shape[-2:]
            raise InvalidInput(f"{folder} holds images of {h}x{w}, and {model.name} takes {height}x{width}")
        given = Pairs(part.adversarial.images.to(batch.pairs.images), part.adversarial.captions)
        for pairs, rows in ((batch.pairs, before), (given, after)):
            answer = task.answer(batch, pairs, guarded, batch.keys.fold("decide", 0))
            records = task.records(batch, guarded, [answer], objective)
            rows += [{"cell": "", "sample": name, **row} for name, row in zip(part.ids, records, strict=True)]
    found = figures(task, after, before)
    clean = {"clean_original_top1": share([row["original_top1"] for row in before])}
    return registry.describe(task.settings)["name"], Rescored(found.metrics | clean, found.denominators, stored.about)


def _stored(
    folder: Path | str, opened: OpenRetrieval, threat: Threat | None, words: int
) -> AdversarialSet | ImportedSet:
    name = str(folder)
    if ":" in name and not Path(name).exists():
        return ImportedSet(name, opened, threat, words)
    if threat is not None or words >= 0:
        raise InvalidInput(f"{name} says itself what it was made with; leave eps and words out")
    stored = AdversarialSet(Path(folder))
    _check_same(stored, opened)
    return stored


def _check_same(stored: AdversarialSet, opened: OpenRetrieval) -> None:
    if stored.about["data"] != opened.source.hash:
        raise InvalidInput(
            f"{stored.folder} was made of other data than {opened.settings.data}: its hash is "
            f"{stored.about['data']}, this one's {opened.source.hash}; name the data of its run"
        )
    if missing := sorted(set(opened.ids) - set(stored.ids)):
        raise InvalidInput(
            f"{stored.folder} has no {missing[0]} ({len(missing)} of {len(opened.ids)} are "
            "missing); take the samples and the seed of its run"
        )


class _Given(NamedTuple):
    """A stored set in the order of the task."""

    captions: Captions
    pixels: tuple[Tensor, ...]

    def images(self, at: Sequence[int]) -> Tensor:
        """Those at some positions."""
        return torch.stack([self.pixels[each] for each in at])


def _vectors(
    stored: AdversarialSet | ImportedSet, opened: OpenRetrieval, guarded: Guarded
) -> tuple[Tensor, Tensor, _Given]:
    """Of all images the clean vectors and the attacked ones, and what was stored."""
    place = {name: at for at, name in enumerate(opened.ids)}
    clean, altered = dict[int, Tensor](), dict[int, Tensor]()
    captions, pixels = dict[int, tuple[str, ...]](), dict[int, Tensor]()
    for part in stored.parts():
        rows = [row for row, name in enumerate(part.ids) if name in place]
        if not rows:
            continue
        at, made = [place[part.ids[row]] for row in rows], part.adversarial
        batch = opened.batch(at, guarded)
        given = Pairs(made.images[rows], tuple(made.captions[row] for row in rows))
        for pairs, found in ((batch.pairs, clean), (given, altered)):
            found.update(zip(at, opened.answer(batch, pairs, guarded, batch.keys), strict=True))
        captions.update(zip(at, given.captions, strict=True))
        if opened.settings.rerank:
            pixels.update(zip(at, given.images, strict=True))
    order = range(len(opened.ids))
    return (
        torch.stack([clean[at] for at in order]),
        torch.stack([altered[at] for at in order]),
        _Given(tuple(captions[at] for at in order), tuple(pixels[at] for at in sorted(pixels))),
    )


def replayed(name: str, model: Model, *, threat: Threat | None = None) -> Rescored:
    """What a model sees of a bundle of adversarial images: ``illusions:FOLDER#300``.

    ``target_top1`` and ``target_top5`` are of the images whose wanted class is not their own,
    ``original_top1`` of all; ``clean_original_top1`` is that before they were changed.

    Args:
        name: the bundle.
        model: an embedder, which is asked zero-shot, or a classifier; of the bundle's size.
        threat: an L∞ budget that the images are held to; None only measures.

    Raises:
        InvalidInput: it is no bundle, its images are of another size than the model takes, the
            model does not know its classes, or ``threat`` is of another norm.
        BrokenThreat: an image is further from where it began than ``threat`` allows.
    """
    source = load(name)
    if not isinstance(source, Bundle):
        raise InvalidInput(
            f"{name} holds no adversarial images beside their originals; name a bundle: illusions:FOLDER#300"
        )
    if threat is not None and threat.norm != "linf":
        raise InvalidInput(f"{threat}: what a bundle changed is measured in L∞; write norm='linf'")
    classifier = OpenClassification(ZeroShotTask(data=name, samples=0), source).classifier(model)
    away = torch.cat([source.distance(rows) for rows in _rows(source)])
    _check(away, threat, name, source)
    truth = translated(torch.tensor(source.truth), source, classifier)
    target = translated(torch.tensor(source.targets), source, classifier)
    after, before = (_ranked(classifier, source, clean) for clean in (False, True))
    wanted = truth != target
    found = {
        "target_top1": (after[:, :1] == target[:, None])[wanted],
        "target_top5": (after == target[:, None])[wanted],
        "original_top1": after[:, :1] == truth[:, None],
        "clean_original_top1": before[:, :1] == truth[:, None],
    }
    hits = {key: row.any(1).tolist() for key, row in found.items() if len(row)}
    return Rescored(
        {key: share(row) for key, row in hits.items()},
        {key: len(row) for key, row in hits.items()},
        _about(name, source, away),
    )


def _rows(source: Bundle) -> Iterator[range]:
    for start in range(0, len(source), _CHUNK):
        yield range(start, min(start + _CHUNK, len(source)))


@torch.no_grad()
def _ranked(classifier: Classifier, source: Bundle, clean: bool) -> Tensor:
    """The first five classes of each image, ``[N, 5]``."""
    found = []
    with evaluating(classifier.modules):
        for rows in _rows(source):
            scores = classifier(_images(source, rows, classifier, clean)).cpu()
            found.append(scores.topk(min(5, scores.shape[1])).indices)
    return torch.cat(found)


def _images(source: Bundle, rows: range, classifier: Classifier, clean: bool) -> Tensor:
    if clean:
        return source.originals(rows, classifier.size)
    return source.read(rows, classifier.size).images


def _check(away: Tensor, threat: Threat | None, name: str, source: Bundle) -> None:
    if threat is None or float(away.max()) <= threat.eps + 0.5 / LEVELS:
        return
    worst = int(away.argmax())
    raise BrokenThreat(
        f"{name}: {source.ids[worst]} is {float(away[worst]) * LEVELS:.2f}/255 from where it "
        f"began, and {threat} was allowed; name the budget that it was made with, or none"
    )


def _about(name: str, source: Bundle, away: Tensor) -> Record:
    return {
        "set": name,
        "data": source.hash,
        "caveat": source.provenance,
        "attack": "imported; threat not recorded, measured linf eps = "
        f"{float(away.max()) * LEVELS:.2f}/255 (median {float(away.median()) * LEVELS:.2f}/255)",
    }


class ImportedSet:
    """An adversarial list beside the clean one, say ``sga:ADVERSARIAL.json@FOLDER``.

    Images belong together by name, or by name without its ending; captions by their order. What it
    was made with is not in it: what was really changed is measured, and held to ``threat``.

    Args:
        name: any data with captions and images.
        clean: the task, over the clean list.
        threat: what the attacker was allowed; None only measures.
        words: how many words of a caption may be others; negative only measures.

    Raises:
        InvalidInput: an image or caption has no partner, or images are of several sizes.
        BrokenThreat: more was changed than was allowed.
    """

    def __init__(self, name: str, clean: OpenRetrieval, threat: Threat | None = None, words: int = -1) -> None:
        self.folder, self.clean, self.threat = name, clean, threat or Threat(eps=1.0)
        self.source = load(name).captioned()
        self.ids = clean.ids
        self._rows = _partners(self.source.ids, clean.ids, name)
        self.captions: Captions = tuple(
            clean.prepared(f"{own} of {name}", self.source.captions(row))
            for own, row in zip(self.ids, self._rows, strict=True)
        )
        self._edits = [list(self._edited(*row)) for row in zip(self.ids, clean.captions, self.captions, strict=True)]
        self._check_captions(words)
        self._changes = torch.cat([self._measured(part) for part in self._chunks()])
        if threat is not None:
            self._check_images(threat)

    @property
    def about(self) -> Record:
        """What is known of it: where it lies, and what was measured."""
        measured = f"measured {self.threat.norm} eps = {_measured_as(self.threat, self.eps)}"
        about: Record = {
            "set": self.folder,
            "attack": "imported; threat not recorded, " + measured,
            "words": f"{self.words} changed in a caption at most",
            "data": self.clean.source.hash,
            "images": list(self.size),
        }
        if any(name.lower().endswith(_JPEG) for name in self._files):
            about["caveat"] = "JPEG files: their compression has changed what the attack made"
        return about

    @property
    def eps(self) -> float:
        """The largest change of an image, in the norm of the threat."""
        return float(self._changes.max())

    @property
    def words(self) -> int:
        """The most words that were changed in a caption."""
        return max(max(row) for row in self._edits)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self._read(self._rows[:1]).shape[-2:]
        return height, width

    def parts(self) -> Iterator[Part]:
        """Images and captions, some at a time."""
        for at in self._chunks():
            made = Adversarial(self._read([self._rows[each] for each in at]), tuple(self.captions[each] for each in at))
            yield Part(tuple(self.ids[each] for each in at), made, self.about)

    def _chunks(self) -> Iterator[range]:
        for start in range(0, len(self.ids), _CHUNK):
            yield range(start, min(start + _CHUNK, len(self.ids)))

    def _read(self, rows: Sequence[int]) -> Tensor:
        return self.source.read(rows, None).images

    def _measured(self, at: range) -> Tensor:
        altered = self._read([self._rows[each] for each in at])
        clean = self.clean.read(at, self.size).pairs.images.to(altered)
        return self.threat.size(altered - clean)

    def _edited(self, name: str, old: Sequence[str], new: Sequence[str]) -> Iterator[int]:
        if len(old) != len(new):
            raise InvalidInput(
                f"{self.folder} has {len(new)} captions of {name}, {self.clean.settings.data} "
                f"{len(old)}; one is wanted for each, in the same order"
            )
        for before, after in zip(old, new, strict=True):
            yield words_changed(before, after)

    @property
    def _files(self) -> list[str]:
        paths = getattr(self.source, "paths", None) or ()
        return [str(paths[row]) for row in self._rows] if paths else []

    def _check_captions(self, words: int) -> None:
        if words >= 0 and self.words > words:
            at = next(at for at, row in enumerate(self._edits) if max(row) > words)
            raise BrokenThreat(
                f"{self.folder}: {max(self._edits[at])} words of a caption of {self.ids[at]} were "
                f"changed, and {words} may be; write words={self.words} if they were allowed"
            )

    def _check_images(self, threat: Threat) -> None:
        # Half a step of 8 bits in each pixel is the file's and not the attacker's.
        grain = float(threat.size(torch.full((1, 3, *self.size), 0.5 / LEVELS)))
        if self.eps > threat.eps + grain + 1e-6:
            worst = self.ids[int(self._changes.argmax())]
            raise BrokenThreat(
                f"{self.folder}: {worst} is {_measured_as(threat, self.eps)} away in "
                f"{threat.norm}, and {threat} was allowed; if the clean images were cropped or "
                "resized in another way than here, name those that the attack began with"
            )


def _measured_as(threat: Threat, size: float) -> str:
    return f"{size * LEVELS:.2f}/255" if threat.norm == "linf" else f"{size:.4g}"


def _partners(named: Sequence[str], ours: Sequence[str], name: str) -> list[int]:
    """For each of ``ours`` the place of its image among ``theirs``."""
    exact = {each: row for row, each in enumerate(named)}
    stems: dict[str, list[int]] = {}
    for row, each in enumerate(named):
        stems.setdefault(PurePath(each).stem, []).append(row)
    found = []
    for own in ours:
        near = [exact[own]] if own in exact else stems.get(PurePath(own).stem, [])
        if len(near) != 1:
            raise InvalidInput(
                f"{name} has {len(near) or 'no'} image(s) called {own}, with another ending or "
                f"without; name each as the clean list does ({named[0]!r} is its first)"
            )
        found += near
    return found
