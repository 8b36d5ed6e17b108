"""From decisions to records: one line for each sample, with all that the figures are made of."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.audit.craft import Crafted
from secondlook.audit.matrix import CellPlan
from secondlook.audit.store import Record
from secondlook.decision import Decision
from secondlook.tasks.zeroshot import Batch

Columns = dict[str, Tensor]


def records(
    cell: CellPlan, batch: Batch, decisions: list[Decision], crafted: Crafted | None, bare: Tensor
) -> list[Record]:
    """One record a sample, of the fresh ``decisions`` of one defence.

    ``bare`` is what the model alone sees in the clean images.
    """
    columns = {**_ranks(cell, batch, decisions), **_first(cell, batch, decisions[0], bare)}
    if crafted is not None:
        columns |= vars(crafted.trace)
        columns |= {} if crafted.by is None else {"by": crafted.by}
    lists = {name: plain(value) for name, value in columns.items()}
    outcomes = decisions[0].outcomes(batch.truth.to(decisions[0].scores.device))
    return [
        {
            "cell": cell.id, "sample": sample, "truth": int(batch.truth[i]),
            **({"target": int(batch.target[i])} if cell.targeted else {}),
            "outcome": str(outcomes[i]),
            **{name: values[i] for name, values in lists.items()},
        }
        for i, sample in enumerate(batch.ids)
    ]  # fmt: skip


def _ranks(cell: CellPlan, batch: Batch, decisions: list[Decision]) -> Columns:
    """Ranks, success and rejection over the fresh draws."""
    kept = _hits(decisions, batch.truth, 1)
    accepted = torch.stack([decision.accepted for decision in decisions])
    columns: Columns = {}
    reached = accepted & ~kept
    if cell.targeted:
        reached = _hits(decisions, batch.target, 1)
        columns |= _over_draws("target_top1", reached, reached.any(0))
        columns["target_top5"] = _hits(decisions, batch.target, 5).float().mean(0)
    columns |= _over_draws("original_top1", kept, kept.all(0))
    columns["original_top5"] = _hits(decisions, batch.truth, 5).float().mean(0)
    columns |= _over_draws("reached", reached, reached.any(0))
    columns["rejected"] = (~accepted).float().mean(0)
    everything = [replace(d, accepted=torch.ones_like(d.accepted)) for d in decisions]
    columns["right"] = _hits(everything, batch.truth, 1).float().mean(0)
    return columns


def _hits(decisions: list[Decision], classes: Tensor, k: int) -> Tensor:
    """Whether each draw accepts and ranks ``classes`` among its first k, ``[R, B]``."""
    return torch.stack([d.in_top(k, classes.to(d.scores.device)) for d in decisions])


def _over_draws(name: str, hits: Tensor, worst: Tensor) -> Columns:
    """The mean over the fresh draws, the worst of them, and their vote."""
    mean = hits.float().mean(0)
    return {name: mean, f"{name}_worst": worst.float(), f"{name}_vote": (mean > 0.5).float()}


def _first(cell: CellPlan, batch: Batch, decision: Decision, bare: Tensor) -> Columns:
    """What the first decision tells besides its ranks."""
    at = decision.votes.device
    truth, target = batch.truth.to(at), batch.target.to(at)
    share = decision.votes / decision.draws[:, None]
    if cell.targeted:
        eta, won = share.gather(1, target[:, None])[:, 0], decision.answer == target
    else:
        # The class that the attacker has brought furthest; the truth's own votes are not his.
        eta, won = share.scatter(1, truth[:, None], 0).amax(1), decision.answer != truth
    columns = {
        "eta": eta, "captured": (decision.accepted & won).float(),
        "draws": decision.draws, "answer": decision.answer, "suspicion": decision.suspicion,
    }  # fmt: skip
    if not cell.defence.model.cosine:
        return columns
    # Rounding leaves a cosine of parallel vectors a little above one.
    cosines = cell.defence.model.scores(decision.features).clamp(-1, 1)
    if cell.targeted:
        columns["cosine_target"] = cosines.gather(1, target[:, None])[:, 0]
    columns["cosine_original"] = cosines.gather(1, truth[:, None])[:, 0]
    to_clean = F.cosine_similarity(decision.features, bare)
    columns["cosine_clean_image"] = to_clean.clamp(-1, 1)
    return columns


def plain(values: Tensor) -> list[float | int | None]:
    """JSON has neither NaN nor infinity: they become null."""
    return [value if isfinite(value) else None for value in values.cpu().tolist()]
