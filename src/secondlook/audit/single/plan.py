"""From a study to its matrix: told apart by hash, crafted once where alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from secondlook import registry
from secondlook.attacks.base import Attack
from secondlook.attacks.pairs import PairAttack
from secondlook.audit.defended import defended, described
from secondlook.audit.roster import Roster
from secondlook.audit.single.lens import Lens
from secondlook.audit.single.matrix import Forge, Plan, Row
from secondlook.audit.single.subject import Subject
from secondlook.audit.single.whom import Whom
from secondlook.audit.study import Study
from secondlook.audit.tables import Table, checked, sweep
from secondlook.defenses.base import Defence
from secondlook.defenses.calibration import refuse_evaluated
from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.threat import Knowledge, Threat


class How(BaseModel):
    """How an attacker looks at a victim that it knows, and what it wants of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: int = Field(1, ge=1)
    """Fresh looks of a randomised victim in each step."""
    gradient: Literal["full", "bpda"] = "full"
    """Through the purifier, or past it."""
    objective: str = ""
    """What an attack on images climbs; empty takes the task's first."""
    weight: float = Field(3.0, ge=0)
    """Of the hinge on the suspicion, for who knows the detector."""
    through: Literal["", "painting"] = ""
    """Whether the gradient goes through what the detector paints, too."""


_WARY = {"weight", "through"}
"""What only who knows a detector needs."""


def plan(study: Study, subject: Subject[Any]) -> Plan:
    """Builds models, defences and attacks of a study.

    Raises:
        UnknownName, InvalidInput: something in the study names nothing, or does not fit.
    """
    return _Planner(study, subject).plan()


class _Planner:
    """Holds what all rows of a plan share while they are made."""

    def __init__(self, study: Study, subject: Subject[Any]) -> None:
        self.study, self.subject, self.task = study, subject, subject.task
        self.probes: dict[str, Forge] = {}
        self._roster = Roster(self.task.device)
        self._whom = Whom(subject, tuple(map(self._load, study.surrogates)))
        if study.prompts:
            raise InvalidInput("prompts are for names of classes; write what is asked under [task]")
        if "transfer" in study.known and not study.surrogates:
            raise InvalidInput("knowledge 'transfer' needs surrogates = [\"scenes:clip\"], say")

    def plan(self) -> Plan:
        """All rows, each once."""
        cells: dict[str, Row] = {}
        for name in self.study.models:
            made = self._load(name)
            self.subject.check(made, name)
            for cell in self._cells(made):
                cells.setdefault(cell.id, cell)
        return Plan(
            study=self.study, subject=self.subject, cells=list(cells.values()),
            probes=self.probes, hashes=self._roster.hashes,
        )  # fmt: skip

    def _load(self, name: str) -> Model:
        made = self._roster.load(name)
        self._roster.hash(made)
        return made

    def _cells(self, model: Model) -> Iterator[Row]:
        for table in (table for given in self.study.defences for table in sweep(given)):
            defence, label = defended(table, self.subject.wrapped(model))
            lens = self._lens(model, defence)
            for part in defence.parts:
                part.to(self.task.device)
            for known in self.study.known:
                yield from self._rows(lens, label, known)

    def _lens(self, model: Model, defence: Defence) -> Lens:
        lens = Lens(model, defence)
        if lens.detector is not None and not self.subject.watches:
            raise InvalidInput(
                f"{type(defence).__name__} detects, and {self.task.name} has no answers to hold "
                "back; take undefended, jpeg, noise or consensus"
            )
        if defence.calibration is not None:
            refuse_evaluated(defence.calibration, self.task.source)
        return lens

    def _rows(self, lens: Lens, label: str, knowledge: Knowledge) -> Iterator[Row]:
        if knowledge == "clean":
            yield self._row(lens, label, "clean", None, None)
            return
        bare = lens.bare
        # There is nothing to know of a model that nothing defends: who has it, has all of it.
        alike = bare and knowledge == "oblivious" and "adaptive" in self.study.known
        for given in self.study.crafting(knowledge, bare):
            for table in sweep(given):
                for eps in self.study.threat.eps:
                    threat = Threat(norm=self.study.threat.norm, eps=eps)
                    forge = self._forge(lens, knowledge, table, threat)
                    yield self._row(lens, label, "adaptive" if alike else knowledge, threat, forge)

    def _row(
        self, lens: Lens, label: str, knowledge: Knowledge, threat: Threat | None,
        forge: Forge | None,
    ) -> Row:  # fmt: skip
        settings = described(lens.defence)
        identity = [
            self._data(), settings, knowledge, str(threat), self._roster.fingerprint(lens.defence),
            forge.id if forge else None, self.study.batch, self.study.rescore,
            *[self._roster.hash(model) for model in self.subject.uses("")],
        ]  # fmt: skip
        return Row(
            id=registry.digest(identity), lens=lens, label=label, knowledge=knowledge,
            threat=threat, forge=forge, settings=settings,
        )  # fmt: skip

    def _forge(self, lens: Lens, knowledge: Knowledge, table: Table, threat: Threat) -> Forge:
        config = dict(table)
        given = {key: config.pop(key) for key in How.model_fields if key in config}
        how = checked(How, given, f"study {self.study.name}")
        attack = self._attack(config)
        aim = self._whom.aim(attack, how.objective)
        victims = self._whom.crafted_on(lens, knowledge, attack, aim)
        asked = self._whom.asked(lens, knowledge, aim, victims)
        wary = knowledge == "adaptive" and lens.detector is not None and asked is None
        settings = {
            **registry.describe(attack), **how.model_dump(exclude={"objective", *_WARY}),
            **({"objective": aim} if aim else {}),
            **(how.model_dump(include=_WARY) if wary else {}),
        }  # fmt: skip
        moved = not isinstance(attack, PairAttack) or attack.touches != "captions"
        identity = [
            settings, str(threat) if moved else None, self.study.seed, self.study.batch,
            self._data(), lens.size, [self._climbed(victim) for victim in victims],
            *[self._roster.hash(model) for model in self.subject.uses(aim)],
            *([self._climbed(asked)] if asked else []),
        ]  # fmt: skip
        forge = Forge(
            id=registry.digest(identity), attack=attack, threat=threat, victims=victims,
            asked=asked, aim=aim, weight=how.weight, through=how.through, draws=how.draws,
            gradient=how.gradient, size=lens.size, settings=settings,
        )  # fmt: skip
        if moved and knowledge == "adaptive" and asked is None:
            self._probe(forge, identity)
        return forge

    def _attack(self, config: Table) -> Attack | PairAttack:
        """An attack on images, or one on pairs that touches what the task has."""
        name = config.pop("name", "pgd")
        if name not in registry.names("pair attack"):
            attack: Attack = registry.build("attack", name, config)
            return attack
        made: PairAttack = registry.build("pair attack", name, config)
        if made.touches not in self.subject.touches:
            raise InvalidInput(
                f"{name} changes {made.touches} alone, and {self.task.name} reads none; "
                "attack its images: pgd, apgd, sga"
            )
        return made

    def _probe(self, forge: Forge, identity: list[Any]) -> None:
        """The same attack with nothing to hold it back: it has to succeed."""
        name = registry.digest(["probe", *identity[:1], *identity[2:]])
        free = forge.attack if isinstance(forge.attack, PairAttack) else forge.attack.unbounded()
        self.probes[forge.id] = replace(
            forge, id=name, attack=free, threat=Threat(norm="linf", eps=1.0)
        )

    def _data(self) -> list[Any]:
        return [self.task.source.hash, registry.describe(self.task.task)]

    def _climbed(self, lens: Lens) -> list[Any]:
        """All that an attack on a model behind a lens depends on."""
        return self._roster.fingerprint(lens.defence, lens.defence.unseen)
