"""From a study to its cells: what is crafted, on whom, and who then has to decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from secondlook import registry
from secondlook.attacks.base import Attack
from secondlook.audit.study import Manner, Study, Table, manner, sweep
from secondlook.defenses.base import Defence, Gradient
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Classifier, Model
from secondlook.models.python import imported
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
    """

    id: str
    defence: Defence
    label: str
    knowledge: Knowledge
    forge: Forge | None
    settings: Table


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


def plan(study: Study) -> Plan:
    """Builds models, defences and attacks of a study.

    Raises:
        UnknownName, InvalidInput: something in the study names nothing, or does not fit.
    """
    for plugin in study.plugins:
        imported(f"plugins: {plugin!r}", plugin)
    config = dict(study.task)
    config.setdefault("seed", study.seed)
    task = registry.build("task", config.pop("name", "zeroshot"), config).open()
    return _Planner(study, task).plan()


class _Planner:
    """Holds what all cells of a plan share while they are made."""

    def __init__(self, study: Study, task: OpenTask) -> None:
        self.study, self.task = study, task
        self.hashes: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._hashed: dict[int, tuple[Model, str]] = {}
        self.surrogates = tuple(Undefended(model=self._model(n)) for n in study.surrogates)
        self.probes: dict[str, Forge] = {}
        if "transfer" in study.knowledge and not study.surrogates:
            raise InvalidInput("knowledge 'transfer' needs surrogates = [\"scenes:clip-vit\"], say")

    def plan(self) -> Plan:
        """All cells, each once."""
        cells: dict[str, CellPlan] = {}
        for name in self.study.models:
            model = self._model(name)
            for cell in self._cells(model):
                cells.setdefault(cell.id, cell)
        return Plan(
            study=self.study, task=self.task, cells=list(cells.values()),
            probes=self.probes, hashes=self.hashes,
        )  # fmt: skip

    def _model(self, name: str) -> Classifier:
        made = load(name)
        owner = self._owners.setdefault(made.name, name)
        if owner != name:
            raise InvalidInput(
                f"{owner} and {name} both call themselves {made.name!r}; give each its own name"
            )
        self._hash(made)
        return self.task.classifier(made)

    def _cells(self, model: Classifier) -> Iterator[CellPlan]:
        tables = [table for given in self.study.defences for table in sweep(given)]
        for table in tables:
            defence, label = _defence(table, model)
            for knowledge in self.study.knowledge:
                for forge in self._forges(defence, model, knowledge):
                    yield self._cell(defence, label, knowledge, forge)

    def _cell(
        self, defence: Defence, label: str, knowledge: Knowledge, forge: Forge | None
    ) -> CellPlan:
        settings = _described(defence)
        identity = [
            self.task.source.hash, registry.describe(self.task.task), settings, knowledge,
            self._fingerprint(defence), forge.id if forge else None,
            self.study.rescore, self.study.batch,
        ]  # fmt: skip
        return CellPlan(
            id=registry.digest(identity), defence=defence, label=label,
            knowledge=knowledge, forge=forge, settings=settings,
        )  # fmt: skip

    def _forges(
        self, defence: Defence, model: Classifier, knowledge: Knowledge
    ) -> Iterator[Forge | None]:
        if knowledge == "clean":
            yield None
            return
        bare = (Undefended(model=model),)
        victims = {"oblivious": bare, "transfer": self.surrogates, "adaptive": (defence,)}
        over = self.study.adaptive if knowledge == "adaptive" else {}
        if isinstance(defence, Undefended):
            over = {}
        for table in sweep({**self.study.attack, **over}):
            for eps in self.study.threat.eps:
                threat = Threat(norm=self.study.threat.norm, eps=eps)
                forge = self._forge(victims[knowledge], table, threat)
                if knowledge == "adaptive":
                    self._probe(forge)
                yield forge

    def _forge(self, victims: tuple[Defence, ...], table: Table, threat: Threat) -> Forge:
        config = dict(table)
        given = {key: config.pop(key) for key in Manner.model_fields if key in config}
        how = manner(given, f"study {self.study.name}").model_dump()
        attack = registry.build("attack", config.pop("name", "illusion"), config)
        settings = {**registry.describe(attack), **how}
        identity = [
            settings, str(threat), self.study.seed, self.study.batch, self.task.source.hash,
            registry.describe(self.task.task),
            self._glimpsed(victims),
        ]  # fmt: skip
        return Forge(
            id=registry.digest(identity), attack=attack, threat=threat, victims=victims,
            settings=settings, **how,
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
        eye = getattr(defence, "eye", None)
        parts = [part for part in (defence.model, eye) if part is not None]
        settings = {k: v for k, v in _described(defence).items() if k not in without}
        knobs = eye.knobs if eye is not None else ()
        return [settings, [self._hash(part) for part in parts], knobs]

    def _hash(self, model: Model) -> str:
        """The model's hash, computed once for each model of a plan."""
        known = self._hashed.setdefault(id(model), (model, ""))[1] or model.hash
        self._hashed[id(model)] = (model, known)
        self.hashes[model.name] = known
        return known


def _defence(table: Table, model: Classifier) -> tuple[Defence, str]:
    config = dict(table)
    label = config.pop("label", "")
    name = config.pop("name", "consensus")
    defence: Defence = registry.build("defence", name, config, model=model)
    purifier = config.get("purifier", "")
    return defence, label or f"{name} {purifier}".strip()


def _described(defence: Defence) -> Table:
    """A defence's settings; a purifier that is an object goes by its name."""
    settings = registry.describe(defence)
    return {key: getattr(value, "name", value) for key, value in settings.items()}
