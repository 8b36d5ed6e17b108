"""What a defense costs in time beside the bare model: both asked by turns, where one timing says little."""

from __future__ import annotations

from typing import Any, Final

from secondlook.attacks.pairs import Pairs
from secondlook.defenses.base import Defense
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import by_turns
from secondlook.tasks.base import Batch, OpenTask

LONG: Final = 0.25
"""Seconds of an answer to a chunk after which one timing of it will do."""


def timed_beside_bare(
    task: OpenTask[Any, Any], guarded: Guarded, batch: Batch, given: Pairs, seconds: float
) -> tuple[float, float]:
    """Seconds of a defense's answer and of the bare model's to the same inputs.

    Short ones are medians of several turns, each from empty caches.

    Args:
        task: asks.
        guarded: the model behind its defense.
        batch: the samples.
        given: what is shown, clean or attacked.
        seconds: of the answer that was given already.
    """
    alone, keys = task.guarded(guarded.model, Defense()), batch.keys.fold("decide", 0)

    def defended() -> None:
        guarded.forget()
        task.answer(batch, given, guarded, keys)

    def bare() -> None:
        task.answer(batch, given, alone, keys)

    if seconds > LONG:
        return seconds, by_turns(bare, repeats=0)[0]
    own, unguarded = by_turns(defended, bare, seconds=LONG)
    return own, unguarded
