"""The typed results of an audit: a line of ``records.jsonl``, and all of ``audit.json``."""

from __future__ import annotations

import shutil
from math import nan
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypedDict, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from secondlook.errors import InvalidInput, refusal
from secondlook.statistics import wilson
from secondlook.threat import Norm, Pixels

SCHEMA = 1
Status = Literal["pass", "warn", "fail"]
Measured = Annotated[float, BeforeValidator(lambda value: nan if value is None else value)]
"""A number, or none: a share of nothing. JSON has no word for it but null."""


_PARTS = ("defense", "attack")
Settings = Annotated[dict[str, dict[str, Any]], AfterValidator(lambda value: dict.fromkeys(_PARTS, {}) | value)]
"""Of a row's defense and attack; what an older result does not say has none."""


class SampleRecord(TypedDict, total=False):
    """One sample of one row: a line of ``records.jsonl``, in the words that all tasks share.

    A task that records more says what in a ``TypedDict`` of its own that extends this one.
    Numbers that JSON cannot hold (NaN, infinity) are None.
    """

    cell: str
    """Id of the row, :attr:`Cell.id`."""
    sample: str
    """Stable name of the sample in its data source."""
    outcome: str
    """``correct``, ``wrong`` or ``rejected``, by the first of the fresh decisions."""
    success: float
    """Share of the fresh decisions in which the attacker has what the goal says, 0 to 1."""
    success_worst: float
    """Whether any of them gave it to the attacker."""
    original_top1: float
    """Share of them that are right and accepted."""
    rejected: float
    """Share of them that were rejected."""
    right: float
    """Share of them that are right, accepted or not."""
    wrong: float
    """Share of them that are accepted and wrong, where that is not what the attacker wants."""
    suspicion: float | None
    """Of the first decision; the larger, the sooner an input is rejected."""
    answer: int
    """The class that was answered first, accepted or not."""
    truth: int
    """The class that is right."""
    target: int
    """The class that the attacker wants."""
    target_top1: float
    """Share of the fresh decisions that accept the attacker's class."""
    words: list[int]
    """Words that the attack has changed in each of the sample's texts."""
    through: int
    """How many of the study's ``resubmitted`` further decisions gave the attacker what the goal says."""
    certified: int
    """The class that smoothing certifies with the study's ``certified`` draws, -1 where it abstains."""
    radius: float
    """The L2 radius, in pixel units, in which that cannot change."""
    by: int | None
    """Which member of a composed attack fooled the sample, -1 for none."""
    first_loss: float | None
    """The attacker's objective at the start, see :class:`~secondlook.attacks.base.Trace`."""
    middle_loss: float | None
    """Half-way."""
    last_loss: float | None
    """At the last iterate that was evaluated."""
    zero_gradient: float | None
    """Share of the steps whose gradient was zero everywhere."""
    bad_gradient: float | None
    """Share of the steps whose gradient held NaN or infinity."""
    steps: int | None
    """Steps that the attack took."""


class Plain(BaseModel):
    """A record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Metric(Plain):
    """A figure with its 95 % interval; not a number where it is a share of nothing."""

    value: Measured
    low: Measured
    high: Measured
    sd: float | None = None
    """Standard deviation over the samples, for means."""


class Calibrated(Plain):
    """A suspicion at a threshold from held-out clean inputs: shares of inputs above it."""

    threshold: float
    fpr: Metric
    tpr: Metric | None = None
    """None in clean rows."""


class Sorting(Plain):
    """Clean and attacked inputs as a threshold sorts them; ``accuracy`` is over all of them."""

    threshold: Measured
    accuracy: Metric
    caught: int
    missed: int
    passed: int
    refused: int


class Histogram(Plain):
    """Inputs by suspicion; what is infinite is in the last bin."""

    edges: list[float]
    clean: list[int]
    attacked: list[int]


class Roc(Plain):
    """Points of the curve, both rates rising."""

    fpr: list[float]
    tpr: list[float]


class Flagged(Plain):
    """Share of the ``n`` inputs of one kind that were rejected."""

    attribute: str
    value: str
    n: int
    flagged: Metric


class Detection(Plain):
    """How well a suspicion tells the attacked inputs of a row from those of its clean row.

    Clean rows have the rejections and the rates at calibrated thresholds alone.
    """

    rejected: Metric
    """Share of the row's inputs that the defense itself rejected."""
    by_attribute: list[Flagged] = Field(default_factory=list)
    calibrated: dict[str, Calibrated] = Field(default_factory=dict)
    """By the false positive rate that was asked for, ``0.05``."""
    sorting: Sorting | None = None
    """At the threshold of ``0.05``."""
    auroc: Metric | None = None
    average_precision: Metric | None = None
    auroc_difference: Metric | None = None
    """AUROC of the audit's first detector less this one's, on the same inputs."""
    optimistic: dict[str, Sorting] = Field(default_factory=dict)
    """At thresholds chosen on these very inputs: ``youden``, ``equal_tpr_tnr``."""
    histogram: Histogram | None = None
    roc: Roc | None = None


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

    @property
    def reason(self) -> str:
        """What a headline says where it is withheld for this."""
        return f"{self.check} failed: {self.detail}"


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


class Certification(Plain):
    """What randomized smoothing certifies of the clean inputs of a row."""

    draws: int
    """On each input, for the certificate alone."""
    confidence: float
    """That an input's certificate holds."""
    sigma: float
    """Deviation of the noise, in pixel units."""
    abstained: Metric
    """Share of the inputs of which nothing is certified."""
    right: Metric
    """Share of which the right class is certified, at any radius."""
    median: float
    """Median radius, L2 in pixel units; a wrong answer's counts as 0."""
    radii: list[float]
    """Of all inputs, from the largest down; a wrong answer's is 0."""


class Resubmission(Plain):
    """How often an attacked input gets through a randomized defense that is sent it k times, k from 1 to ``tries``.

    Each list has a value for each k.
    """

    tries: int
    """Decisions on each input, each with fresh draws."""
    chance: list[float]
    """That at least one of k tries gives the attacker what the goal says: the mean over the inputs, estimated
    without bias from all tries at each."""
    low: list[float]
    """Of the 95 % interval over the inputs, Wilson's."""
    high: list[float]
    independent: list[float]
    """``1 - (1 - p)^k`` at the mean chance p of one try: were all inputs alike, so that each try were a new chance."""


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


class MannerResult(Plain):
    """One manner of attacking a defense, by itself, on the few samples of a diagnosis."""

    robust: Metric | None = None
    """Share of them that it leaves to the defender, judged by fresh draws; None where it could not run."""
    rise: float | None = None
    """By how much it has raised the loss of the attack that knows the defense, on average."""
    size: float | None = None
    """Median of the length of its gradient over that of the bare model's, at a random point of the threat."""
    zero: float | None = None
    """Share of the samples on which that gradient is zero."""
    tiny: float | None = None
    """Share on which it is below 1e-6 of the bare model's, zeros among them."""
    first: Metric | None = None
    """Share of the row's samples that it was the first to fool; of attacks that try manners in turn."""
    note: str = ""
    """Why it could not run."""


class Cosine(Plain):
    """Medians of the cosine between the gradients of two manners."""

    between: tuple[str, str]
    start: float | None
    """At a random point of the threat."""
    end: float | None
    """Where the attack that knows the defense has ended."""


class Slopes(Plain):
    """Medians of a directional derivative of the loss of the attack that knows the defense, per pixel unit."""

    along: str
    """The sign of whose gradient: ``as-is``, the defense's own, or ``bare``."""
    measured: float | None
    """By finite differences."""
    by_gradient: float | None
    """As the defense's own gradient says. Far below ``measured`` the gradient is masked; where both
    are about zero, along either sign, the loss is flat and the gradient honest."""
    hidden: float | None
    """Share of the samples on which the gradient says less than a tenth of what is measured."""


DiagnosisVerdict = Literal["masked", "batch-coupled", "gate-only", "no masking found"]
VERDICTS: Final[tuple[DiagnosisVerdict, ...]] = get_args(DiagnosisVerdict)
"""All verdicts of a diagnosis, the gravest first."""


class Diagnosis(Plain):
    """Whether a defense hides its gradient from the attack that knows it, on ``n`` samples."""

    verdict: DiagnosisVerdict
    """``masked``: the bare model's attack, or queries, do significantly better than the gradient as it is
    (exact McNemar, one-sided, p below 0.05), finite differences find a slope that the gradient hides on most
    samples, or with eps = 1 most samples survive. ``batch-coupled``: an answer depends on who else is in the
    batch. ``gate-only``: whoever has the detector in the loss does as well as on the bare model, where the bare
    model's attack alone is held back. The first that holds is said, the others are among the reasons."""
    sentence: str
    """What that means, in plain words."""
    reasons: list[str]
    n: int
    manners: dict[str, MannerResult]
    cosines: list[Cosine]
    slopes: list[Slopes]
    coupling: float | None = None
    """The furthest that an answer has moved when all others of its batch were exchanged, as a share of its length."""
    forwards: int
    """What the diagnosis has cost in all."""
    backwards: int


class Cell(Plain):
    """One row of the matrix."""

    id: str
    task: str
    model: str
    defense: str
    """The label of the row: a defense with its settings, ``consensus scenes:vae``."""
    attack: str
    knowledge: str
    threat: ThreatRow
    n: int
    metrics: dict[str, Metric]
    outcomes: Outcomes
    ledger: Cost
    health: list[Check]
    settings: Settings = Field(default_factory=dict, validate_default=True)
    """``defense`` and ``attack``: every setting, for curves over one of them."""
    surrogates: list[str] = Field(default_factory=list)
    """The models that the attack was made on, where they are not the victim."""
    resolution: list[int] = Field(default_factory=list)
    """Height and width that were attacked."""
    vote: Vote | None = None
    certification: Certification | None = None
    """Of clean rows of a defense that begins with Gaussian noise, where the study asks for it."""
    resubmission: Resubmission | None = None
    """Of attacked rows of a randomized defense, where the study asks for it."""
    goal: str = "targeted"
    """What the attacker wants: ``targeted`` or ``untargeted``, or to break a ``retrieval``."""
    control: bool = False
    """Whether it is a row for defenses to be read beside, a part of one alone, say."""
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
    """Of defenses that reject by a suspicion."""
    diagnosis: Diagnosis | None = None
    """Of rows whose attacker knows the defense and climbs its gradient."""

    def flat(self) -> dict[str, Any]:
        """What the row is, its figures and its cost, as one line of a table."""
        about = ("id", "task", "model", "defense", "attack", "knowledge", "goal", "n")
        found = {name: getattr(self, name) for name in about} | self.threat.model_dump()
        for name, metric in self.metrics.items():
            found |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
        return {**found, **self.outcomes.model_dump(), **self.ledger.model_dump()}

    @property
    def undefended(self) -> bool:
        """Whether nothing stands before the model."""
        return bool(self.settings["defense"].get("name") == "undefended")

    @property
    def success(self) -> Metric | None:
        """How often the attacker's goal was reached; in older results the target's rank says it."""
        return self.metrics.get("success", self.metrics.get("target_top1"))


Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
"""A share as papers print it, ``72.6``."""


class PublishedFigure(Plain):
    """What was published of a defense on one data set, as it was printed; of what is not said there is nothing."""

    robust: Percent | None = None
    """Accuracy under the attack, in percent."""
    clean: Percent | None = None
    """Accuracy without an attack, in percent."""
    bare: Percent | None = None
    """Accuracy of the model without the defense under the same attack, in percent."""
    gain: tuple[float, ...] = Field((), max_length=2)
    """Points of robust accuracy gained, or the least and the most; where no accuracy is known."""
    over: str = ""
    """Over what."""
    data: str = ""
    model: str = ""
    attack: str = ""
    knowledge: Literal["", "oblivious", "adaptive"] = ""
    """Whether that attack was made on the bare model, or through the defense."""
    norm: Norm = "linf"
    eps: Pixels | None = None
    """In pixel units; a card may say ``4/255``."""
    n: int | None = Field(None, ge=1)
    """Samples."""
    source: Literal["summary", "code"]
    """Where the figure, or what is said of the attack, was read: the paper's summary or the authors' code."""
    note: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        """A figure, or why there is none."""
        if self.robust is None and not self.gain and not self.note:
            raise ValueError("it has neither robust nor gain; write in note why no figure is known")
        if bool(self.gain) != bool(self.over):
            raise ValueError('a gain is over something; write both: gain = [18.1], over = "the previous best"')
        return self

    @property
    def metric(self) -> Metric | None:
        """The robust accuracy as a share, with its interval where it is said of how many samples."""
        if self.robust is None:
            return None
        share = self.robust / 100
        if self.n is None:
            return Metric(value=share, low=nan, high=nan)
        return Metric(**wilson(share * self.n, self.n)._asdict())


class ClaimCard(Plain):
    """What was published of a defense, and what of it the package has built: a TOML file."""

    paper: str = Field(min_length=1)
    """What the paper calls the defense."""
    venue: str = ""
    arxiv: str = Field("", pattern=r"^(\d{4}\.\d{4,5})?$")
    code: str = ""
    """Where the authors' code is; empty where none is public."""
    license: str = ""
    """Of that code."""
    built: Literal["published", "after"]
    """``published``: written from what the authors' code does, at its settings; ``after``: from an abstract, or with
    parts or numbers of our own in place of the authors'."""
    about: str = Field(min_length=1)
    """What exactly it is faithful to."""
    figures: tuple[PublishedFigure, ...] = Field(min_length=1)
    """What was published, the chief figure first."""

    @property
    def chief(self) -> PublishedFigure:
        """The first figure that says how robust the defense is; else the first."""
        return next((each for each in self.figures if each.robust is not None), self.figures[0])


class Kept(Plain):
    """What the attackers of one budget leave of a defense's answers."""

    threat: ThreatRow
    goal: str
    n: int
    kept: dict[str, Metric]
    """By what the attackers know, the share of the samples that all of those leave correct."""
    worst: Metric
    """Share that every attacker leaves correct."""
    verdict: DiagnosisVerdict | None = None
    """The gravest of the diagnoses of the rows."""
    withheld: bool = False
    """Whether a check has taken the headline away."""


class Claimed(Plain):
    """A defense in front of a model: what was published of it, and what is left of it here."""

    task: str
    model: str
    defense: str
    row: str
    """Id of its clean row."""
    card: ClaimCard | None = None
    clean: Metric
    """Share of the samples that are correct where nobody attacks."""
    forwards: float
    """Of an image through any network, for one answer."""
    backwards: float
    budgets: list[Kept]


class Headline(Plain):
    """The worst that any attacker of the audit did to one defense, sample by sample."""

    task: str
    model: str
    defense: str
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
    claims: list[Claimed] = Field(default_factory=list)
    """Each defense beside what was published of it, where the study asks for it."""
    _run: Path | None = PrivateAttr(None)

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def show(self) -> None:
        """Prints headlines, tables and troubles on the console."""
        from secondlook.audit.report.text import render
        from secondlook.terminal import Terminal

        render(self, Terminal())

    def _repr_html_(self) -> str:
        """Headlines and the main table, as notebooks show them."""
        from secondlook.audit.report.text import compact_html

        return compact_html(self)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a line for each row of the matrix.

        It has what the row is, each metric with its interval (``success``, ``success_low``,
        ``success_high``), and what it cost.

        Raises:
            InvalidInput: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise InvalidInput('pandas is not installed; run: pip install "secondlook[pandas]"') from None
        return DataFrame([cell.flat() for cell in self.cells])

    @property
    def run(self) -> Path | None:
        """The run directory that it comes from, where it knows one."""
        return self._run

    def of_run(self, folder: Path) -> Audit:
        """The same audit, which knows the run directory that it can be saved from."""
        self._run = folder
        return self

    def save(self, folder: Path | str) -> Path:
        """Keeps the whole run: ``report.html``, ``audit.json``, records and adversarials.

        Args:
            folder: where to; it is made.

        Raises:
            InvalidInput: something is there already, it cannot be written, or the run that made
                the audit is gone.
        """
        out = Path(folder)
        if self._run is None or not self._run.is_dir():
            raise InvalidInput("the run that made this audit is gone; save it where it is made")
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise InvalidInput(f"{out} holds something already; name a new folder")
        try:
            shutil.copytree(self._run, out, dirs_exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{out} cannot be written: {refusal(error)}") from None
        return out
