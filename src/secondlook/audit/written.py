"""What the files of a run hold, by type: whoever wrote them, what does not fit is refused before it is used."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Written(BaseModel):
    """Types are those of JSON, and nothing is turned into another; more than is named may be there."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)


class Head(Written):
    """``run.json``: what made the run."""

    version: str
    config_hash: str
    shard: str
    parts: int = Field(1, ge=1)
    command: str = ""
    study: dict[str, Any] = {}


class Spent(Written):
    """What was counted; see :meth:`~secondlook.ledger.Ledger.spent`."""

    forwards: Count
    backwards: Count
    seconds: Seconds
    peak_memory: Count
    bare_seconds: Seconds = 0.0


class Nothing(Written):
    """``{}``: no attack was needed."""

    model_config = ConfigDict(extra="forbid")


class ScoredLine(Written):
    """Of ``ledger.jsonl``: a chunk of a row, its costs, and the checksums of its records."""

    cell: str
    chunk: Count
    decide: Spent
    attack: Spent | Nothing
    sums: list[int]
    made: str | None
    members: list[str] = []
    notices: list[str] = []


class InspectedLine(Written):
    """A guarded model on a few clean samples."""

    inspected: str
    n: int
    unsteady: bool
    softmax: bool
    thresholds: dict[str, float] = {}


class TriedLine(Written):
    """An attack on a few samples, as a check."""

    n: int = Field(ge=1)
    success: float
    samples: dict[str, bool] = Field(min_length=1)


class ProbeLine(TriedLine):
    """With nothing to hold it back."""

    probe: str


class OtherObjectiveLine(TriedLine):
    """With another objective."""

    other_objective: str


Numbers = list[float | None]
"""One for each sample; what is no number is null."""


class MannerLine(Written):
    """One manner of a diagnosis; see :class:`~secondlook.attacks.diagnosis.MannerFinding`."""

    success: list[bool]
    rise: Numbers
    size: Numbers | None = None


class DifferencesLine(Written):
    """See :class:`~secondlook.attacks.diagnosis.Differences`."""

    measured: Numbers
    by_gradient: Numbers
    bare: Numbers


class CosineLine(Written):
    """Cosines between the gradients of two manners."""

    between: list[str] = Field(min_length=2, max_length=2)
    start: Numbers
    end: Numbers


class DiagnosedLine(Written):
    """What each manner of attacking a defense does by itself, on a few samples; ``n`` is 0 where there are none."""

    diagnosed: str
    n: Count
    forwards: Count
    backwards: Count
    samples: list[str] = []
    manners: dict[str, MannerLine] = {}
    refused: dict[str, str] = {}
    bare_success: list[bool] = []
    cosines: list[CosineLine] = []
    differences: dict[str, DifferencesLine] = {}
    coupling: Numbers = []


class PartHead(Written):
    """What a file of an adversarial set says beside its tensors."""

    spec: str
    samples: list[str] = Field(min_length=1)
    captions: list[list[str]]
    notices: list[str]
    members: list[str] = []
    cost: Spent


class SetHead(PartHead):
    """The same, and where the set comes from."""

    attack: dict[str, Any]
    threat: str
    seed: int
    victims: list[str]
    models: dict[str, str]
    data: str
    torch: str


_LINES: Final[dict[str, type[Written]]] = {
    "cell": ScoredLine,
    "inspected": InspectedLine,
    "probe": ProbeLine,
    "other_objective": OtherObjectiveLine,
    "diagnosed": DiagnosedLine,
}


def is_line(record: dict[str, Any]) -> bool:
    """Whether a line of the ledger holds what lines of its kind do."""
    return all(fits(kind, record) for key, kind in _LINES.items() if key in record)


def fits(kind: type[Written], found: Any) -> bool:
    """Whether what was read has the fields of a kind, each of its type."""
    try:
        kind.model_validate(found)
    except (ValidationError, RecursionError):
        return False
    return True
