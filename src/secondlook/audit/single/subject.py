"""What is special about a task: how a model is asked, what an attacker wants, and the figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch

from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Pairs, Touches
from secondlook.audit.exhibit import Shown
from secondlook.audit.schema import Metric
from secondlook.audit.single.lens import Lens
from secondlook.audit.store import Record
from secondlook.data.base import Listing
from secondlook.defenses.base import Gradient
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.randomness import Keys


class Questions(Protocol):
    """A batch of a task."""

    @property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def pairs(self) -> Pairs: ...
    @property
    def keys(self) -> Keys: ...


class Opened(Protocol):
    """A task whose images can be read."""

    device: torch.device
    rows: tuple[int, ...]
    ids: tuple[str, ...]

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> Listing: ...
    @property
    def task(self) -> Any: ...


class Wary(NamedTuple):
    """How an attacker goes about a detector.

    Attributes:
        aim: what is wanted beside.
        draws: fresh looks of a randomised detector in each step.
        weight: of the hinge on its suspicion.
        through: ``painting``, where the gradient is to go through what the detector paints.
    """

    aim: str
    draws: int
    weight: float
    through: str


B = TypeVar("B", bound=Questions)


class Subject(ABC, Generic[B]):
    """A task whose images are judged one by one; a room of the audit writes one.

    Attributes:
        aims: what an attack on images may climb; the first where the study names none.
        touches: which attacks on pairs make sense.
        asking: those of ``aims`` whose attacks also put questions to the victim.
        carried: those that are crafted on a surrogate, and never on the victim.
        watches: whether a detector may stand in front.
        task: the opened task.
    """

    aims: ClassVar[tuple[str, ...]]
    touches: ClassVar[tuple[Touches, ...]]
    asking: ClassVar[tuple[str, ...]] = ()
    carried: ClassVar[tuple[str, ...]] = ()
    watches: ClassVar[bool] = False
    task: Opened

    @property
    def stochastic(self) -> bool:
        """Whether two answers to one input may differ, whatever stands in front."""
        return False

    @abstractmethod
    def check(self, model: Model, name: str) -> None:
        """Refuses a model that cannot be asked.

        Raises:
            InvalidInput: it cannot; the message says what can.
        """

    def surrogate(self, model: Model, aim: str) -> bool:
        """Whether an attack with that aim can be crafted on a model other than the victim."""
        try:
            self.check(model, model.name)
        except InvalidInput:
            return False
        return True

    def attributes(self) -> Mapping[str, Mapping[str, str]]:
        """What is known of the samples, by their names: the value of each attribute."""
        return {}

    def uses(self, aim: str) -> tuple[Model, ...]:
        """The models beside victim and surrogates that the rows of an aim depend on.

        Raises:
            InvalidInput: one of them cannot be had.
        """
        return ()

    def looked_at(self, lens: Lens) -> Record:
        """What the ledger notes of a lens beside its steadiness."""
        return {}

    @abstractmethod
    def wrapped(self, model: Model) -> Classifier:
        """The model as what a defence takes."""

    @abstractmethod
    def batch(self, at: Sequence[int], size: tuple[int, int] | None) -> B:
        """The samples at the positions ``at`` of the task."""

    @abstractmethod
    def objective(self, batch: B, model: Model, aim: str) -> Objective:
        """What an attack on the images of a batch climbs; ``aim`` is one of ``aims``."""

    def relayed(self, batch: B, surrogate: Model, asked: Lens, aim: str) -> Objective:
        """What an attack climbs that puts questions to a victim; ``aim`` is one of ``asking``."""
        raise NotImplementedError(f"{type(self).__name__} has no aim that asks")

    def knowing(self, wish: Objective, batch: B, lens: Lens, manner: Wary) -> Objective:
        """The wish of an attacker who knows the detector of a lens; where one ``watches``."""
        raise NotImplementedError(f"{type(self).__name__} takes no detector")

    @abstractmethod
    def embedder(self, lens: Lens, draws: int, gradient: Gradient) -> Embedder:
        """Whom an attack on pairs climbs.

        Raises:
            InvalidInput: the model embeds nothing.
        """

    @abstractmethod
    def ask(self, batch: B, given: Pairs, lens: Lens, keys: Keys, aim: str) -> list[Record]:
        """What the model makes of ``given`` in place of the batch's own: a record a sample.

        Each has ``outcome``, ``original_top1`` (whether it is right) and ``reached`` (whether the
        attacker has what ``aim`` says), and whatever figures are made of.
        """

    @abstractmethod
    def figures(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
        """The figures of a row of the matrix, beside ``original_top1`` and ``reached``."""

    @abstractmethod
    def goal(self, aim: str) -> str:
        """What reports call what the attacker wants."""

    @abstractmethod
    def told(self) -> Record:
        """What the provenance says of the task."""

    @abstractmethod
    def exhibit(
        self, at: int, lens: Lens, given: Pairs, rows: tuple[Record, Record], about: Record
    ) -> Shown:
        """A sample of the gallery.

        Args:
            at: its position.
            lens: who is asked.
            given: the sample as the attacker has left it.
            rows: its records, clean and attacked.
            about: attack, defence and the like, for the heading.
        """
