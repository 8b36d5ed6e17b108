"""Checks between rows: who knows more, or may do more, must not come off worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from secondlook import statistics
from secondlook.audit.checks.base import Rows, more
from secondlook.schema import Cell, Check, Metric, Status
from secondlook.statistics import Interval
from secondlook.tasks.view import view_of

_SPENT: Final[Mapping[str, int]] = {"steps": 0, "draws": 1, "restarts": 1}
"""What an attack spends, and what it has where it does not say."""


def compared(cell: Cell, cells: Sequence[Cell], records: Mapping[str, Rows]) -> Iterator[Check]:
    """What is to be said of a row beside the others of its defense."""
    if cell.knowledge == "adaptive":
        yield from strongest(cell, cells, records)
        yield from spends_enough(cell, cells)
    yield from surrogates_apart(cell)
    if cell.knowledge != "clean":
        yield from stronger_than_queries(cell, cells, records)
        yield from below_clean(cell, cells, records)


def surrogates_apart(cell: Cell) -> Iterator[Check]:
    """A surrogate that is among a detector's encoders knows a part of it, and is no mere transfer."""
    encoders = cell.settings.get("defense", {}).get("encoders", "")
    named = {name.strip() for name in encoders.split(",")} if isinstance(encoders, str) else set()
    if not cell.surrogates or not named - {""}:
        return
    shared = [name for name in cell.surrogates if name in named]
    yield Check(
        check="the surrogate is none of the detector's encoders",
        status="warn" if shared else "pass",
        detail=f"{', '.join(shared)} compares the paintings; name another one in surrogates"
        if shared
        else f"{', '.join(cell.surrogates)} is none of {encoders}",
    )


def spends_enough(cell: Cell, cells: Sequence[Cell]) -> Iterator[Check]:
    """Whoever knows the defense must not have fewer steps, draws or restarts than who does not.

    Of several adaptive attacks on one defense it is enough that one spends as much.
    """
    beside = _beside(cell, cells)
    others = [other for other in beside if other.knowledge == "oblivious"]
    lacks = {each.id: _lacks(each, others) for each in beside if each.knowledge == "adaptive"}
    if not others or cell.attack == "none":
        return
    missing, rich = lacks[cell.id], [name for name, lack in lacks.items() if not lack]
    yield Check(
        check="spends what the oblivious attack spends",
        status="pass" if not missing else "warn" if rich else "fail",
        detail=f"fewer than who does not know the defense: {', '.join(missing)}"
        if missing
        else "no fewer steps or draws",
    )


def _lacks(cell: Cell, others: Sequence[Cell]) -> list[str]:
    """The parts of its budget that another row has more of, where both have it."""
    own = cell.settings.get("attack", {})
    found = []
    for part, least in _SPENT.items():
        most = max((other.settings["attack"].get(part, least) for other in others), default=least)
        if own.get(part, least) < most and (part in own or least):
            found.append(f"{own.get(part, least):g} {part} of {most:g}")
    return found


def below_clean(cell: Cell, cells: Sequence[Cell], records: Mapping[str, Rows]) -> Iterator[Check]:
    """No attack may make a model better: more right under attack than clean is a broken measure."""
    clean = next((other for other in cells if other.knowledge == "clean" and _place(other) == _place(cell)), None)
    if clean is None or "original_top1" not in records[cell.id][0] or "original_top1" not in records[clean.id][0]:
        return
    lead = _lead(records[cell.id], records[clean.id], "original_top1")
    status: Status = "fail" if lead.low > 0 else "pass"
    yield Check(
        check="no better under attack than clean",
        status=status,
        detail=f"{view_of(cell.task).kept} under attack against clean: {more(lead.value)}",
    )


def strongest(cell: Cell, cells: Sequence[Cell], records: Mapping[str, Rows]) -> list[Check]:
    """Whoever knows more must not do worse; else the knowing attack was a weak one.

    Of several adaptive attacks on one defense only the best has to win: it is the others' excuse.
    """
    beside = _beside(cell, cells)
    knowing = [other for other in beside if other.knowledge == "adaptive"]
    others = [other for other in beside if other.knowledge in ("oblivious", "transfer", "black-box")]
    return _against(cell, knowing, others, records, lambda other: other.knowledge)


def stronger_than_queries(cell: Cell, cells: Sequence[Cell], records: Mapping[str, Rows]) -> list[Check]:
    """Whoever has the gradient must not do worse than one who only asks; else it is masked."""
    equals = [other for other in _beside(cell, cells) if other.knowledge == cell.knowledge]
    others = [other for other in equals if _only_asks(other) and not _changes_words(records[other.id])]
    knowing = [other for other in equals if not _only_asks(other)]
    if cell not in knowing:
        return []
    return _against(cell, knowing, others, records, lambda other: f"queries alone, {other.attack}")


def _changes_words(rows: Rows) -> bool:
    """Whether it is captions that were attacked: pixels and their gradient are another matter."""
    return "words" in rows[0]


def _only_asks(cell: Cell) -> bool:
    return cell.ledger.attack_forwards > 0 and cell.ledger.attack_backwards == 0


def _beside(cell: Cell, cells: Sequence[Cell]) -> list[Cell]:
    """The rows of the same defense, budget, goal and side of a search, with the cell itself."""
    return [
        other
        for other in cells
        if other.threat == cell.threat
        and other.goal == cell.goal
        and _place(other) == _place(cell)
        and other.settings["attack"].get("attacked") == cell.settings["attack"].get("attacked")
    ]


def _place(cell: Cell) -> tuple[str, str, object]:
    """The task, the model and the defense of a row."""
    return cell.task, cell.model, cell.settings["defense"]


def _against(
    cell: Cell,
    knowing: Sequence[Cell],
    others: Sequence[Cell],
    records: Mapping[str, Rows],
    called: Callable[[Cell], str],
) -> list[Check]:
    """The best of those who know has to win against the best of the others of each name.

    The others of them are only warned, and not even that if they ask queries alone.
    """
    best = max(knowing, key=_reached)
    if cell.id != best.id and _only_asks(cell):
        return []
    strongest: dict[str, Cell] = {}
    for other in sorted(others, key=_reached):
        strongest[called(other)] = other
    checks = [_beaten(cell, other, records, name) for name, other in strongest.items()]
    return checks if cell.id == best.id else [_softened(check) for check in checks]


def _reached(cell: Cell) -> float:
    return _success(cell).value


def _success(cell: Cell) -> Metric:
    assert cell.success is not None, f"row {cell.id} does not say how often it reached its goal"
    return cell.success


def _softened(check: Check) -> Check:
    return check.model_copy(update={"status": "warn"}) if check.status == "fail" else check


def _beaten(cell: Cell, other: Cell, records: Mapping[str, Rows], called: str) -> Check:
    lead = _lead(records[other.id], records[cell.id], "success")
    status: Status = "fail" if lead.low > 0 else "warn" if lead.value > 0 else "pass"
    return Check(
        check=f"stronger than {called}",
        status=status,
        detail=f"the other attack succeeds on {more(lead.value)} of the samples",
    )


def _lead(ours: Rows, theirs: Rows, name: str) -> Interval:
    """How much more of a column the first rows have than the second, sample by sample."""
    one, two = ({row["sample"]: row[name] for row in rows} for rows in (ours, theirs))  # type: ignore[literal-required]
    both = sorted(one.keys() & two.keys())
    return statistics.paired_difference([one[sample] for sample in both], [two[sample] for sample in both])


def monotone(cells: Sequence[Cell], parameter: str) -> list[tuple[str, Check]]:
    """A larger budget must not help the defender."""

    def value(cell: Cell) -> float:
        found = cell.threat.eps if parameter == "eps" else cell.settings["attack"].get(parameter)
        return float(found or 0)

    def rest(cell: Cell) -> str:
        attack = {k: v for k, v in cell.settings["attack"].items() if k != parameter}
        eps = 0 if parameter == "eps" else cell.threat.eps
        defense = sorted(cell.settings["defense"].items())
        return repr((cell.task, cell.model, defense, cell.knowledge, attack, eps))

    attacked = sorted((c for c in cells if c.knowledge != "clean"), key=lambda c: (rest(c), value(c)))
    found = []
    for _, group in groupby(attacked, key=rest):
        ladder = list(group)
        for below, above in zip(ladder, ladder[1:], strict=False):
            check = _step_up(below, above, parameter)
            found.append((above.id, check if _crafted_on_it(above) else _softened(check)))
    return found


def _crafted_on_it(cell: Cell) -> bool:
    """Whether the attack saw the defense; else more of it may well be easier to notice."""
    return cell.knowledge in ("black-box", "adaptive") or (cell.undefended and cell.knowledge == "oblivious")


def _step_up(below: Cell, above: Cell, parameter: str) -> Check:
    less, more = _success(below), _success(above)
    status: Status = "pass"
    if more.value < less.value:
        status = "fail" if more.high < less.low else "warn"
    return Check(
        check=f"more {parameter} does not help the defender",
        status=status,
        detail=f"success from {less.value:.1%} to {more.value:.1%}",
    )
