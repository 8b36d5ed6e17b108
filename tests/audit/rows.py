"""Records and cells made by hand, sound in every respect until a test changes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secondlook.schema import Cell, Cost, Metric, Outcomes, ThreatRow
from secondlook.statistics import wilson


def records(count: int = 200, hits: Sequence[int] = (), **changes: Any) -> list[dict[str, Any]]:
    """Healthy records; the samples in ``hits`` reach their target."""
    sound: dict[str, Any] = {
        "outcome": "correct",
        "zero_gradient": 0.0,
        "bad_gradient": 0.0,
        "first_loss": -0.2,
        "middle_loss": 0.75,
        "last_loss": 0.8,
    }
    rows = []
    for sample in range(count):
        hit = float(sample in hits)
        ranks = {
            f"{who}_top{k}": value
            for who, value in (("target", hit), ("original", 1 - hit))
            for k in ("1", "5", "1_worst", "1_vote")
        }
        ranks |= dict.fromkeys(("success", "success_worst", "success_vote"), hit)
        ranks |= {"rejected": 0.0, "right": 1 - hit}
        rows.append({"cell": "c", "sample": f"s{sample:03d}", **sound, **ranks, **changes})
    return rows


def cell(knowledge: str = "adaptive", hit: float = 0.5, n: int = 200, **changes: Any) -> Cell:
    """A cell whose share of targets is ``hit``."""
    eps = changes.pop("eps", 0.0 if knowledge == "clean" else 8 / 255)
    attack = {} if knowledge == "clean" else {"name": "pgd", "steps": changes.pop("steps", 10)}
    shares = {"target_top1": hit, "success": hit, "original_top1": 1 - hit}
    fields: dict[str, Any] = {
        "id": f"{knowledge}-{eps}-{attack.get('steps')}",
        "task": "t",
        "model": "m",
        "defense": "d",
        "attack": attack.get("name", "none"),
        "knowledge": knowledge,
        "threat": ThreatRow(norm="linf", eps=eps),
        "n": n,
        "metrics": {k: Metric(**wilson(v * n, n)._asdict()) for k, v in shares.items()},
        "outcomes": Outcomes(correct=n, wrong=0, rejected=0),
        "ledger": Cost(forwards=n, backwards=0, seconds=1.0, overhead=1.0),
        "health": [],
        "settings": {"defense": {"name": "d", "samples": 10}, "attack": attack},
    }
    return Cell(**(fields | changes))
