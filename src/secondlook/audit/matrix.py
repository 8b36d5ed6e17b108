"""The matrix to be: what is crafted, on whom, and who then has to decide."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.attacks.base import Attack
from secondlook.audit.study import Study
from secondlook.audit.tables import Table
from secondlook.defenses.base import Defence, Gradient
from secondlook.tasks.zeroshot import OpenTask
from secondlook.threat import Knowledge, Threat


@dataclass(frozen=True, kw_only=True)
class Forge:
    """One way to craft adversarials; cells whose attack is the same share it.

    Attributes:
        id: hash of all that the adversarials depend on.
        attack: the optimiser.
        threat: the ball.
        victims: whom it is crafted on; several make an ensemble.
        draws: fresh looks of a randomised victim in each step.
        gradient: through the purifier, or past it.
        objective: ``cosine`` or ``votes``.
        settings: all of that as plain values, for the record.
    """

    id: str
    attack: Attack
    threat: Threat
    victims: tuple[Defence, ...]
    draws: int
    gradient: Gradient
    objective: str
    settings: Table


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """One row of the matrix to be.

    Attributes:
        id: hash of all that its records depend on.
        defence: who decides.
        label: how reports call the defence.
        knowledge: what the attacker knows.
        forge: how the inputs were crafted; None for clean ones.
        settings: the defence's, as plain values.
        targeted: whether the attacker wants one certain answer, or any wrong one.
    """

    id: str
    defence: Defence
    label: str
    knowledge: Knowledge
    forge: Forge | None
    settings: Table
    targeted: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a run will do.

    Attributes:
        study: the config.
        task: the opened task.
        cells: the rows of the matrix, for one model after the other.
        probes: for the id of each adaptive forge its twin at eps 1, as a health check.
        hashes: of the models, by name.
    """

    study: Study
    task: OpenTask
    cells: list[CellPlan]
    probes: dict[str, Forge]
    hashes: dict[str, str]

    def clean(self, cell: CellPlan) -> CellPlan:
        """The row of the same defence that nobody attacks."""
        return next(
            each for each in self.cells
            if each.defence is cell.defence and each.knowledge == "clean"
        )  # fmt: skip
