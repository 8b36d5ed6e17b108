"""Deciding: what a defence makes of a batch, re-scored with fresh draws, one record a sample."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from secondlook.audit.craft import Crafted
from secondlook.audit.matrix import CellPlan
from secondlook.audit.records import records
from secondlook.audit.store import Record
from secondlook.defenses.undefended import Undefended
from secondlook.ledger import counting
from secondlook.tasks.zeroshot import Batch


class Decided(NamedTuple):
    """Records of a chunk, and what one decision on it cost."""

    records: list[Record]
    cost: Record


def bare_features(cell: CellPlan, batch: Batch) -> Tensor:
    """What the model alone sees in the clean chunk; image cosines refer to it."""
    return Undefended(model=cell.defence.model).decide(batch.images, batch.keys).features


def bare_seconds(cell: CellPlan, images: Tensor, batch: Batch) -> float:
    """Seconds of the model alone, just before it is asked again; the first look warms it up."""
    alone = Undefended(model=cell.defence.model)
    for _ in range(2):
        with counting() as ledger:
            alone.decide(images, batch.keys)
    return ledger.seconds


def decide(
    cell: CellPlan, batch: Batch, crafted: Crafted | None, bare: Tensor, repeats: int
) -> Decided:
    """Lets the defence decide, ``repeats`` times with fresh draws if it is randomised."""
    images = batch.images if crafted is None else crafted.images
    repeats = repeats if cell.defence.stochastic else 1
    cell.defence.prepare()
    decisions, alone = [], bare_seconds(cell, images, batch)
    for repeat in range(repeats):
        with counting() as ledger:
            keys = batch.keys.fold("decide", repeat)
            decisions.append(cell.defence.decide(images, keys))
        if repeat == 0:
            cost = {**ledger.spent(digits=5), "bare_seconds": round(alone, 5)}
    return Decided(records(cell, batch, decisions, crafted, bare), cost)
