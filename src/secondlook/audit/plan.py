"""From a study to its matrix: models, defences and attacks are built, and told apart by hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from secondlook import registry
from secondlook.audit.defended import defended, described
from secondlook.audit.matrix import CellPlan, Forge, Plan
from secondlook.audit.opening import opened
from secondlook.audit.roster import Roster
from secondlook.audit.study import Study
from secondlook.audit.tables import Manner, Table, believing_sweep, manner, sweep
from secondlook.defenses.base import Defence
from secondlook.defenses.calibration import refuse_evaluated
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model, Purifier
from secondlook.tasks.zeroshot import OpenTask
from secondlook.threat import Knowledge, Threat


def plan(study: Study, device: torch.device | None = None) -> Plan:
    """Builds models, defences and attacks of a study, for a device; the CPU where none is given.

    Raises:
        UnknownName, InvalidInput: something in the study names nothing, or does not fit.
    """
    return _Planner(study, opened(study, device)).plan()


class _Planner:
    """Holds what all cells of a plan share while they are made."""

    def __init__(self, study: Study, task: OpenTask) -> None:
        self.study, self.task = study, task
        self.hashes: dict[str, str] = {}
        self._roster = Roster(task.device)
        self._hashed: dict[int, tuple[Model, str]] = {}
        self.surrogates = tuple(
            Undefended(model=task.classifier(self._load(n))) for n in study.surrogates
        )
        self.probes: dict[str, Forge] = {}
        if "transfer" in study.known and not study.surrogates:
            raise InvalidInput("knowledge 'transfer' needs surrogates = [\"scenes:clip-vit\"], say")

    def plan(self) -> Plan:
        """All cells, each once."""
        cells: dict[str, CellPlan] = {}
        for name in self.study.models:
            for model in self._models(name):
                for cell in self._cells(model):
                    cells.setdefault(cell.id, cell)
        return Plan(
            study=self.study, task=self.task, cells=list(cells.values()),
            probes=self.probes, hashes=self.hashes,
        )  # fmt: skip

    def _models(self, name: str) -> Iterator[Classifier]:
        """The model as a classifier; an embedder under each of the study's prompts."""
        made = self._load(name)
        prompts = self.study.prompts if isinstance(made, Embedder) else []
        for prompt in prompts or [""]:
            model = self.task.classifier(made, prompt)
            if prompt:
                model.name = f"{made.name} “{prompt}”"
            yield model

    def _load(self, name: str) -> Model:
        made = self._roster.load(name)
        self._hash(made)
        return made

    def _cells(self, model: Classifier) -> Iterator[CellPlan]:
        tables = [table for given in self.study.defences for table in sweep(given)]
        for table in tables:
            defence, label = self._defended(table, model)
            if defence.calibration is not None:
                refuse_evaluated(defence.calibration, self.task.source)
            for knowledge in self.study.known:
                for forge in self._forges(defence, table, knowledge):
                    yield self._cell(defence, label, knowledge, forge)

    def _cell(
        self, defence: Defence, label: str, knowledge: Knowledge, forge: Forge | None
    ) -> CellPlan:
        settings = described(defence)
        identity = [
            self.task.source.hash, registry.describe(self.task.task), settings, knowledge,
            self._fingerprint(defence), forge.id if forge else None,
            self.study.rescore, self.study.batch,
        ]  # fmt: skip
        return CellPlan(
            id=registry.digest(identity), defence=defence, label=label,
            knowledge=knowledge, forge=forge, settings=settings,
            targeted=self.task.task.goal == "targeted",
        )  # fmt: skip

    def _forges(self, defence: Defence, own: Table, knowledge: Knowledge) -> Iterator[Forge | None]:
        if knowledge == "clean":
            yield None
            return
        bare = isinstance(defence, Undefended)
        for given in self.study.crafting(knowledge, bare):
            for table in believing_sweep(given, believing=knowledge == "adaptive" and not bare):
                victims = self._victims(defence, own, knowledge, table.get("instead", {}))
                for eps in self.study.threat.eps:
                    threat = Threat(norm=self.study.threat.norm, eps=eps)
                    forge = self._forge(victims, table, threat)
                    if knowledge == "adaptive":
                        self._probe(forge)
                    yield forge

    def _victims(
        self, defence: Defence, own: Table, knowledge: Knowledge, instead: Table
    ) -> tuple[Defence, ...]:
        """Whom an attacker of that knowledge crafts on; one may believe in another defence."""
        if knowledge == "transfer":
            return self.surrogates
        if knowledge == "oblivious":
            return (Undefended(model=defence.model),)
        return (self._defended({**own, **instead}, defence.model)[0],) if instead else (defence,)

    def _defended(self, table: Table, model: Classifier) -> tuple[Defence, str]:
        """The defence with all its models on the device, and its label."""
        defence, label = defended(table, model)
        for part in defence.parts:
            part.to(self.task.device)
        return defence, label

    def _forge(self, victims: tuple[Defence, ...], table: Table, threat: Threat) -> Forge:
        config = dict(table)
        given = {key: config.pop(key) for key in Manner.model_fields if key in config}
        how = manner(given, f"study {self.study.name}")
        attack = registry.build("attack", config.pop("name", "illusion"), config)
        settings = {**registry.describe(attack), **how.model_dump()}
        identity = [
            settings, str(threat), self.study.seed, self.study.batch, self.task.source.hash,
            registry.describe(self.task.task),
            self._glimpsed(victims),
        ]  # fmt: skip
        return Forge(
            id=registry.digest(identity), attack=attack, threat=threat, victims=victims,
            settings=settings, draws=how.draws, gradient=how.gradient, objective=how.objective,
        )  # fmt: skip

    def _probe(self, forge: Forge) -> None:
        """The same attack with nothing to hold it back: it has to succeed."""
        identity = ["probe", forge.settings, self._glimpsed(forge.victims)]
        self.probes[forge.id] = replace(
            forge, id=registry.digest(identity), attack=forge.attack.unbounded(),
            threat=Threat(norm="linf", eps=1.0),
        )  # fmt: skip

    def _glimpsed(self, victims: tuple[Defence, ...]) -> list[Any]:
        """All that an attack on ``victims`` depends on."""
        return [self._fingerprint(each, each.unseen) for each in victims]

    def _fingerprint(self, defence: Defence, without: frozenset[str] = frozenset()) -> list[Any]:
        settings = {k: v for k, v in described(defence).items() if k not in without}
        knobs = [part.knobs for part in defence.parts if isinstance(part, Purifier)]
        held_out = defence.calibration.hash if defence.calibration is not None else ""
        parts = [[part.name, self._hash(part)] for part in defence.parts]
        return [settings, parts, knobs, held_out]

    def _hash(self, model: Model) -> str:
        """The model's hash, computed once for each model of a plan."""
        known = self._hashed.setdefault(id(model), (model, ""))[1] or model.hash
        self._hashed[id(model)] = (model, known)
        self.hashes[model.name] = known
        return known
