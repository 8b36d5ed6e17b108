"""The guards that an audit recommends: for each budget the best defense that rejects, as a file beside the report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from secondlook.audit.plan import Plan, Row
from secondlook.audit.report.frontier import Choice, Front, fronts, recommended
from secondlook.audit.store import Run
from secondlook.guard.deployed import audited
from secondlook.guard.guard import policy_of
from secondlook.models.zeroshot import ZeroShot
from secondlook.schema import Audit


def write_recommended(plan: Plan, run: Run, audit: Audit, *, write: Callable[[str], object]) -> list[Path]:
    """Writes ``guard-cheap.toml``, ``guard-balanced.toml`` and ``guard-strong.toml`` of a study that has ``guards``.

    Thresholds and calibration scores are those of the audit, and so is what its attackers reached. Where several models
    are audited the name of each stands in the names of its files.

    Args:
        plan: the study as it ran.
        run: its directory.
        audit: its result.
        write: is told of each file, and why there is none.

    Returns:
        The files.
    """
    return list(_written(plan, run.folder, audit, write)) if plan.study.guards else []


def _written(plan: Plan, folder: Path, audit: Audit, write: Callable[[str], object]) -> Iterator[Path]:
    rows = {row.id: row for row in plan.rows}
    found = [front for front in fronts(audit) if front.threat.eps == max(plan.study.threat.eps)]
    for front in found:
        able = front._replace(choices=[each for each in front.choices if _loadable(rows[each.cell], plan)])
        said = "-" + re.sub(r"\W+", "-", front.model).strip("-") if len(found) > 1 else ""
        for budget, choice in recommended(able).items():
            place = folder / f"guard{said}-{budget}.toml"
            if choice is None:
                write(f"no {place.name}: {_missing(front, budget)}")
                continue
            policy = policy_of(rows[choice.cell].guarded)
            policy.model_copy(update={"audited": audited(audit, rows[choice.cell], {})}).write(place)
            write(f"{place}: {choice.name}{_instead(choice, front, budget)}")
            yield place


def _loadable(row: Row, plan: Plan) -> bool:
    """Whether a file can hold it: its threshold is from clean images, and its model is what its name alone says."""
    model = row.guarded.model
    return row.guarded.calibration is not None and model.name in plan.study.models and not isinstance(model, ZeroShot)


def _missing(front: Front, budget: str) -> str:
    best = recommended(front)[budget]
    return f"{best.name}, which is recommended, is no guard" if best else "nothing sound fits the budget"


def _instead(choice: Choice, front: Front, budget: str) -> str:
    """What a guard cannot be, where that is recommended."""
    best = recommended(front)[budget]
    return "" if best is None or best == choice else f"; {best.name}, which is recommended, rejects nothing"
