"""The matrix to be: what is crafted, on whom, and who is then asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secondlook.attacks.base import Attack
from secondlook.attacks.pairs import PairAttack
from secondlook.audit.single.lens import Lens
from secondlook.audit.single.subject import Subject
from secondlook.audit.study import Study
from secondlook.audit.tables import Table
from secondlook.defenses.base import Gradient
from secondlook.threat import Knowledge, Threat


@dataclass(frozen=True, kw_only=True)
class Forge:
    """One way to craft adversarials; rows whose attack is the same share it.

    Attributes:
        id: hash of all that they depend on.
        attack: the optimiser, of images alone or of images with their texts.
        threat: what may be done to an image.
        victims: whom it is crafted on; several make an ensemble.
        asked: whom it may put questions to beside, where its aim is to be answered otherwise.
        weight: of the hinge on the suspicion of a detector that the attacker knows.
        through: ``painting``, where the gradient is to go through what that detector paints.
        aim: what an attack on images climbs, see :attr:`Subject.aims`; empty for the others.
        draws: fresh looks of a randomised victim in each step.
        gradient: through the purifier, or past it.
        size: the resolution that is attacked.
        settings: all of that as plain values, for the record.
    """

    id: str
    attack: Attack | PairAttack
    threat: Threat
    victims: tuple[Lens, ...]
    asked: Lens | None
    aim: str
    weight: float
    through: str
    draws: int
    gradient: Gradient
    size: tuple[int, int] | None
    settings: Table


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the matrix to be.

    Attributes:
        id: hash of all that its records depend on.
        lens: the model, behind its defence.
        label: how reports call the defence.
        knowledge: what the attacker knows.
        threat: the attacker's budget; None for clean rows.
        forge: how the inputs were crafted; None for clean ones.
        settings: the defence's, as plain values.
    """

    id: str
    lens: Lens
    label: str
    knowledge: Knowledge
    threat: Threat | None
    forge: Forge | None
    settings: Table

    @property
    def aim(self) -> str:
        """What the attack on images climbs; empty where there is none."""
        return self.forge.aim if self.forge else ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a run will do.

    Attributes:
        study: the config.
        subject: the task, and how a model is asked.
        cells: the rows of the matrix.
        probes: for the id of a forge its twin with nothing to hold it back, as a health check.
        hashes: of the models, by name.
    """

    study: Study
    subject: Subject[Any]
    cells: list[Row]
    probes: dict[str, Forge]
    hashes: dict[str, str]

    def clean(self, cell: Row) -> Row:
        """The row of the same model and defence that nobody attacks."""
        return next(
            each for each in self.cells if each.lens is cell.lens and each.knowledge == "clean"
        )
