"""A look after a run: whether an attack succeeds with nothing to hold it back."""

from __future__ import annotations

from secondlook.audit.retrieval.craft import craft
from secondlook.audit.retrieval.matrix import PairForge, SearchPlan
from secondlook.audit.retrieval.search import Reader
from secondlook.audit.store import Record
from secondlook.models.base import evaluating
from secondlook.tasks.retrieval_ranks import ranks

PROBED = 8
"""Images on which an attack has to show that it succeeds when nothing holds it back."""


def unbounded(plan: SearchPlan, probe: PairForge) -> Record:
    """Whether a few images find none of their captions first, in the eyes of the victim."""
    at = range(min(PROBED, len(plan.task.rows)))
    batch, victim = plan.task.batch(at, probe.size), probe.victims[0]
    made, _ = craft(probe, batch)
    texts = Reader(victim, plan.task.device)(plan.task.texts, keep=True)
    with evaluating(victim.modules):
        vectors = victim.embed(made.images).detach()
    found = ranks(vectors, texts, [plan.task.own.texts[row] for row in at])
    reached = (found > 1).tolist()
    samples = dict(zip(batch.ids, reached, strict=True))
    return {
        "probe": probe.id, "n": len(at), "reached": sum(reached) / len(at), "samples": samples,
    }  # fmt: skip
