"""The matrix of a retrieval to be: what is crafted, on whom, and what is searched with it."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.attacks.pairs import PairAttack
from secondlook.audit.retrieval.seen import Seen
from secondlook.audit.study import Study
from secondlook.audit.tables import Table
from secondlook.models.base import Embedder
from secondlook.tasks.retrieval import OpenRetrieval, Setting
from secondlook.threat import Knowledge, Threat


@dataclass(frozen=True, kw_only=True)
class PairForge:
    """One way to craft images and captions; rows whose attack is the same share it.

    Attributes:
        id: hash of all that they depend on.
        attack: the search.
        threat: what may be done to an image.
        victims: whom they are crafted on; several make an ensemble.
        size: the resolution that is attacked.
        settings: all of that as plain values, for the record.
    """

    id: str
    attack: PairAttack
    threat: Threat
    victims: tuple[Embedder, ...]
    size: tuple[int, int] | None
    settings: Table


@dataclass(frozen=True, kw_only=True)
class SearchCell:
    """One row of the matrix to be.

    Attributes:
        id: hash of all that its records depend on.
        seen: the model, behind its defence.
        label: how reports call the defence.
        knowledge: what the attacker knows.
        threat: the attacker's budget; None for clean rows.
        forge: how images and captions were crafted; None for clean ones.
        setting: which side of the search is attacked.
        settings: the defence's, as plain values.
    """

    id: str
    seen: Seen
    label: str
    knowledge: Knowledge
    threat: Threat | None
    forge: PairForge | None
    setting: Setting
    settings: Table


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """Everything that a run will do.

    Attributes:
        study: the config.
        task: the opened task.
        cells: the rows of the matrix.
        probes: for the id of a forge its twin with nothing to hold it back, as a health check.
        hashes: of the models, by name.
    """

    study: Study
    task: OpenRetrieval
    cells: list[SearchCell]
    probes: dict[str, PairForge]
    hashes: dict[str, str]

    @property
    def forges(self) -> list[PairForge]:
        """What has to be crafted, each once."""
        return list({cell.forge.id: cell.forge for cell in self.cells if cell.forge}.values())

    @property
    def sights(self) -> list[Seen]:
        """The models behind their defences, each once."""
        return list({id(cell.seen): cell.seen for cell in self.cells}.values())

    def clean(self, cell: SearchCell) -> SearchCell:
        """The row of the same model and defence that nobody attacks."""
        return next(
            each for each in self.cells if each.seen is cell.seen and each.knowledge == "clean"
        )
