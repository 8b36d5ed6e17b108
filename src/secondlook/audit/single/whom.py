"""Whom an attack is crafted on, whom it asks, and what it may want: by task and knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secondlook import registry
from secondlook.attacks.base import Attack
from secondlook.attacks.pairs import PairAttack
from secondlook.audit.single.lens import Lens
from secondlook.audit.single.subject import Subject
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model
from secondlook.threat import Knowledge


class Whom:
    """The models that attackers of a study have before them.

    Args:
        subject: the task.
        surrogates: those that a transfer is crafted on.
    """

    def __init__(self, subject: Subject[Any], surrogates: Sequence[Model]) -> None:
        self.subject, self.surrogates = subject, surrogates

    def aim(self, attack: Attack | PairAttack, objective: str) -> str:
        """What an attack climbs; the task's first aim where nothing is said.

        Raises:
            InvalidInput: the task has no such aim, or the attack has its own.
        """
        if isinstance(attack, PairAttack):
            if objective:
                raise InvalidInput(
                    f"objective = {objective!r} says nothing to an attack on pairs, which has its "
                    "own; take it away"
                )
            return ""
        aim, name = objective or self.subject.aims[0], registry.describe(attack)["name"]
        if aim not in self.subject.aims:
            raise InvalidInput(
                f"objective = {aim!r} is none of this task's; there is: "
                f"{', '.join(self.subject.aims)}"
            )
        if aim in self.subject.asking and not hasattr(attack, "queries"):
            raise InvalidInput(
                f"objective = {aim!r} asks the victim, and {name} asks nobody; take attackvlm, rgf "
                "or square"
            )
        return aim

    def crafted_on(
        self, lens: Lens, knowledge: Knowledge, attack: Attack | PairAttack, aim: str
    ) -> tuple[Lens, ...]:
        """Whose gradients an attacker of that knowledge has.

        Raises:
            InvalidInput: the aim is none of such an attacker, or no surrogate fits.
        """
        if aim in self.subject.carried and knowledge != "transfer":
            raise InvalidInput(
                f"objective = {aim!r} is crafted on a surrogate and shown to the victim; write "
                'knowledge = ["transfer"] under the attack'
            )
        if aim not in self.subject.asking and knowledge == "adaptive":
            return (lens,)
        if aim not in self.subject.asking and knowledge == "oblivious":
            return (self._bare(lens.model),)
        fit = [model for model in self.surrogates if self._fits(model, attack, aim)]
        if not fit:
            raise InvalidInput(
                f"{registry.describe(attack)['name']} cannot be crafted on any of surrogates = "
                f"{[model.name for model in self.surrogates]}; name an embedder, scenes:clip, for "
                "attacks on pairs and for what a surrogate shall see, else a model of the task"
            )
        return tuple(map(self._bare, fit))

    def asked(
        self, lens: Lens, knowledge: Knowledge, aim: str, victims: Sequence[Lens]
    ) -> Lens | None:
        """Whom an attack puts questions to: the bare model, or all of it where that is known.

        Raises:
            InvalidInput: it has no single surrogate to start from, or asks nobody knowingly.
        """
        if aim not in self.subject.asking:
            return None
        if knowledge == "oblivious" or len(victims) > 1:
            raise InvalidInput(
                f"objective = {aim!r} starts from one surrogate and asks the victim; name one in "
                'surrogates, and write knowledge = ["transfer"], or ["adaptive"] to ask the victim '
                "behind its defence"
            )
        return lens if knowledge == "adaptive" else self._bare(lens.model)

    def _fits(self, model: Model, attack: Attack | PairAttack, aim: str) -> bool:
        if isinstance(attack, PairAttack):
            return isinstance(model, Embedder)
        return self.subject.surrogate(model, aim)

    def _bare(self, model: Model) -> Lens:
        return Lens(model, Undefended(model=self.subject.wrapped(model)))
