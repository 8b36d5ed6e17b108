"""Checks between rows: who knows more, or may do more, must not come off worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from secondlook import statistics
from secondlook.audit.checks.base import Rows
from secondlook.schema import Cell, Check, Metric, Status


def compared(cell: Cell, cells: Sequence[Cell], records: Mapping[str, Rows]) -> Iterator[Check]:
    """What is to be said of a row beside the others of its defense."""
    if cell.knowledge == "adaptive":
        yield from strongest(cell, cells, records)
    if cell.knowledge != "clean":
        yield from stronger_than_queries(cell, cells, records)


def strongest(cell: Cell, cells: Sequence[Cell], records: Mapping[str, Rows]) -> list[Check]:
    """Whoever knows more must not do worse; else the knowing attack was a weak one.

    Of several adaptive attacks on one defense only the best has to win: it is the others' excuse.
    """
    beside = _beside(cell, cells)
    knowing = [other for other in beside if other.knowledge == "adaptive"]
    others = [other for other in beside if other.knowledge in ("oblivious", "transfer")]
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
        and (other.task, other.model, other.settings["defense"]) == (cell.task, cell.model, cell.settings["defense"])
        and other.settings["attack"].get("attacked") == cell.settings["attack"].get("attacked")
    ]


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
    theirs = {row["sample"]: row["success"] for row in records[other.id]}
    ours = {row["sample"]: row["success"] for row in records[cell.id]}
    both = sorted(theirs.keys() & ours.keys())
    lead = statistics.paired_difference([theirs[s] for s in both], [ours[s] for s in both])
    status: Status = "fail" if lead.low > 0 else "warn" if lead.value > 0 else "pass"
    return Check(
        check=f"stronger than {called}",
        status=status,
        detail=f"the other attack succeeds on {100 * lead.value:+.1f} points more of the samples",
    )


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
    return cell.knowledge == "adaptive" or (cell.undefended and cell.knowledge == "oblivious")


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
