"""From a study to its matrix of rows: models, defenses and attacks, identified by hash."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from secondlook import registry
from secondlook.attacks.base import Attack
from secondlook.attacks.pairs import PairAttack
from secondlook.attacks.synthesis import Synthesis
from secondlook.audit.claims import card_of, read_card
from secondlook.audit.study import Study, Table, Whole, believing_sweep, checked, sweep
from secondlook.defenses.base import Defense
from secondlook.defenses.calibration import refuse_evaluated
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder, Model, Purifier
from secondlook.models.families.python import imported
from secondlook.schema import ClaimCard
from secondlook.tasks.base import AttackOptions, OpenTask
from secondlook.threat import Knowledge, Threat


class AttackerTable(BaseModel):
    """What a study says of an attacker beside the settings of the attack."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: Whole = Field(1, ge=1)
    """Fresh draws of a randomized victim in each step."""
    gradient: Literal["full", "bpda"] = "full"
    """Through a transform, or past it."""
    objective: str = ""
    """What an attack on images optimizes; empty takes the task's first."""
    weight: float = Field(3.0, ge=0, allow_inf_nan=False)
    """Of the hinge on the suspicion, for who knows the detector."""
    through: Literal["", "painting"] = ""
    """Whether the gradient goes through what the detector paints, too."""
    instead: Table = {}
    """Settings of the defense as an adaptive attacker believes them, where they are others."""
    surrogates: str = ""
    """Those of the study's that the attack is made on, with commas between; empty takes all."""


DIAGNOSED_STEPS: Final = 10
"""Of each manner of a diagnosis, at most: the study's own attack has more."""
DIAGNOSED_QUERIES: Final = 100
"""Of a diagnosis in the full budget."""
ASKED: Final[tuple[Knowledge, ...]] = ("black-box", "adaptive")
"""Attackers who have the defended model before them, its scores alone or all of it."""
_EVASION = ("weight", "through")
"""What only who knows a detector needs."""


@dataclass(frozen=True, kw_only=True)
class AttackSpec:
    """One way to generate adversarial samples; rows whose attack is the same share it.

    Attributes:
        id: hash of all that they depend on.
        attack: the optimizer, of images alone or of images with their texts.
        threat: what may be done to an image.
        victims: whom it is optimized against; several make an ensemble.
        queried: whom it may put queries to beside.
        options: how it optimizes.
        batch_key: of the batches that it is given.
        settings: all of that as plain values, for the record.
    """

    id: str
    attack: Attack | PairAttack
    threat: Threat
    victims: tuple[Guarded, ...]
    queried: Guarded | None
    options: AttackOptions
    batch_key: Any
    settings: Table


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """What is tried of a guarded model to say whether it hides its gradient.

    Attributes:
        id: hash of all that it depends on.
        guarded: the model behind its defense.
        attack: the manners, their steps and looks.
        threat: what may be done to an image.
        options: what is wanted.
    """

    id: str
    guarded: Guarded
    attack: Synthesis
    threat: Threat
    options: AttackOptions


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the matrix.

    Attributes:
        id: hash of all that its records depend on.
        guarded: the model behind its defense.
        label: how reports call the defense.
        knowledge: what the attacker knows.
        threat: the attacker's budget; None for clean rows.
        spec: how the inputs were attacked; None for clean ones.
        variant: which of the task's variants is scored.
        settings: the defense's, as plain values.
        control: whether it is there for defenses to be read beside, and no defense itself.
        card: what was published of the defense, where the study asks for it.
    """

    id: str
    guarded: Guarded
    label: str
    knowledge: Knowledge
    threat: Threat | None
    spec: AttackSpec | None
    variant: str
    settings: Table
    control: bool = False
    card: ClaimCard | None = None

    @property
    def objective(self) -> str:
        """What the attack optimizes; empty where there is none, or it has its own."""
        return self.spec.options.objective if self.spec else ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a run will do.

    Attributes:
        study: the config.
        task: the opened task.
        rows: the matrix, one model after the other.
        sanity: for the id of an adaptive attack its twin with nothing to hold it back.
        aims: for the id of an adaptive attack the same attack with another aim, by what is other;
            it is tried on a few samples, and must not do better.
        diagnoses: for the id of an adaptive attack what each manner of attacking its defense is
            tried with by itself; attacks that differ in no more than their optimizer share it.
        hashes: of the models, by name.
    """

    study: Study
    task: OpenTask[Any, Any]
    rows: list[Row]
    sanity: dict[str, AttackSpec]
    aims: dict[str, dict[str, AttackSpec]]
    diagnoses: dict[str, Diagnosed]
    hashes: dict[str, str]

    @property
    def specs(self) -> list[AttackSpec]:
        """What has to be generated, each once."""
        return list({row.spec.id: row.spec for row in self.rows if row.spec}.values())

    def clean(self, row: Row) -> Row:
        """The row of the same model and defense that nobody attacks."""
        return next(each for each in self.rows if each.guarded is row.guarded and each.knowledge == "clean")


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``: a range of the samples, all ranges being of one length, but for one.

    Raises:
        InvalidInput: an index outside 1 to ``count``.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InvalidInput(f"shard {self.index}/{self.count}; write 1/4 to 4/4 for four parts")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads ``2/4``.

        Raises:
            InvalidInput: it is not of that form.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise InvalidInput(f"shard {text!r}; write i/n, as in 2/4")
        return cls(int(index), int(count))


@dataclass(frozen=True)
class Chunk:
    """A fixed part of the samples, attacked and answered together.

    Attributes:
        number: its place among all chunks.
        at: positions of its samples in the task.
        shard: the index of the shard whose range it is in.
    """

    number: int
    at: tuple[int, ...]
    shard: int = 1


def partition(samples: int, size: int, parts: int) -> list[Chunk]:
    """All chunks of samples that are computed in so many ranges; no chunk is in two of them.

    Raises:
        InvalidInput: there are more ranges than samples.

    Example:
        >>> [chunk.at for chunk in partition(7, 2, 2)]
        [(0, 1), (2,), (3, 4), (5, 6)]
    """
    if parts > max(samples, 1):
        raise InvalidInput(f"{parts} shards of {samples} sample(s) leave some without any; write i/{samples} at most")
    bounds = [samples * part // parts for part in range(parts + 1)]
    ranges = [
        (range(start, min(start + size, end)), part)
        for part, (first, end) in enumerate(itertools.pairwise(bounds), start=1)
        for start in range(first, end, size)
    ]
    return [Chunk(number, tuple(at), part) for number, (at, part) in enumerate(ranges)]


def chunks(samples: int, size: int, shard: Shard) -> list[Chunk]:
    """The chunks of a shard; they are the same however often a run is killed.

    Raises:
        InvalidInput: as :func:`partition`.
    """
    return [chunk for chunk in partition(samples, size, shard.count) if chunk.shard == shard.index]


def opened(study: Study, device: torch.device | None) -> OpenTask[Any, Any]:
    """The task of a study, its data found on disk, for a device; the CPU where none is given.

    Raises:
        UnknownName, InvalidInput: a plugin, the task or its data name nothing, or do not fit.
    """
    for plugin in study.plugins:
        imported(f"plugins: {plugin!r}", plugin)
    config = dict(study.task)
    config.setdefault("seed", study.seed)
    try:
        task = registry.build("task", config.pop("name", "zeroshot"), config).open()
    except UnicodeEncodeError as error:
        raise _unwritable("name or text", error.object) from None
    if not isinstance(task, OpenTask):
        raise InvalidInput(
            f"task {study.task.get('name')!r}: open() gives a {type(task).__name__}; it must give an OpenTask"
        )
    _check_texts(task)
    task.device = device or torch.device("cpu")
    return task


def _check_texts(task: OpenTask[Any, Any]) -> None:
    """Refuses texts now that no file of results could hold in the end.

    Raises:
        InvalidInput: one has half of a surrogate pair in it; so Python reads a file name that is no UTF-8.
    """
    texts = [("name", name) for name in task.ids]
    texts += [("caption", text) for some in getattr(task, "captions", ()) for text in some]
    texts += [("text", query.text) for query in getattr(task, "queries", ())]
    for kind, text in texts:
        if not text.isascii() and text != text.encode("utf-8", "replace").decode():
            raise _unwritable(kind, text)


def _unwritable(kind: str, text: str) -> InvalidInput:
    return InvalidInput(
        f"{kind} {text!r} is no Unicode text, and no result could name it; write it, or its file's name, in UTF-8"
    )


def plan(study: Study, device: torch.device | None = None) -> Plan:
    """Builds models, defenses and attacks of a study, for a device; the CPU where none is given.

    Raises:
        UnknownName, InvalidInput: something in the study names nothing, or does not fit.
    """
    return _Planner(study, opened(study, device)).plan()


class _Planner:
    """Holds what all rows of a plan share while they are made."""

    def __init__(self, study: Study, task: OpenTask[Any, Any]) -> None:
        self.study, self.task = study, task
        self.models = ModelCache(task.device)
        self.sanity: dict[str, AttackSpec] = {}
        self.aims: dict[str, dict[str, AttackSpec]] = {}
        self.diagnoses: dict[str, Diagnosed] = {}
        self.surrogates = {name: self._load(name) for name in study.surrogates}
        if "transfer" in study.known and not study.surrogates:
            raise InvalidInput("knowledge 'transfer' needs surrogates = [\"scenes:clip-vit\"], say")

    def plan(self) -> Plan:
        """All rows, each once."""
        rows: dict[str, Row] = {}
        for name in self.study.models:
            for model in self._asked(name):
                for row in (*self._rows(model, name), *self._controls(model)):
                    rows.setdefault(row.id, row)
        for name in dict.fromkeys(table["model"] for table in self.study.controls if "model" in table):
            for model in self._asked(name):
                for row in self._controls(model, name):
                    rows.setdefault(row.id, row)
        return Plan(
            study=self.study,
            task=self.task,
            rows=list(rows.values()),
            sanity=self.sanity,
            aims=self.aims,
            diagnoses=self.diagnoses,
            hashes=self.models.hashes,
        )

    def _asked(self, name: str) -> Iterator[Model]:
        """The model as the task asks it, under each prompt."""
        made = self._load(name)
        self.task.check(made, name)
        yield from self.task.prompted(made, self.study.prompts)

    def _load(self, name: str) -> Model:
        made = self.models.load(name)
        self.models.hash(made)
        return made

    def _rows(self, model: Model, name: str) -> Iterator[Row]:
        """Those of every defense in front of a model, but for defenses that are for other models."""
        for given in (table for table in self.study.defenses if name in table.get("models", [name])):
            table = {key: value for key, value in given.items() if key != "models"}
            for row in self._of(table, model, self.study.known):
                yield replace(row, card=self._card(table, row))

    def _card(self, given: Table, row: Row) -> ClaimCard | None:
        """The card that a defense's table names, or else, where the study wants claims, that of its name."""
        if "claim" in given:
            if not isinstance(given["claim"], str):
                raise InvalidInput(f'claim = {given["claim"]!r} is no path; name one card, claim = "mine.toml"')
            return read_card(given["claim"])
        return card_of(row.settings["name"]) if self.study.claims else None

    def _controls(self, model: Model, name: str = "") -> Iterator[Row]:
        """The controls in front of one of ``models``, or those that name another model."""
        for given in (table for table in self.study.controls if table.get("model", "") == name):
            table = {key: value for key, value in given.items() if key not in ("model", "knowledge")}
            wanted = given.get("knowledge", self.study.known)
            for row in self._of(table, model, [known for known in self.study.known if known in wanted]):
                yield replace(row, label=f"control: {row.label}", control=True)

    def _of(self, given: Table, model: Model, known: Sequence[Knowledge]) -> Iterator[Row]:
        """The rows of a defense's table, which may be a sweep, in front of a model."""
        for table in sweep(given):
            guarded, label = self._guarded(table, model)
            if guarded.calibration is not None:
                refuse_evaluated(guarded.calibration, self.task.source)
            yield self._row(guarded, label, "clean", None, None, "")
            for each in known:
                if each != "clean":
                    yield from self._attacked(guarded, table, label, each)

    def _guarded(self, table: Table, model: Model) -> tuple[Guarded, str]:
        """The model behind the defense of a table, all of it on the device, and its label."""
        config = dict(table)
        config.pop("claim", "")
        label = config.pop("label", "")
        name = config.pop("name", "stack" if "stack" in config else "consensus")
        defense: Defense = registry.build("defense", name, config)
        guarded = self.task.guarded(model, defense)
        if guarded.detector is not None and not self.task.rejectable:
            raise InvalidInput(
                f"{name} detects, and {self.task.name} has no answers to hold back; take "
                "undefended, jpeg, noise or consensus"
            )
        guarded.to(self.task.device)
        return guarded, label or f"{name} {defense.variant}".strip()

    def _attacked(self, guarded: Guarded, own: Table, label: str, knowledge: Knowledge) -> Iterator[Row]:
        bare = guarded.bare
        # There is nothing to know of a model that nothing defends: who has it, has all of it.
        alike = bare and knowledge == "oblivious" and "adaptive" in self.study.known
        named: Knowledge = "adaptive" if alike else knowledge
        for given in self.study.attack_tables(knowledge, bare):
            for table in believing_sweep(given, believing=knowledge == "adaptive" and not bare):
                if knowledge == "transfer" and self._crossed(guarded.model, table):
                    continue
                for eps in self.study.threat.eps:
                    threat = Threat(
                        norm=self.study.threat.norm, eps=eps, grid=self.task.signal.grid, signal=self.task.signal
                    )
                    spec = self._spec(guarded, own, named, table, threat)
                    for variant in self.task.variants:
                        yield self._row(guarded, label, named, threat, spec, variant)

    def _crossed(self, victim: Model, table: Table) -> bool:
        """Whether a study of several models, each shown what is made on each, has come to a victim's own.

        What is made on a victim itself is its oblivious row.
        """
        named = table.get("surrogates", "")
        if len(self.study.models) < 2 or not isinstance(named, str) or named.strip() not in self.surrogates:
            return False
        return self.models.hash(self.surrogates[named.strip()]) == self.models.hash(victim)

    def _row(
        self,
        guarded: Guarded,
        label: str,
        knowledge: Knowledge,
        threat: Threat | None,
        spec: AttackSpec | None,
        variant: str,
    ) -> Row:
        settings = described(guarded.defense)
        identity = [
            self._data(),
            registry.describe(self.task.settings),
            settings,
            knowledge,
            variant,
            str(threat),
            self.models.fingerprint(guarded),
            spec.id if spec else None,
            self.study.batch,
            self.study.rescore,
            *[self.models.hash(model) for model in self.task.uses("")],
            *([self.study.resubmitted] if self.study.resubmitted else []),
            *([f"certified {self.study.certified}"] if self.study.certified else []),
        ]
        return Row(
            id=registry.digest(identity),
            guarded=guarded,
            label=label,
            knowledge=knowledge,
            threat=threat,
            spec=spec,
            variant=variant,
            settings=settings,
        )

    def _spec(self, guarded: Guarded, own: Table, knowledge: Knowledge, table: Table, threat: Threat) -> AttackSpec:
        config = dict(table)
        given = {key: config.pop(key) for key in AttackerTable.model_fields if key in config}
        says = checked(AttackerTable, given, f"study {self.study.name}")
        attack = self._attack(config)
        objective = self._objective(attack, says.objective)
        asks = (isinstance(attack, Attack) and attack.transfers) or objective in self.task.queried
        victims = self._victims(guarded, own, knowledge, attack, objective, says, asks)
        queried = self._queried(guarded, knowledge, attack, objective, victims) if asks else None
        evades = knowledge in ASKED and victims[0].rejects and queried is None
        options = AttackOptions(
            objective=objective, draws=says.draws, gradient=says.gradient, weight=says.weight, through=says.through
        )
        key = self.task.batch_key(guarded)
        settings = {
            **registry.describe(attack),
            "draws": says.draws,
            "gradient": says.gradient,
            **({"objective": objective} if objective else {}),
            **({name: getattr(says, name) for name in _EVASION} if evades else {}),
            **({"instead": says.instead} if says.instead else {}),
        }
        moved = not isinstance(attack, PairAttack) or attack.touches != "captions"
        identity = [
            settings,
            str(threat) if moved else None,
            self.study.seed,
            self.study.batch,
            self._data(),
            key,
            [self._optimized(victim) for victim in victims],
            *[self.models.hash(model) for model in self.task.uses(objective)],
            *([self._optimized(queried)] if queried else []),
        ]
        spec = AttackSpec(
            id=registry.digest(identity),
            attack=attack,
            threat=threat,
            victims=victims,
            queried=queried,
            options=options,
            batch_key=key,
            settings=settings,
        )
        if moved and knowledge == "adaptive" and queried is None:
            self._add_sanity(spec, identity)
            self._add_aims(spec, guarded, identity)
            self._add_diagnosis(spec, guarded)
        return spec

    def _attack(self, config: Table) -> Attack | PairAttack:
        """An attack on images, or one on pairs that changes what the task reads."""
        name = config.pop("name", self.task.default_attack)
        if name not in registry.names("pair attack"):
            attack: Attack = registry.build("attack", name, config)
            return attack
        made: PairAttack = registry.build("pair attack", name, config)
        if made.touches not in self.task.modalities:
            raise InvalidInput(
                f"{name} changes {made.touches} alone, and {self.task.name} reads none; "
                "attack its images: pgd, apgd, sga"
            )
        return made

    def _objective(self, attack: Attack | PairAttack, named: str) -> str:
        """What an attack optimizes; the task's first objective where nothing is said."""
        if isinstance(attack, PairAttack):
            if named:
                raise InvalidInput(
                    f"objective = {named!r} says nothing to an attack on pairs, which has its own; take it away"
                )
            return ""
        known, name = self.task.objectives, registry.describe(attack)["name"]
        if not known:
            raise InvalidInput(
                f"{name} attacks images alone, and {self.task.name} is attacked by attacks on "
                "images with their captions; take sga, co-attack, sep-attack or bert-attack"
            )
        objective = named or known[0]
        if objective not in known:
            raise InvalidInput(f"objective = {objective!r} is none of this task's; there is: {', '.join(known)}")
        if objective in self.task.queried and not hasattr(attack, "queries"):
            raise InvalidInput(
                f"objective = {objective!r} queries the victim, and {name} queries nobody; take "
                "attackvlm, rgf or square"
            )
        return objective

    def _victims(
        self,
        guarded: Guarded,
        own: Table,
        knowledge: Knowledge,
        attack: Attack | PairAttack,
        objective: str,
        says: AttackerTable,
        asks: bool,
    ) -> tuple[Guarded, ...]:
        """Whose gradients an attacker has; one may believe in another defense."""
        if objective in self.task.transferred and knowledge != "transfer":
            raise InvalidInput(
                f"objective = {objective!r} is made on a surrogate and shown to the victim; write "
                'knowledge = ["transfer"] under the attack'
            )
        if knowledge == "black-box" and not asks and not getattr(attack, "only_asks", False):
            raise InvalidInput(
                f"{registry.describe(attack)['name']} takes gradients, and a black-box attacker has none; take square, "
                "rgf, or hybrid with surrogates"
            )
        if not asks:
            if knowledge == "oblivious" or (guarded.bare and knowledge != "transfer"):
                return (self._bare(guarded.model),)
            if knowledge in ASKED:
                instead = says.instead
                return (self._guarded({**own, **instead}, guarded.model)[0],) if instead else (guarded,)
        chosen = self._chosen(says.surrogates)
        fit = [model for model in chosen if self._fits(model, attack, objective)]
        if not fit:
            raise InvalidInput(
                f"{registry.describe(attack)['name']} cannot be made on any of surrogates = "
                f"{[model.name for model in chosen]}; name an embedder, scenes:clip, for "
                "attacks on pairs and for what a surrogate shall see, else a model of the task"
            )
        # A victim is no surrogate of itself where there is another.
        victim = self.models.hash(guarded.model)
        return tuple(map(self._bare, [model for model in fit if self.models.hash(model) != victim] or fit))

    def _chosen(self, named: str) -> list[Model]:
        """The surrogates that an attack names; all of the study's where it names none."""
        wanted = [name.strip() for name in named.split(",")] if named else list(self.surrogates)
        unknown = [name for name in wanted if name not in self.surrogates]
        if unknown:
            raise InvalidInput(
                f"surrogates = {named!r} of an attack names {unknown[0]!r}, which is none of the study's: "
                f"{', '.join(self.surrogates) or 'it has none'}"
            )
        return [self.surrogates[name] for name in wanted]

    def _queried(
        self,
        guarded: Guarded,
        knowledge: Knowledge,
        attack: Attack | PairAttack,
        objective: str,
        victims: Sequence[Guarded],
    ) -> Guarded | None:
        """Whom an attack puts queries to: the bare model, or all of it where that is known."""
        if knowledge == "oblivious" or (len(victims) > 1 and objective in self.task.queried):
            what = f"objective = {objective!r}" if objective in self.task.queried else registry.describe(attack)["name"]
            raise InvalidInput(
                f"{what} starts from one surrogate and queries the victim; name "
                'one in surrogates, and write knowledge = ["transfer"], or ["black-box"] to query '
                "the victim behind its defense"
            )
        return guarded if knowledge in ASKED else self._bare(guarded.model)

    def _fits(self, model: Model, attack: Attack | PairAttack, objective: str) -> bool:
        if isinstance(attack, PairAttack):
            return isinstance(model, Embedder)
        return self.task.fits(model, objective)

    def _bare(self, model: Model) -> Guarded:
        return self.task.guarded(model, Undefended())

    def _add_sanity(self, spec: AttackSpec, identity: list[Any]) -> None:
        """The same attack with nothing to hold it back: it has to succeed."""
        name = registry.digest(["sanity", *identity[:1], *identity[2:]])
        attack = spec.attack
        free = attack if isinstance(attack, PairAttack) else attack.unbounded()
        threat = Threat(norm="linf", eps=1.0, grid=self.task.signal.grid, signal=self.task.signal)
        self.sanity[spec.id] = replace(spec, id=name, attack=free, threat=threat)

    def _add_aims(self, spec: AttackSpec, guarded: Guarded, identity: list[Any]) -> None:
        """The same attack at the aims that may be easier, as far as no row of the study has them."""
        if guarded.bare or isinstance(spec.attack, PairAttack):
            return
        tables = self.study.attack_tables("adaptive", bare=False)
        tried = {one.get("objective") for table in tables for one in sweep({**table, "instead": {}})}
        found = {}
        for other in self.task.aims.get(spec.options.objective, ()):
            if other not in tried:
                found[other] = replace(spec, options=replace(spec.options, objective=other))
        if "oblivious" not in self.study.known and not spec.attack.replays_bare:
            found["bare replay"] = replace(spec, victims=(self._bare(guarded.model),))
        self.aims[spec.id] = {
            name: replace(aim, id=registry.digest(["aim", name, *identity])) for name, aim in found.items()
        }

    def _add_diagnosis(self, spec: AttackSpec, guarded: Guarded) -> None:
        """Each manner by itself, with no more steps than the attack has; nothing hides a bare model's gradient."""
        if guarded.bare or isinstance(spec.attack, PairAttack) or not self.study.diagnosed:
            return
        full = isinstance(spec.attack, Synthesis) and spec.attack.budget == "full"
        steps = min(getattr(spec.attack, "steps", DIAGNOSED_STEPS), DIAGNOSED_STEPS)
        attack = Synthesis(steps=steps, budget="full" if full else "cheap", queries=DIAGNOSED_QUERIES)
        options = replace(spec.options, gradient="full")
        identity = [
            "diagnosis",
            registry.describe(attack),
            asdict(options),
            str(spec.threat),
            self.study.seed,
            self.study.diagnosed,
            self._data(),
            spec.batch_key,
            self.models.fingerprint(guarded),
            *[self.models.hash(model) for model in self.task.uses(options.objective)],
        ]
        self.diagnoses[spec.id] = Diagnosed(
            id=registry.digest(identity), guarded=guarded, attack=attack, threat=spec.threat, options=options
        )

    def _data(self) -> list[Any]:
        return [self.task.source.hash, self.task.identity]

    def _optimized(self, guarded: Guarded) -> list[Any]:
        """All that an attack on a guarded model depends on."""
        return self.models.fingerprint(guarded, guarded.defense.unseen)


class ModelCache:
    """The models of a study: loaded by name for one device.

    Args:
        device: where their networks go.

    Attributes:
        hashes: of the models that were asked for theirs, by name.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.hashes: dict[str, str] = {}
        self._owners: dict[str, str] = {}

    def load(self, name: str) -> Model:
        """The model ``name``.

        Raises:
            UnknownName, InvalidInput: there is no such model, or another one calls itself the same.
        """
        made: Model = load(name)
        made.to(self.device)
        owner = self._owners.setdefault(made.name, name)
        if owner != name:
            raise InvalidInput(f"{owner} and {name} both call themselves {made.name!r}; give each its own name")
        return made

    def hash(self, model: Model) -> str:
        """The model's hash, computed once for each name."""
        if model.name not in self.hashes:
            self.hashes[model.name] = model.hash
        return self.hashes[model.name]

    def fingerprint(self, guarded: Guarded, without: frozenset[str] = frozenset()) -> list[Any]:
        """All that a guarded model's answers depend on, but for some of its settings."""
        given = described(guarded.defense)
        settings = {key: value for key, value in given.items() if key not in without}
        parts = [[part.name, self.hash(part)] for part in guarded.parts]
        knobs = [part.settings for part in guarded.parts if isinstance(part, Purifier)]
        held_out = guarded.calibration.hash if guarded.calibration is not None else ""
        return [settings, parts, knobs, held_out]


def described(defense: Defense) -> Table:
    """A defense's settings; a model that is an object goes by its name."""
    settings = registry.describe(defense)
    return {key: getattr(value, "name", value) for key, value in settings.items()}
