"""The typed result of an audit: what ``audit.json`` holds, field by field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from secondlook.audit.measured import Metric as Metric
from secondlook.audit.measured import Plain as Plain
from secondlook.audit.schema_detection import Detection

SCHEMA = 1
Status = Literal["pass", "warn", "fail"]


class ThreatRow(Plain):
    """The attacker's budget; ``eps`` is in pixel units, 0 for clean rows."""

    norm: str
    eps: float


class Outcomes(Plain):
    """Counts of samples, by the first fresh decision; they sum to ``n``."""

    correct: int
    wrong: int
    rejected: int


class Cost(Plain):
    """What deciding on the samples of a cell cost, and what its attack cost."""

    forwards: int
    """Samples sent forward through any network while deciding."""
    backwards: int
    seconds: float
    overhead: float
    """Seconds of a decision over those of the bare model on the same samples."""
    peak_memory: int = 0
    attack_forwards: int = 0
    attack_backwards: int = 0
    attack_seconds: float = 0.0


class Check(Plain):
    """One health check of one cell."""

    check: str
    status: Status
    detail: str


class Vote(Plain):
    """How the votes on one input fell, against the bound of independent votes."""

    votes: int
    """N, the reconstructions asked for."""
    eta: float
    """Mean over the inputs of the share of votes that the attacker captured."""
    captured: float
    """Share of the inputs whose vote the attacker won."""
    bound: float
    """Mean over the inputs of P(Bin(N, eta) > N / 2), the paper's bound."""
    pooled_bound: float
    """The bound at the mean eta, as the paper uses it."""
    histogram: list[int] = Field(default_factory=list)
    """Inputs by eta, in ten equal bins from 0 to 1."""


class RiskCurve(Plain):
    """Errors among the accepted, were the most suspicious samples rejected one by one."""

    coverage: list[float]
    """Shares of the samples that are accepted, rising."""
    risk: list[float]
    """Share of wrong answers among them."""


class Member(Plain):
    """What one member of a composed attack did, as the attack itself saw it."""

    fooled: Metric
    """Share of the samples that it was given, ``n`` of them, and fooled."""
    n: int


class Cell(Plain):
    """One row of the matrix."""

    id: str
    task: str
    model: str
    defence: str
    """The label of the row: a defence with its settings, ``consensus scenes:vae``."""
    attack: str
    knowledge: str
    threat: ThreatRow
    n: int
    metrics: dict[str, Metric]
    outcomes: Outcomes
    ledger: Cost
    health: list[Check]
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """``defence`` and ``attack``: every setting, for curves over one of them."""
    surrogates: list[str] = Field(default_factory=list)
    """The models that the attack was crafted on, where they are not the victim."""
    resolution: list[int] = Field(default_factory=list)
    """Height and width that were attacked."""
    vote: Vote | None = None
    goal: str = "targeted"
    """What the attacker wants: ``targeted`` or ``untargeted``, or to break a ``retrieval``."""
    controls: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    """The same records under ``always_accept`` and ``always_reject``, for untargeted goals: the
    metrics of that name, had nothing or everything been rejected."""
    risk: RiskCurve | None = None
    """Risk against coverage by suspicion, for untargeted goals."""
    members: dict[str, Member] = Field(default_factory=dict)
    """Of an attack that is composed of others, in their order."""
    notices: list[str] = Field(default_factory=list)
    """What the attack said of itself while it was made."""
    denominators: dict[str, int] = Field(default_factory=dict)
    """Of the metrics that are shares of something else than the ``n`` samples: of so many."""
    detection: Detection | None = None
    """Of defences that reject by a suspicion."""

    @property
    def success(self) -> Metric | None:
        """How often the attacker's goal was reached; in older results the target's rank says it."""
        return self.metrics.get("reached", self.metrics.get("target_top1"))


class Headline(Plain):
    """The worst that any attacker of the audit did to one defence, sample by sample."""

    task: str
    model: str
    defence: str
    threat: ThreatRow
    n: int
    clean_original_top1: Metric
    worst_target_top1: Metric | None = None
    """Share of samples on which at least one attack row reached its target; targeted goals only."""
    worst_original_top1: Metric
    """Share of samples that every attack row left correct."""
    rows: list[str]
    """Ids of the attack cells that were taken together."""
    status: Literal["shown", "withheld"]
    reasons: list[str]
    """Why the headline is withheld."""
    goal: str = "targeted"
    worst_reached: Metric | None = None
    """Share of samples on which at least one attack row reached the attacker's goal."""
    clean_rejected: Metric | None = None
    """Share of the clean samples that were rejected, for untargeted goals."""

    @property
    def success(self) -> Metric | None:
        """The worst of all attackers, whatever they wanted."""
        return self.worst_reached or self.worst_target_top1


class Audit(Plain):
    """A whole result."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    study: str
    title: str
    provenance: dict[str, Any]
    cells: list[Cell]
    headline: list[Headline]

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
