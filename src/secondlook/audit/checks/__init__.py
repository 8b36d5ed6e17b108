"""Whether a number can be believed, said next to the number: all checks of an audit, in order.

A check of a row is a function of a :class:`~secondlook.audit.checks.base.Row` that yields what it
finds, and nothing where it does not apply. One that fails withholds the headline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from secondlook.audit.checks import certificate, cross_row, masking, optimization, sanity
from secondlook.audit.checks.base import Evidence as Evidence, Row, RowCheck, Rows
from secondlook.schema import Cell, Check

ROW_CHECKS: Final[Sequence[RowCheck]] = (
    sanity.enough_samples,
    sanity.above_chance,
    sanity.declared_randomness,
    sanity.logits,
    sanity.optimizes,
    sanity.read_as_written,
    optimization.searched,
    sanity.other_surrogate,
    sanity.enough_draws,
    sanity.unbounded,
    sanity.other_aims,
    masking.unmasked,
    masking.reaching,
    masking.outdone,
    masking.standing_alone,
    certificate.kept,
    sanity.flagged,
)
"""What is checked of each row by itself, in the order of the report."""


def check_cell(cell: Cell, records: Rows, evidence: Evidence) -> list[Check]:
    """The checks that need one row alone."""
    row = Row(cell, records, evidence)
    return [found for check in ROW_CHECKS for found in check(row)]


def check_group(cells: Sequence[Cell], records: Mapping[str, Rows]) -> list[Cell]:
    """Adds the checks that compare a row with others."""
    found = {cell.id: list(cross_row.compared(cell, cells, records)) for cell in cells}
    for parameter in ("eps", "steps"):
        for cell_id, check in cross_row.monotone(cells, parameter):
            found[cell_id].append(check)
    return [c.model_copy(update={"health": [*c.health, *found[c.id]]}) for c in cells]
