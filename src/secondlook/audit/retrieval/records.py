"""From ranks to records: one line for each image, with all that the figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from torch import Tensor

from secondlook.attacks.base import Trace
from secondlook.attacks.edits import words_changed
from secondlook.attacks.pairs import Captions
from secondlook.audit.records import plain
from secondlook.audit.retrieval.search import Found
from secondlook.audit.store import Record


def records(cell: str, ids: Sequence[str], own: Found, alike: Found) -> list[Record]:
    """What the searches of each image, and of its captions, came to.

    Args:
        cell: the id of the row.
        ids: of the images.
        own: ranks where a caption belongs to its image alone.
        alike: ranks where it belongs to whichever image bears one that says the same.
    """
    return [
        {
            "cell": cell, "sample": name, "outcome": "correct" if image == 1 else "wrong",
            "image_to_text": image, "text_to_image": list(texts),
            "alike_image_to_text": alike.image_to_text[row][0],
            "alike_text_to_image": list(alike.text_to_image[row]),
            **_hits(image, texts),
        }
        for row, (name, (image,), texts) in enumerate(
            zip(ids, own.image_to_text, own.text_to_image, strict=True)
        )
    ]  # fmt: skip


def _hits(image: int, texts: Sequence[int]) -> dict[str, float]:
    """The share of the searches that find at once, either direction weighing a half."""
    share = ((image == 1) + sum(rank == 1 for rank in texts) / len(texts)) / 2
    return {"original_top1": share, "reached": 1 - share, "rejected": 0.0}


def traced(rows: list[Record], traces: Sequence[Trace | None]) -> list[Record]:
    """The rows with what the attack saw on its way, where it climbed anything."""
    columns: dict[str, list[float | int | None]] = {}
    for trace in traces:
        if trace is None:
            return rows
        for field in fields(Trace):
            values: Tensor = getattr(trace, field.name)
            columns.setdefault(field.name, []).extend(plain(values))
    return [
        {**row, **{name: values[at] for name, values in columns.items()}}
        for at, row in enumerate(rows)
    ]


def worded(
    rows: list[Record], before: Captions, after: Captions, likeness: Sequence[Sequence[float]]
) -> list[Record]:
    """The rows with how far the captions were changed: in words, and to the model (a cosine)."""
    return [
        {**row, "words": [words_changed(*pair) for pair in zip(old, new, strict=True)],
         "caption_cosine": [round(value, 6) for value in alike]}
        for row, old, new, alike in zip(rows, before, after, likeness, strict=True)
    ]  # fmt: skip
