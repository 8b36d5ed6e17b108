"""Deciding: what a defence makes of a batch, re-scored with fresh draws, one record a sample."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.audit.craft import Crafted
from secondlook.audit.plan import CellPlan
from secondlook.audit.store import Record
from secondlook.decision import Decision
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
    decisions, alone = [], bare_seconds(cell, images, batch)
    for repeat in range(repeats):
        with counting() as ledger:
            keys = batch.keys.fold("decide", repeat)
            decisions.append(cell.defence.decide(images, keys))
        if repeat == 0:
            cost = {
                "forwards": ledger.forwards, "backwards": ledger.backwards,
                "seconds": round(ledger.seconds, 5), "bare_seconds": round(alone, 5),
                "peak_memory": ledger.peak_memory,
            }  # fmt: skip
    return Decided(_records(cell, batch, decisions, crafted, bare), cost)


def _records(
    cell: CellPlan, batch: Batch, decisions: list[Decision], crafted: Crafted | None, bare: Tensor
) -> list[Record]:
    columns = {**_ranks(batch, decisions), **_first(cell, batch, decisions[0], bare)}
    if crafted is not None:
        columns |= vars(crafted.trace)
    lists = {name: _plain(value) for name, value in columns.items()}
    outcomes = decisions[0].outcomes(batch.truth.to(decisions[0].scores.device))
    return [
        {
            "cell": cell.id, "sample": sample, "truth": int(batch.truth[i]),
            "target": int(batch.target[i]), "outcome": str(outcomes[i]),
            **{name: values[i] for name, values in lists.items()},
        }
        for i, sample in enumerate(batch.ids)
    ]  # fmt: skip


def _ranks(batch: Batch, decisions: list[Decision]) -> dict[str, Tensor]:
    """Top-k of target and original: the mean over the fresh draws, the worst, and their vote."""
    columns = {}
    for name, classes in (("target", batch.target), ("original", batch.truth)):
        for k in (1, 5):
            hits = torch.stack([d.in_top(k, classes.to(d.scores.device)) for d in decisions])
            columns[f"{name}_top{k}"] = hits.float().mean(0)
            if k == 1:
                worst = hits.any(0) if name == "target" else hits.all(0)
                columns[f"{name}_top1_worst"] = worst.float()
                columns[f"{name}_top1_vote"] = (hits.float().mean(0) > 0.5).float()
    return columns


def _first(cell: CellPlan, batch: Batch, decision: Decision, bare: Tensor) -> dict[str, Tensor]:
    """What the first decision tells besides its ranks."""
    at = decision.votes.device
    share = decision.votes / decision.draws[:, None]
    columns = {
        "eta": share.gather(1, batch.target[:, None].to(at))[:, 0],
        "captured": (decision.accepted & (decision.answer == batch.target.to(at))).float(),
        "draws": decision.draws, "answer": decision.answer, "suspicion": decision.suspicion,
    }  # fmt: skip
    if cell.defence.model.cosine:
        # Rounding leaves a cosine of parallel vectors a little above one.
        cosines = cell.defence.model.scores(decision.features).clamp(-1, 1)
        columns["cosine_target"] = cosines.gather(1, batch.target[:, None].to(at))[:, 0]
        columns["cosine_original"] = cosines.gather(1, batch.truth[:, None].to(at))[:, 0]
        to_clean = F.cosine_similarity(decision.features, bare)
        columns["cosine_clean_image"] = to_clean.clamp(-1, 1)
    return columns


def _plain(values: Tensor) -> list[float | int | None]:
    """JSON has neither NaN nor infinity: they become null."""
    return [value if isfinite(value) else None for value in values.cpu().tolist()]
