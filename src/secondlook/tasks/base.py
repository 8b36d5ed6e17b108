"""What a task is: data with a truth, what an attacker wants of it, and how answers are scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Captions, Pairs, Touches
from secondlook.data.base import Listing
from secondlook.defenses.base import Defense, Gradient
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.randomness import Keys
from secondlook.schema import Metric, RiskCurve
from secondlook.signals import IMAGE, Signal
from secondlook.tasks.view import Example

Record = dict[str, Any]
SAMPLED = 8
"""Samples on which models are inspected, and attacks have to succeed without a bound."""


class Sampled(Protocol):
    """Settings that say how many samples are taken, and of what."""

    @property
    def data(self) -> str: ...
    @property
    def samples(self) -> int: ...


def how_many(settings: Sampled, held: int) -> int:
    """How many of the ``held`` samples of the data are taken; all where nobody asks for a number.

    Raises:
        InvalidInput: more are asked for than there are.
    """
    asked = settings.samples
    if asked > held and asked != registry.settings(type(settings))["samples"].default:
        raise InvalidInput(
            f"samples={asked} asks for more than the {held} of {settings.data}; write {held} or fewer, or 0 for all"
        )
    return min(asked or held, held)


class Batch(Protocol):
    """Some samples of a task."""

    @property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def pairs(self) -> Pairs: ...
    @property
    def keys(self) -> Keys: ...


@dataclass(frozen=True, kw_only=True)
class AttackOptions:
    """How an attacker optimizes against a guarded model.

    Attributes:
        objective: one of the task's.
        draws: fresh draws of a randomized victim in each step.
        gradient: through a transform, or past it.
        weight: of the hinge on a detector's suspicion.
        through: ``painting``, where the gradient goes through what a detector paints, too.
    """

    objective: str = ""
    draws: int = 1
    gradient: Gradient = "full"
    weight: float = 3.0
    through: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of a row.

    Attributes:
        metrics: by name.
        denominators: of metrics that are shares of something else than the samples.
        controls: the same metrics had nothing or everything been rejected, by control.
        risk: risk against coverage by suspicion.
    """

    metrics: dict[str, Metric]
    denominators: dict[str, int] = field(default_factory=dict)
    controls: dict[str, dict[str, Metric]] = field(default_factory=dict)
    risk: RiskCurve | None = None


class Stored(Protocol):
    """All samples of a task as one attack has left them."""

    @property
    def captions(self) -> Captions: ...

    def images(self, at: Sequence[int]) -> Tensor:
        """The images at some positions of the task, ``[B, 3, H, W]``."""
        ...


class Answered(NamedTuple):
    """All samples of a task as one guarded model has answered them.

    Attributes:
        answers: of each chunk, in order.
        stored: what the attack has made of them; None where nobody has attacked.
    """

    answers: Sequence[Any]
    stored: Stored | None


class Shown(NamedTuple):
    """A sample for the gallery.

    Attributes:
        at: its position in the task.
        given: the sample as the attacker has left it.
        stored: all samples as the attacker has left them; None where a task is not collective.
        before: its record in the clean row.
        after: its record in the attacked one.
        objective: what the attack optimized.
        variant: of the row.
        about: the fields that every :class:`~secondlook.tasks.view.Example` has.
    """

    at: int
    given: Pairs
    stored: Stored | None
    before: Record
    after: Record
    objective: str
    variant: str
    about: dict[str, str]


B = TypeVar("B", bound=Batch)
A = TypeVar("A")


class OpenTask(ABC, Generic[B, A]):
    """A task whose data is at hand; a registered task's ``open()`` makes it.

    A subclass says what is given (``batch``), who can be asked (``check``, ``guarded``), what an
    attacker optimizes (``objective``), what is answered (``answer``), and what that is worth
    (``records``, ``figures``). Everything else has a default.

    Attributes:
        modalities: which inputs attacks on pairs may change.
        rejectable: whether an answer can be held back, so that a detector may stand in front.
        signal: what an attacker changes: its range, and the steps of its files.
        collective: whether answers are scored all together, as a search is, and not one by one.
        queried: those objectives whose attacks also put queries to the victim.
        transferred: those that are optimized on a surrogate, and never on the victim.
        variants: what of one attack is scored side by side; its name is in the settings as
            ``variant``.
        variant: see ``variants``.
        default_attack: where a study names none.
        settings: the registered task.
        source: its data.
        rows: the chosen samples, as positions in the source.
        ids: their names.
        device: where its inputs are put.
    """

    modalities: ClassVar[tuple[Touches, ...]] = ("images",)
    rejectable: ClassVar[bool] = False
    signal: Signal = IMAGE
    collective: ClassVar[bool] = False
    queried: ClassVar[tuple[str, ...]] = ()
    transferred: ClassVar[tuple[str, ...]] = ()
    variant: ClassVar[str] = "variant"
    default_attack: ClassVar[str] = "pgd"

    settings: Any
    source: Listing
    rows: tuple[int, ...]
    ids: tuple[str, ...]
    device: torch.device = torch.device("cpu")

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"{registry.describe(self.settings)['name']} {self.settings.data}"

    @property
    @abstractmethod
    def objectives(self) -> tuple[str, ...]:
        """What an attack on images may optimize; the first where a study names none."""

    @property
    def aims(self) -> Mapping[str, tuple[str, ...]]:
        """For an objective others that an attacker who wants the same may reach more easily."""
        return {}

    @property
    def variants(self) -> tuple[str, ...]:
        """See the class."""
        return ("",)

    @property
    def stochastic(self) -> bool:
        """Whether two answers to one input may differ, whatever stands in front."""
        return False

    @property
    def chance(self) -> float | None:
        """The share of samples that guessing gets right; None where that is not known."""
        return None

    @property
    def identity(self) -> Record:
        """The settings that what is attacked depends on."""
        return registry.describe(self.settings)

    @abstractmethod
    def check(self, model: Model, name: str) -> None:
        """Refuses a model that cannot be asked.

        Raises:
            InvalidInput: it cannot; the message says what can.
        """

    def fits(self, model: Model, objective: str) -> bool:
        """Whether an attack with that objective can be made on a model other than the victim."""
        try:
            self.check(model, model.name)
        except InvalidInput:
            return False
        return True

    def uses(self, objective: str) -> tuple[Model, ...]:
        """The models beside victim and surrogates that the rows of an objective depend on."""
        return ()

    def prompted(self, model: Model, prompts: Sequence[str]) -> Iterator[Model]:
        """The model under each of a study's prompts.

        Raises:
            InvalidInput: the task has no prompts.
        """
        if prompts:
            raise InvalidInput("prompts are for names of classes; write what is asked under [task]")
        yield model

    def guarded(self, model: Model, defense: Defense) -> Guarded:
        """The model behind a defense, as this task asks it.

        The model is one of a study's, or that of a guarded model which this has made before.
        """
        return Guarded(model, defense)

    def batch_key(self, guarded: Guarded) -> Any:
        """Guarded models with the same key are given the same batches."""
        return guarded.size

    @abstractmethod
    def batch(self, at: Sequence[int], guarded: Guarded) -> B:
        """The samples at the positions ``at``, as they are given to a guarded model."""

    @abstractmethod
    def objective(self, batch: B, guarded: Guarded, options: AttackOptions) -> Objective:
        """What an attack on the images of a batch optimizes."""

    def query_objective(self, batch: B, surrogate: Model, guarded: Guarded, objective: str) -> Objective:
        """What an attack optimizes that puts queries to a victim."""
        raise NotImplementedError(f"{type(self).__name__} has no objective with queries")

    @abstractmethod
    def answer(self, batch: B, given: Pairs, guarded: Guarded, keys: Keys) -> A:
        """What a guarded model makes of ``given`` in place of the batch's own; it is counted."""

    @abstractmethod
    def records(self, batch: B, guarded: Guarded, answers: Sequence[A], objective: str) -> list[Record]:
        """A record for each sample, of the fresh ``answers`` to the same input.

        Each has ``outcome``, ``original_top1`` (the share of answers that are right), ``success``
        (the share that give the attacker what ``objective`` says), ``success_worst``, and whatever
        figures are made of.
        """

    def collected(
        self, guarded: Guarded, before: Answered, after: Answered, variant: str, shown: int
    ) -> tuple[list[Record], Record]:
        """The records of a row of a collective task, and lines for the ledger.

        Args:
            guarded: who answered.
            before: all clean samples.
            after: all of them as the row's attack has left them.
            variant: one of ``variants``.
            shown: samples of which the report shows examples.
        """
        raise NotImplementedError(f"{type(self).__name__} is scored sample by sample")

    def inspect(self, batch: B, guarded: Guarded) -> Record:
        """Asks about a few clean samples twice, and notes whether the answers agree.

        Raises:
            InvalidInput: the model cannot be asked.
        """
        first, second = (self.answer(batch, batch.pairs, guarded, batch.keys.fold("inspect", draw)) for draw in (0, 1))
        steady = self.stochastic or self.agree(batch, guarded, first, second)
        return {"n": len(batch.ids), "unsteady": not steady, "softmax": False}

    def agree(self, batch: B, guarded: Guarded, first: A, second: A) -> bool:
        """Whether two answers to the same inputs are the same."""
        one, other = (self.records(batch, guarded, [each], "") for each in (first, second))
        return [row["original_top1"] for row in one] == [row["original_top1"] for row in other]

    def reached(self, batch: B, given: Pairs, guarded: Guarded, objective: str) -> list[bool]:
        """On which of a few samples an attack that nothing holds back has succeeded."""
        answer = self.answer(batch, given, guarded, batch.keys.fold("p"))
        return [bool(row["success"]) for row in self.records(batch, guarded, [answer], objective)]

    def tried(self, variant: str) -> bool:
        """Whether what :meth:`reached` asks says anything of rows of a variant."""
        return True

    def held(self, rows: Sequence[Record]) -> frozenset[str] | None:
        """The samples on which a row has reached what :meth:`reached` asks; None: ``success``."""
        return None

    @abstractmethod
    def figures(self, rows: Sequence[Record], clean: Sequence[Record]) -> Figures:
        """The figures of a row's records, beside those of the same model's clean row."""

    @abstractmethod
    def goal(self, objective: str) -> str:
        """What reports call what the attacker wants."""

    def attributes(self) -> Mapping[str, Mapping[str, str]]:
        """What is known of the samples, by their names: the value of each attribute."""
        return {}

    def provenance(self) -> Record:
        """What the provenance of a result says of the task."""
        return {"caveat": self.source.provenance}

    @abstractmethod
    def example(self, guarded: Guarded, shown: Shown) -> Example | None:
        """A sample of the gallery; None where there is nothing to show of it."""


def mean_records(answers: Sequence[Sequence[Mapping[str, Any]]]) -> list[Record]:
    """One record a sample of several fresh answers: numbers as their means, the rest of the first.

    Beside the mean of ``success`` stands the worst of them. A suspicion is that of the first: a
    threshold is for one decision, and a mean of several would be another detector's.

    Example:
        >>> answers = [[{"text": "a", "success": 1.0}], [{"text": "b", "success": 0.0}]]
        >>> mean_records(answers)
        [{'text': 'a', 'success': 0.5, 'success_worst': 1.0}]
    """
    found = []
    for several in zip(*answers, strict=True):
        row = {
            key: sum(each[key] for each in several) / len(several)
            if isinstance(value, float) and key != "suspicion"
            else value
            for key, value in several[0].items()
        }
        found.append({**row, "success_worst": max(each["success"] for each in several)})
    return found


def finite(values: Tensor) -> list[float | int | None]:
    """Values of a tensor for JSON, which has neither NaN nor infinity: they become None."""
    listed = values.cpu().tolist()
    return [value if value - value == 0 else None for value in listed]
