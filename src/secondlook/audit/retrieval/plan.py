"""From a study of retrieval to its matrix: told apart by hash, crafted once where alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from secondlook import registry
from secondlook.attacks.pairs import PairAttack
from secondlook.audit.defended import defended, described
from secondlook.audit.opening import opened
from secondlook.audit.retrieval.matrix import PairForge, SearchCell, SearchPlan
from secondlook.audit.retrieval.reading import check_readable
from secondlook.audit.retrieval.seen import Seen, Sight, Through
from secondlook.audit.roster import Roster
from secondlook.audit.study import Study
from secondlook.audit.tables import Manner, Table, manner, sweep
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.matcher import Matcher
from secondlook.tasks.retrieval import OpenRetrieval, Setting
from secondlook.threat import Knowledge, Threat


def plan(study: Study, device: torch.device | None = None) -> SearchPlan:
    """Builds models, defences and attacks of a study of retrieval, for a device.

    Raises:
        UnknownName, InvalidInput: something in the study names nothing, or does not fit.
    """
    return _Planner(study, opened(study, device)).plan()


class _Planner:
    """Holds what all rows of a plan share while they are made."""

    def __init__(self, study: Study, task: OpenRetrieval) -> None:
        self.study, self.task = study, task
        self._roster = Roster(task.device)
        self.surrogates = tuple(self._load(name) for name in study.surrogates)
        self.probes: dict[str, PairForge] = {}
        if study.prompts:
            raise InvalidInput("prompts are for names of classes; captions are read as they are")
        if "transfer" in study.known and not study.surrogates:
            raise InvalidInput("knowledge 'transfer' needs surrogates = [\"scenes:clip-vit\"], say")

    def plan(self) -> SearchPlan:
        """All rows, each once."""
        cells: dict[str, SearchCell] = {}
        for name in self.study.models:
            for cell in self._cells(self._load(name)):
                cells.setdefault(cell.id, cell)
        return SearchPlan(
            study=self.study, task=self.task, cells=list(cells.values()), probes=self.probes,
            hashes=self._roster.hashes,
        )  # fmt: skip

    def _load(self, name: str) -> Embedder:
        made = self._roster.load(name)
        if not isinstance(made, Embedder):
            raise InvalidInput(f"{name} embeds no texts, and a search needs both; try scenes:clip")
        if self.task.task.rerank and not isinstance(made, Matcher):
            raise InvalidInput(f"rerank={self.task.task.rerank}: {name} matches no pairs; write 0")
        check_readable(made, self.task.ids, self.task.captions)
        self._roster.hash(made)
        return made

    def _cells(self, model: Embedder) -> Iterator[SearchCell]:
        for table in (table for given in self.study.defences for table in sweep(given)):
            defence, label = defended(table, Sight(model))
            seen = Seen(model, defence)
            for part in defence.parts:
                part.to(self.task.device)
            for known in self.study.known:
                yield from self._rows(seen, label, known)

    def _rows(self, seen: Seen, label: str, knowledge: Knowledge) -> Iterator[SearchCell]:
        if knowledge == "clean":
            yield self._cell(seen, label, "clean", "both", None, None)
            return
        bare = isinstance(seen.defence, Undefended)
        # There is nothing to know of a model that nothing defends: who has it, has all of it.
        alike = bare and knowledge == "oblivious" and "adaptive" in self.study.known
        for given in self.study.crafting(knowledge, bare):
            for table in sweep(given):
                for eps in self.study.threat.eps:
                    threat = Threat(norm=self.study.threat.norm, eps=eps)
                    forge = self._forge(seen, knowledge, table, threat)
                    for setting in self.task.task.attacked:
                        named: Knowledge = "adaptive" if alike else knowledge
                        yield self._cell(seen, label, named, setting, threat, forge)

    def _cell(
        self, seen: Seen, label: str, knowledge: Knowledge, setting: Setting,
        threat: Threat | None, forge: PairForge | None,
    ) -> SearchCell:  # fmt: skip
        settings = described(seen.defence)
        identity = [
            self._data(), settings, knowledge, setting, str(threat),
            self._roster.fingerprint(seen.defence), forge.id if forge else None, self.study.batch,
        ]  # fmt: skip
        return SearchCell(
            id=registry.digest(identity), seen=seen, label=label, knowledge=knowledge,
            threat=threat, forge=forge, setting=setting, settings=settings,
        )  # fmt: skip

    def _forge(self, seen: Seen, knowledge: Knowledge, table: Table, threat: Threat) -> PairForge:
        config = dict(table)
        given = {key: config.pop(key) for key in Manner.model_fields if key in config}
        if unfit := [key for key in given if key not in ("draws", "gradient")]:
            raise InvalidInput(f"{unfit[0]} says nothing to an attack on searches; take it away")
        how = manner(given, f"study {self.study.name}")
        name = config.pop("name", "sga")
        attack: PairAttack = registry.build("pair attack", name, config)
        victims = self._victims(seen, knowledge, how)
        settings = {
            **registry.describe(attack), "draws": how.draws, "gradient": how.gradient,
        }  # fmt: skip
        moved = attack.touches != "captions"
        identity = [
            settings, str(threat) if moved else None, self.study.seed, self.study.batch,
            self._data(), seen.size, [self._climbed(victim) for victim in victims],
        ]  # fmt: skip
        forge = PairForge(
            id=registry.digest(identity), attack=attack, threat=threat, victims=victims,
            size=seen.size, settings=settings,
        )  # fmt: skip
        if moved and knowledge == "adaptive":
            self._probe(forge, identity)
        return forge

    def _probe(self, forge: PairForge, identity: list[Any]) -> None:
        """The same attack with nothing to hold it back: it has to succeed."""
        name = registry.digest(["probe", *identity[:1], *identity[2:]])
        self.probes[forge.id] = replace(forge, id=name, threat=Threat(norm="linf", eps=1.0))

    def _victims(self, seen: Seen, knowledge: Knowledge, how: Manner) -> tuple[Embedder, ...]:
        """Whom an attacker of that knowledge crafts on."""
        if knowledge == "transfer":
            return self.surrogates
        if knowledge == "oblivious":
            return (seen.embedder,)
        return (seen.victim(how.draws, how.gradient),)

    def _data(self) -> list[Any]:
        """What is searched; which side of it is attacked is not part of it."""
        given = registry.describe(self.task.task)
        return [self.task.source.hash, {k: v for k, v in given.items() if k != "attacked"}]

    def _climbed(self, victim: Embedder) -> list[Any]:
        """All that an attack on ``victim`` depends on."""
        own = [victim.name, self._roster.hash(victim)]
        if not isinstance(victim, Through):
            return own
        return [*own, self._roster.fingerprint(victim.defence)]
