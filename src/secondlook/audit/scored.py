"""The suspicions of a row of the matrix, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from secondlook.audit.store import Record
from secondlook.statistics import Numbers


class Scored(NamedTuple):
    """What a defence thought of the inputs of one row.

    Attributes:
        samples: their names, in the order of the row.
        suspicion: ``[n]``; infinite where JSON could not hold it.
        rejected: for each input the share of its fresh looks that rejected it.
    """

    samples: tuple[str, ...]
    suspicion: Numbers
    rejected: tuple[float, ...]

    @property
    def tells(self) -> bool:
        """Whether inputs are told apart at all."""
        return bool((self.suspicion != self.suspicion[0]).any())


def scored(rows: Sequence[Record]) -> Scored | None:
    """The suspicions of records; None where their room knows none."""
    if not rows or not {"suspicion", "rejected"} <= rows[0].keys():
        return None
    found = [(row["sample"], row["suspicion"], row["rejected"]) for row in rows]
    samples, suspicions, rejected = zip(*found, strict=True)
    known = [np.inf if each is None else each for each in suspicions]
    return Scored(samples, np.array(known, dtype=float), rejected)
