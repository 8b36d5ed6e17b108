"""A guard's audit as it is deployed: its own thresholds, attackers who know all of it, and the result in its file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from secondlook.attacks.pairs import PairAttack
from secondlook.audit.generate import stored
from secondlook.audit.plan import AttackSpec, Plan, Row, opened, partition
from secondlook.audit.report.words import budget
from secondlook.audit.store import Run
from secondlook.audit.study import Study, parse
from secondlook.data import load
from secondlook.defenses.calibration import refuse_evaluated
from secondlook.errors import InvalidInput
from secondlook.guard.expense import Expense, dearest, expense
from secondlook.guard.guard import Guard
from secondlook.guard.policy import Audited, Kind, Spent, read
from secondlook.models.captioner import Captioner
from secondlook.models.zeroshot import ZeroShot
from secondlook.progress import Tick, silent
from secondlook.schema import Audit, Cell, Headline

_log = logging.getLogger(__name__)
_STEPS = 40
"""Of the attack on the guard's time, where the study's own has none."""


class Deployed:
    """A guard that is audited.

    Args:
        path: of its policy.
        write: is told what was written into the file, or why nothing was.

    Raises:
        InvalidInput: the file is no policy of the model that is here.
        UnknownName: there is no such model or defense.

    Example:
        ``made = Deployed("guard.toml"); run_study(made.study(read("as-deployed")), "runs/guard", ended=made.ended)``
    """

    def __init__(self, path: Path | str, write: Callable[[str], object] = _log.info) -> None:
        self.path, self.write = Path(path), write
        self.guard = Guard.load(path)

    def study(self, base: Study) -> Study:
        """The study of the guard: that of ``base``, with the model, the defense and the thresholds of the policy."""
        policy, model = self.guard.policy, self.guard.guarded.model
        defense = {key: value for key, value in policy.defense.items() if value != []}
        task = {**base.task, "name": "captioning" if isinstance(model, Captioner) else "classification"}
        if isinstance(model, ZeroShot):
            task["prompt"] = model.prompt
        given = {"models": [policy.model], "defenses": [{"name": "undefended"}, defense], "controls": [], "task": task}
        return parse(base.model_dump(exclude_unset=True) | given, str(self.path))

    def check(self, study: Study) -> None:
        """Refuses images that the thresholds come from, and classes that are not the guard's.

        Raises:
            InvalidInput: there are such.
        """
        task, policy = opened(study, None), self.guard.policy
        refuse_evaluated(load(policy.calibration.data), task.source)
        others = set(task.source.classes) ^ set(policy.classes)
        if isinstance(self.guard.guarded.model, ZeroShot) and others:
            data = study.task.get("data")
            raise InvalidInput(
                f"{self.path}: the guard and the data {data!r} have other classes, {min(others)!r} is one "
                "that only one of them has; audit it on images of its own classes, --data folder:PATH"
            )

    def ended(self, plan: Plan, run: Run, audit: Audit, tick: Tick = silent) -> None:
        """Measures what attackers can make the guard spend, and writes that and the result into its file."""
        row = _defended(plan)
        worst = _worst(audit, row)
        if worst.status == "withheld":
            self.write(
                f"{self.path} is left as it was, for the result, {100 * _reached(worst):.0f} % got through, is "
                f"withheld: {'; '.join(worst.reasons)}; try --set attacks.0.steps=200 --set attacks.0.budget=full"
            )
            return
        found = audited(audit, row, _expenses(plan, run, row, tick))
        read(self.path).model_copy(update={"audited": found}).write(self.path)
        self.write(f"{self.path}: {found.said}; {found.cost}".rstrip("; "))


def _defended(plan: Plan) -> Row:
    """The clean row of the guard.

    Raises:
        InvalidInput: the settings of its defense are read as several defenses.
    """
    rows = [row for row in plan.rows if row.knowledge == "clean" and not row.guarded.bare]
    if len(rows) != 1:
        raise InvalidInput(f"the study has {len(rows)} defenses, and a guard is one; take it as --guard makes it")
    return rows[0]


def _worst(audit: Audit, row: Row) -> Headline:
    """The headline of the guard that says most for attackers, at the largest threat."""
    mine = (row.guarded.model.name, row.label)
    found = [each for each in audit.headline if (each.model, each.defense) == mine]
    if not found:
        raise InvalidInput("the study attacks nothing; give it an attack that knows the defense")
    largest = max(each.threat.eps for each in found)
    return max((each for each in found if each.threat.eps == largest), key=_reached)


def _reached(headline: Headline) -> float:
    return headline.success.value if headline.success else 0.0


def audited(audit: Audit, row: Row, spent: Mapping[Kind, Expense]) -> Audited:
    """What attackers have reached against the guard of a clean row, and what inputs have cost it."""
    worst = _worst(audit, row)
    cells: Sequence[Cell] = [cell for cell in audit.cells if cell.id in worst.rows]
    success = worst.success
    assert success is not None, "an attack has a goal"
    return Audited(
        study=audit.study,
        config=str(audit.provenance.get("config_hash", "")),
        threat=budget(worst.threat),
        attack=", ".join(dict.fromkeys(cell.attack for cell in cells)),
        n=worst.n,
        through=(success.value, success.low, success.high),
        spent={name: Spent(stages=one.stages / one.n, forwards=one.forwards / one.n) for name, one in spent.items()},
    )


def _expenses(plan: Plan, run: Run, row: Row, tick: Tick) -> dict[Kind, Expense]:
    """What clean inputs, those of the attack that knows the guard, and those made for it cost."""
    found: dict[Kind, Expense] = {name: Expense() for name in get_args(Kind)}
    spec, chunks = _strongest(plan, row), partition(len(plan.task.rows), plan.study.batch, run.parts)
    row.guarded.prepare()
    for number, chunk in enumerate(chunks):
        tick(number, len(chunks), "attacking the time of the guard")
        batch = plan.task.batch(chunk.at, row.guarded)
        clean, keys = batch.pairs.images, batch.keys
        made = stored(run, spec, batch, chunk.number).adversarial.images
        dear = dearest(row.guarded, clean, spec.threat, keys, getattr(spec.attack, "steps", _STEPS))
        for name, x in zip(found, (clean, made, dear), strict=True):
            found[name] += expense(row.guarded, x, keys.fold("decide", 0))
    return found


def _strongest(plan: Plan, row: Row) -> AttackSpec:
    """The attack on images that knows the guard and may do most."""
    specs = [each.spec for each in plan.rows if each.guarded is row.guarded and each.knowledge == "adaptive"]
    fit = [spec for spec in specs if spec and not isinstance(spec.attack, PairAttack)]
    if not fit:
        raise InvalidInput('no attack of the study knows the guard; write knowledge = ["adaptive"] under one on images')
    return max(fit, key=lambda spec: spec.threat.eps)
