"""What a captioner says of an image as a record: whether it is right, wanted, and given out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from secondlook.audit.store import Record
from secondlook.models.base import Embedder
from secondlook.tasks.captioning_told import Told


class Ruling(NamedTuple):
    """What a detector makes of an input."""

    suspicion: float
    accepted: bool


def record(told: Told, unsaying: bool, ruling: Ruling | None) -> Record:
    """One record. What is held back is neither right nor the attacker's, and scores nothing.

    Args:
        told: what was said, held against the truth.
        unsaying: whether the attacker is content with anything that is not right.
        ruling: of a detector; None where none watches.
    """
    given = ruling is None or ruling.accepted
    right, said, wrong = told.right and given, told.said and given, given and not told.right
    truth = told.truth
    known: Record = {}
    if truth is not None:
        known = {"claims": truth.claims, "true": truth.true, "whole": float(truth.whole and given)}
    if ruling is not None:
        known |= {"suspicion": ruling.suspicion, "rejected": float(not given)}
    return {
        "outcome": "correct" if right else "wrong" if wrong else "rejected", "text": told.text,
        "original_top1": float(right), "said": float(said), "wrong": float(wrong),
        "reached": float(wrong if unsaying else said), "verbatim": float(told.verbatim and given),
        "cider": told.cider * given, "target_cider": told.target_cider * given, **known,
    }  # fmt: skip


def compared(
    readers: Sequence[Embedder], said: Sequence[str], wanted: Sequence[str]
) -> list[Record]:
    """Cosines of texts to those that the attacker wants, by each reader, and their mean.

    It is the score of AttackVLM (arXiv 2305.16934, section 4). An empty text is worth -1, and so
    is one that is held back: whoever asks gets to hear the same.
    """
    if not readers:
        return [{} for _ in said]
    words = [text if text.strip() else " ".join(wanted[:1]) for text in said]
    columns = {
        f"text_score {reader.name}": (reader.embed_text(words) * reader.embed_text(wanted)).sum(1)
        for reader in readers
    }
    rows = []
    for at, text in enumerate(said):
        near = {
            name: float(column[at]) if text.strip() else -1.0 for name, column in columns.items()
        }
        rows.append({"text_score": sum(near.values()) / len(near), **near})
    return rows
