"""Adversarial images that somebody else made, shown to a model: what it sees of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.audit.figures import share
from secondlook.audit.schema import Metric
from secondlook.audit.store import Record
from secondlook.data import load
from secondlook.data.bundle import Bundle
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.models.base import Classifier, Model, evaluating
from secondlook.tasks.labels import translated
from secondlook.tasks.zeroshot import OpenTask, ZeroShotTask
from secondlook.threat import LEVELS, Threat

_CHUNK = 32
_ROUNDING = 0.5 / LEVELS


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
        content = {"about": self.about, "metrics": figures, "denominators": self.denominators}
        return f"{json.dumps(content, indent=2)}\n"


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
        raise InvalidInput(f"{name} holds no adversarial images beside their originals; name a "
                           "bundle: illusions:FOLDER#300")  # fmt: skip
    if threat is not None and threat.norm != "linf":
        raise InvalidInput(f"{threat}: what a bundle changed is measured in L∞; write norm='linf'")
    judge = OpenTask(ZeroShotTask(data=name, samples=0), source).classifier(model)
    away = torch.cat([source.distance(rows) for rows in _rows(source)])
    _check(away, threat, name, source)
    truth = translated(torch.tensor(source.truth), source, judge)
    target = translated(torch.tensor(source.targets), source, judge)
    after, before = (_ranked(judge, source, clean) for clean in (False, True))
    aimed = truth != target
    found = {
        "target_top1": (after[:, :1] == target[:, None])[aimed],
        "target_top5": (after == target[:, None])[aimed],
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
def _ranked(judge: Classifier, source: Bundle, clean: bool) -> Tensor:
    """The first five classes of each image, ``[N, 5]``."""
    found = []
    with evaluating(judge.modules):
        for rows in _rows(source):
            images = source.originals(rows, judge.size) if clean else _changed(source, rows, judge)
            scores = judge(images).cpu()
            found.append(scores.topk(min(5, scores.shape[1])).indices)
    return torch.cat(found)


def _changed(source: Bundle, rows: range, judge: Classifier) -> Tensor:
    return source.read(rows, judge.size).images


def _check(away: Tensor, threat: Threat | None, name: str, source: Bundle) -> None:
    if threat is None or float(away.max()) <= threat.eps + _ROUNDING:
        return
    worst = int(away.argmax())
    raise BrokenThreat(
        f"{name}: {source.ids[worst]} is {float(away[worst]) * LEVELS:.2f}/255 from where it "
        f"began, and {threat} was allowed; name the budget that it was made with, or none"
    )


def _about(name: str, source: Bundle, away: Tensor) -> Record:
    return {
        "set": name, "data": source.hash, "caveat": source.provenance,
        "attack": "imported; threat not recorded, measured linf eps = "
        f"{float(away.max()) * LEVELS:.2f}/255 (median {float(away.median()) * LEVELS:.2f}/255)",
    }  # fmt: skip
