"""The verdict: what a headline says, as one plain sentence and as the parts of it."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.audit.report.names import KNOWLEDGE, headline_name
from secondlook.audit.report.words import percent, share
from secondlook.audit.schema import Audit, Cell, Headline, Metric

EMBEDDED = (
    "These are figures of the embedded world: small rendered scenes and small models that come "
    "with the package. They show how attack and defence behave there, not how a large model does."
)
_UNDEFENDED = "undefended"
_DEEDS = {
    "targeted": "reaches the target on", "untargeted": "gets a wrong answer accepted on",
    "retrieval": "makes the first answer wrong in",
    "unsay": "keeps the caption from being right on", "say": "gets their own thing said of",
    "grounding": "makes the finger miss on",
}  # fmt: skip
_THINGS = {"retrieval": "searches"}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One attacker and how far they got.

    Attributes:
        who: the attacker, in words.
        knowledge: what they know; it chooses the colour.
        metric: share of the samples on which the attacker's goal was reached.
        n: samples.
    """

    who: str
    knowledge: str
    metric: Metric
    n: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A headline, ready to be said.

    Attributes:
        headline: the figures.
        name: what the defence is called.
        worst: all attack rows taken together, sample by sample; None where nobody attacked.
        stranger: the best of those who do not know the defence, beside one who does.
        remark: what has to be added, such as that no adaptive attacker was tried.
    """

    headline: Headline
    name: str
    worst: Claim | None
    stranger: Claim | None
    remark: str

    @property
    def withheld(self) -> bool:
        """Whether a health check took the headline away."""
        return self.headline.status == "withheld"

    @property
    def deed(self) -> str:
        """What an attacker does to the images that follow."""
        return _DEEDS[self.headline.goal]

    @property
    def things(self) -> str:
        """What there are ``n`` of, or shares of."""
        return _THINGS.get(self.headline.goal, "images")

    @property
    def sentence(self) -> str:
        """All of it in one line of plain text."""
        if self.withheld:
            return f"{self.name}: withheld: {'; '.join(self.headline.reasons) or 'no reason given'}"
        said = [
            f"{claim.who}: {share(claim.metric, claim.n)}" for claim in (self.stranger,) if claim
        ]
        said = [each for each in [self._worst, *said, self.remark] if each]
        return f"{self.name}: {' — '.join(said)}"

    @property
    def _worst(self) -> str:
        if self.worst is None:
            return ""
        metric, n = self.worst.metric, self.worst.n
        interval = share(metric, n).removeprefix(percent(metric.value, n))
        taken = f"{percent(metric.value, n)} of {self.things}{interval} (n = {n})"
        return f"{self.worst.who} {self.deed} {taken}"


def verdicts(audit: Audit) -> list[Verdict]:
    """The verdicts of an audit, in its order."""
    return [_verdict(headline, audit) for headline in audit.headline]


def embedded(audit: Audit) -> bool:
    """Whether some figure is one of the embedded world."""
    return any(
        name.startswith("scenes") for cell in audit.cells for name in (cell.task, cell.model)
    )


def _verdict(headline: Headline, audit: Audit) -> Verdict:
    rows = [cell for cell in audit.cells if cell.id in headline.rows]
    known = {cell.knowledge for cell in rows}
    undefended = headline.defence.startswith(_UNDEFENDED)
    adaptive = "adaptive" in known and not undefended
    return Verdict(
        headline=headline,
        name=headline_name(headline, audit),
        worst=_worst(headline, known, undefended) if rows else None,
        stranger=_stranger(rows) if adaptive else None,
        remark=_remark(known, undefended),
    )


def _worst(headline: Headline, known: set[str], undefended: bool) -> Claim | None:
    if headline.success is None:
        return None
    strongest = [knowledge for knowledge in KNOWLEDGE if knowledge in known]
    who = "an attacker who does not know the defence"
    if known == {"transfer"}:
        who = "an attacker who crafts on other models"
    elif undefended:
        who = "an attacker"
    elif "adaptive" in known:
        who = "an attacker who knows the defence"
    return Claim(
        who=who,
        knowledge=strongest[-1] if strongest else "adaptive",
        metric=headline.success,
        n=headline.n,
    )


def _stranger(rows: list[Cell]) -> Claim | None:
    blind = [
        Claim(who="an attacker who does not", knowledge=row.knowledge, metric=row.success, n=row.n)
        for row in rows if row.knowledge != "adaptive" and row.success is not None
    ]  # fmt: skip
    return max(blind, key=lambda claim: claim.metric.value, default=None)


def _remark(known: set[str], undefended: bool) -> str:
    if not known:
        return "nobody attacked it"
    if undefended or "adaptive" in known:
        return ""
    return "an attacker who knows the defence was not tried"
