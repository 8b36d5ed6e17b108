"""Diagnoses of defenses: of each the manners of attacking it, side by side, and what was measured of its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from secondlook.attacks.synthesis import BARE
from secondlook.audit.report.matrix import Block, Group, Row
from secondlook.schema import Cosine, Diagnosis, MannerResult, Slopes, Status

_STATUS: dict[str, Status] = {
    "masked": "fail",
    "batch-coupled": "fail",
    "gate-only": "warn",
    "no masking found": "pass",
}


@dataclass(frozen=True, kw_only=True)
class MannerRow:
    """One manner of attacking a defense, as a row of a table.

    Attributes:
        name: what it is called.
        result: what it does alone, or why it could not run.
        cosine: of its gradient to the bare model's, where both have one.
    """

    name: str
    result: MannerResult
    cosine: Cosine | None


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """The diagnosis of one defense, which several of its rows may share.

    Attributes:
        name: of the defense.
        rows: whose attackers know the defense; of the first it is told which manner fooled how many.
        found: the diagnosis.
    """

    name: str
    rows: list[Row]
    found: Diagnosis

    @property
    def status(self) -> Status:
        """How grave the verdict is."""
        return _STATUS[self.found.verdict]

    @property
    def manners(self) -> list[MannerRow]:
        """Those that ran, each followed by its further searches, and then those that could not."""
        known = {each.between[1]: each for each in self.found.cosines if each.between[0] == BARE}
        made = [MannerRow(name=name, result=each, cosine=known.get(name)) for name, each in self.found.manners.items()]
        places = {manner.name: place for place, manner in enumerate(made)}
        usual = {name: places.get(name.partition(", ")[0], place) for name, place in places.items()}
        return sorted(made, key=lambda manner: (bool(manner.result.note), usual[manner.name]))

    @property
    def facts(self) -> list[str]:
        """What speaks for the verdict, and what was measured of the gradient and of the neighbors."""
        slopes = [_slope(each) for each in self.found.slopes if each.along == BARE and each.measured is not None]
        return [*self.found.reasons, *slopes]


def diagnosed(blocks: Sequence[Block]) -> list[tuple[Block, list[Diagnosed]]]:
    """The diagnoses of each block that has any; of several budgets those of the largest."""
    found = [(block, [each for group in block.groups for each in _of(group)]) for block in blocks]
    return [(block, some) for block, some in found if some]


def _of(group: Group) -> list[Diagnosed]:
    """The diagnoses of a defense, each once."""
    having = [row for row in group.rows if row.cell.diagnosis is not None]
    eps = max((row.cell.threat.eps for row in having), default=0.0)
    found: dict[str, Diagnosed] = {}
    for row in (row for row in having if row.cell.threat.eps == eps):
        own = row.cell.diagnosis
        assert own is not None, "a row without a diagnosis has been left out"
        key, before = _measured(own), found.get(_measured(own))
        if before is None:
            found[key] = Diagnosed(name=group.name, rows=[row], found=own)
        elif _tells_who_was_first(own) and not _tells_who_was_first(before.found):
            found[key] = Diagnosed(name=group.name, rows=[row, *before.rows], found=own)
        else:
            found[key] = replace(before, rows=[*before.rows, row])
    return list(found.values())


def _tells_who_was_first(found: Diagnosis) -> bool:
    return any(each.first for each in found.manners.values())


def _measured(found: Diagnosis) -> str:
    """All of a diagnosis but for what is of one attack alone."""
    manners = {
        name: each.model_copy(update={"first": None})
        for name, each in found.manners.items()
        if each.robust is not None or each.note
    }
    return found.model_copy(update={"manners": manners}).model_dump_json()


def _slope(each: Slopes) -> str:
    assert each.measured is not None, "a slope that was not measured is not told"
    hidden = f", which hides it on {each.hidden:.0%} of the samples" if each.hidden else ""
    return (
        f"along the sign of the bare model's gradient the loss changes by {each.measured:.2g} per pixel unit, and by "
        f"{each.by_gradient or 0:.2g} as the defense's own gradient says{hidden}"
    )


def magnitude(size: float | None) -> str:
    """The length of a gradient over another's, in two digits.

    Example:
        >>> magnitude(1.0), magnitude(0.0), magnitude(1.7e-15), magnitude(None)
        ('1', '0', '1.7e-15', '–')
    """
    return "–" if size is None else f"{size:.2g}"


def hundredths(value: float | None) -> str:
    """A cosine or a rise of a loss in two decimals, and no zero below zero.

    Example:
        >>> hundredths(0.987), hundredths(-0.001), hundredths(None)
        ('0.99', '0.00', '–')
    """
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}"
