"""What an audit says before anything is drawn: names of rows, the matrix, headlines, caveats."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from secondlook import registry
from secondlook.audit.report.words import budget, percent, share, times
from secondlook.errors import InvalidInput, UnknownName
from secondlook.schema import VERDICTS, Audit, Cell, Check, Diagnosis, Headline, Metric, Status
from secondlook.tasks.view import Column, GoalView, View, installed, name_of, view_of

KNOWLEDGE: Final[Mapping[str, str]] = {
    "clean": "nobody attacks",
    "oblivious": "attacks the bare model and does not know the defense",
    "transfer": "attacks other models and knows neither this one nor its defense",
    "black-box": "asks the defended model for its scores, and has no gradient of it",
    "adaptive": "knows the defense and attacks all of it",
}
"""The kinds of attacker, from none to the strongest, with one line for each."""

_PHRASES = {
    "steps": "{} steps",
    "samples": "N = {}",
    "draws": "{} draws",
    "attacked": "attacked: {}",
    "objective": "{}",
    "through": "through the {}",
}
Facts = dict[str, str]
_NAMED = 4
"""Rows that are named behind a check."""
_GRAVITY: dict[Status, int] = {"pass": 0, "warn": 1, "fail": 2}


def goal_of(row: Cell | Headline) -> GoalView:
    """What the attackers of a row or a headline want, as its task shows it."""
    return view_of(row.task).goal(row.goal)


def defense_name(cell: Cell, cells: Sequence[Cell]) -> str:
    """The label of a defense, with the settings in which its namesakes differ."""
    peers = [each for each in cells if _place(each) == _place(cell)]
    return ", ".join([cell.defense, *_apart(_defense_facts(cell), map(_defense_facts, peers))])


def attacker_name(cell: Cell, cells: Sequence[Cell]) -> str:
    """The knowledge of a row, with what sets it apart from others of that knowledge."""
    return " · ".join([cell.knowledge, *attack_details(cell, peers_of(cell, cells))])


def attack_details(cell: Cell, peers: Sequence[Cell], besides: str = "") -> list[str]:
    """The facts of an attack, ``besides`` one, that are not the same for all ``peers``.

    Settings are compared among attacks of one name: others do not have them.
    """
    own = {key: text for key, text in _attack_facts(cell).items() if key != besides}
    namesakes = [peer for peer in peers if peer.attack == cell.attack]
    settings = _phrases(cell.settings.get("attack", {}))
    settings.pop(besides, None)
    apart = _apart(own, map(_attack_facts, peers))
    apart += _apart(settings, [_phrases(peer.settings.get("attack", {})) for peer in namesakes])
    return [*apart, *_beliefs(cell)]


def peers_of(cell: Cell, cells: Sequence[Cell]) -> list[Cell]:
    """The rows of the same defense and knowledge."""
    return [
        each
        for each in cells
        if _place(each) == _place(cell)
        and each.knowledge == cell.knowledge
        and each.settings.get("defense") == cell.settings.get("defense")
    ]


def headline_name(headline: Headline, audit: Audit) -> str:
    """A defense's name, with model, task and budget where the headlines differ in them."""
    rows = [cell for cell in audit.cells if cell.id in headline.rows]
    name = defense_name(rows[0], audit.cells) if rows else headline.defense
    more = _apart(_scope(headline), map(_scope, audit.headline))
    return f"{name} ({', '.join(more)})" if more else name


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.task, cell.model, cell.defense


def _scope(headline: Headline) -> Facts:
    return {"task": headline.task, "model": headline.model, "budget": budget(headline.threat), "goal": headline.goal}


def _defense_facts(cell: Cell) -> Facts:
    return _phrases(cell.settings.get("defense", {}))


def _attack_facts(cell: Cell) -> Facts:
    facts = {"attack": cell.attack, "budget": budget(cell.threat)}
    if cell.surrogates:
        facts["surrogates"] = "on " + " + ".join(cell.surrogates)
    return facts


def _beliefs(cell: Cell) -> list[str]:
    """What the attacker takes the defense for, where that is not what it is."""
    instead = cell.settings.get("attack", {}).get("instead") or {}
    return [f"believes {key} {value}" for key, value in instead.items()]


def _phrases(settings: Mapping[str, Any]) -> Facts:
    """Settings in words; which defense an attacker believes in is said apart."""
    named = {k: v for k, v in settings.items() if k not in ("name", "instead") and v != ""}
    return {key: _PHRASES.get(key, f"{key} {{}}").format(value) for key, value in named.items()}


def _apart(own: Facts, others: Iterable[Facts]) -> list[str]:
    peers = list(others)
    return [text for key, text in own.items() if any(peer.get(key) != text for peer in peers)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A cell with its name.

    Attributes:
        cell: the figures.
        name: the attacker.
    """

    cell: Cell
    name: str

    @property
    def status(self) -> Status:
        """The gravest of the row's health checks."""
        return max((check.status for check in self.cell.health), key=_GRAVITY.__getitem__, default="pass")

    @property
    def troubles(self) -> list[Check]:
        """The checks that did not pass, gravest first."""
        found = [check for check in self.cell.health if check.status != "pass"]
        return sorted(found, key=lambda check: -_GRAVITY[check.status])


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one defense.

    Attributes:
        name: of the defense.
        rows: at least one.
        withheld: whether a headline over these rows was taken away.
    """

    name: str
    rows: list[Row]
    withheld: bool

    @property
    def cells(self) -> list[Cell]:
        """The figures alone."""
        return [row.cell for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Block:
    """The defenses of one task and model.

    Attributes:
        task: its name.
        model: its name.
        budget: the attackers' budget, where it is one.
        groups: in the order of the audit.
        view: how the task is shown.
    """

    task: str
    model: str
    budget: str
    groups: list[Group]
    view: View

    @property
    def rows(self) -> list[Row]:
        """All rows, defense after defense."""
        return [row for group in self.groups for row in group.rows]

    @property
    def goal(self) -> GoalView:
        """What the attackers want."""
        return self.view.goal(self.rows[0].cell.goal)

    @property
    def metrics(self) -> list[str]:
        """All metrics, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.cell.metrics))

    @property
    def columns(self) -> list[Column]:
        """The main table's; where something is rejected, how much of it takes the last place."""
        names = self.goal.columns or tuple(self.metrics[:3])
        if "rejected" in self.metrics and "rejected" not in names:
            names = (*names[:-1], "rejected")
        return [self.view.column(name) for name in names]

    def chief(self, roomy: bool) -> list[Column]:
        """Those of a narrow table, or the first three where there is more room."""
        brief = self.goal.brief if not roomy else ()
        return [self.view.column(name) for name in brief] or self.columns[:3]

    @property
    def tables(self) -> list[tuple[str, str, list[Column]]]:
        """Further tables of the task: title, note and columns, of those that have any."""
        found = [
            (table.title, table.note, [name for name in table.metrics if name in self.metrics])
            for table in self.view.tables
        ]
        return [(title, note, list(map(self.view.column, names))) for title, note, names in found if names]

    @property
    def details(self) -> list[Column]:
        """The metrics that no other table shows."""
        shown = {column.metric for column in self.columns} | self.goal.restated
        shown |= {name for table in self.view.tables for name in table.metrics}
        return [self.view.column(name) for name in self.metrics if name not in shown]

    @property
    def rejecting(self) -> list[Group]:
        """The defenses that reject, of those whose attackers are content with any wrong answer."""
        return [group for group in self.groups if any(cell.controls and cell.outcomes.rejected for cell in group.cells)]

    @property
    def shared(self) -> list[Trouble]:
        """The checks that fail in several rows: each is told once, and not beside every row."""
        return [trouble for trouble in grouped(self) if trouble.status == "fail" and len(trouble.rows) > 1]


def blocks(audit: Audit) -> list[Block]:
    """The whole matrix, in the order of the audit."""
    places: dict[tuple[str, str], list[Cell]] = {}
    for cell in audit.cells:
        places.setdefault((cell.task, cell.model), []).append(cell)
    return [
        Block(task=task, model=model, budget=_budget(cells), groups=_groups(cells, audit), view=view_of(task))
        for (task, model), cells in places.items()
    ]


def _groups(cells: Sequence[Cell], audit: Audit) -> list[Group]:
    lost = {row for each in audit.headline if each.status == "withheld" for row in each.rows}
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(defense_name(cell, audit.cells), []).append(cell)
    return [
        Group(
            name=name,
            rows=[Row(cell=cell, name=attacker_name(cell, audit.cells)) for cell in members],
            withheld=any(cell.id in lost for cell in members),
        )
        for name, members in groups.items()
    ]


def _budget(cells: Sequence[Cell]) -> str:
    budgets = {budget(cell.threat) for cell in cells if cell.knowledge != "clean"}
    return budgets.pop() if len(budgets) == 1 else ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One attacker and how far they got.

    Attributes:
        who: the attacker, in words.
        knowledge: what they know; it chooses the color.
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
        name: what the defense is called.
        worst: all attack rows taken together, sample by sample; None where nobody attacked.
        unaware: the best of those who do not know the defense, beside one who does.
        remark: what has to be added, such as that no adaptive attacker was tried.
        cells: the attack rows that it is of.
    """

    headline: Headline
    name: str
    worst: Claim | None
    unaware: Claim | None
    remark: str
    cells: list[Cell]

    @property
    def aside(self) -> str:
        """What there is to know of it, and which checks warn of its figures."""
        return self.beside(())

    def beside(self, shared: Collection[str]) -> str:
        """The same, without the checks that are ``shared`` by all."""
        names = ", ".join(dict.fromkeys(check.check for check in self.warnings if check.check not in shared))
        warned = f"warnings: {names}" if names else ""
        return "; ".join(filter(None, [self.facts, warned]))

    @property
    def warnings(self) -> list[Check]:
        """The checks that warn of these figures."""
        return [check for cell in self.cells for check in cell.health if check.status == "warn"]

    @property
    def diagnosis(self) -> Diagnosis | None:
        """The gravest of the diagnoses of its rows, if there is any."""
        found = [cell.diagnosis for cell in self.cells if cell.diagnosis is not None]
        return min(found, key=lambda each: VERDICTS.index(each.verdict), default=None)

    @property
    def facts(self) -> str:
        """What the defense is, what it costs, and which attacks were tried."""
        if not self.cells:
            return ""
        cost = max(cell.ledger.overhead for cell in self.cells)
        attacks = ", ".join(dict.fromkeys(cell.attack for cell in self.cells))
        said = [
            what_it_is(self.cells[0]),
            "" if self.cells[0].undefended or cost != cost else f"{times(cost)} the time of the bare model",
            f"attacked by {attacks}, {budget(self.headline.threat)}",
        ]
        return "; ".join(filter(None, said))

    @property
    def withheld(self) -> bool:
        """Whether a health check took the headline away."""
        return self.headline.status == "withheld"

    @property
    def reasons(self) -> dict[str, list[str]]:
        """Why it is withheld, each reason once, with the attackers of whom it is said."""
        found: dict[str, list[str]] = {}
        for reason in self.headline.reasons:
            who, _, what = reason.partition(": ")
            told, by = (what, [who]) if who in KNOWLEDGE else (reason, [])
            found.setdefault(told, []).extend(by)
        return found

    @property
    def deed(self) -> str:
        """What an attacker does to the images that follow."""
        return goal_of(self.headline).deed

    @property
    def kept(self) -> str:
        """What an answer is called that the attack leaves as it should be."""
        return view_of(self.headline.task).kept

    @property
    def things(self) -> str:
        """What there are ``n`` of, or shares of."""
        return view_of(self.headline.task).things

    @property
    def gauge(self) -> str:
        """What has become of the share that the attacker has."""
        return goal_of(self.headline).gauge

    @property
    def sentence(self) -> str:
        """All of it in one line of plain text."""
        return self.said(())

    def said(self, shared: Collection[str]) -> str:
        """The same, without the reasons that are ``shared`` by all that are withheld."""
        if self.withheld:
            return ": ".join(filter(None, (self.name, "withheld", self._why(shared))))
        said = [f"{claim.who}: {share(claim.metric, claim.n)}" for claim in (self.unaware,) if claim]
        said = [each for each in [self._worst, *said, self.remark] if each]
        return f"{self.name}: {' — '.join(said)}"

    def _why(self, shared: Collection[str]) -> str:
        if not self.reasons:
            return "no reason given"
        own = {reason: who for reason, who in self.reasons.items() if reason not in shared}
        return "; ".join(f"{reason} ({', '.join(who)})" if who else reason for reason, who in own.items())

    @property
    def _worst(self) -> str:
        if self.worst is None:
            return ""
        metric, n = self.worst.metric, self.worst.n
        interval = share(metric, n).removeprefix(percent(metric.value, n))
        taken = f"{percent(metric.value, n)} of {self.things}{interval} (n = {n})"
        return f"{self.worst.who} {self.deed} {taken}; still {self.kept}: {share(self.headline.worst_original_top1, n)}"


def verdicts(audit: Audit) -> list[Verdict]:
    """The verdicts of an audit, in its order."""
    return [_verdict(headline, audit) for headline in audit.headline]


def everywhere(found: Sequence[Verdict]) -> list[Check]:
    """The checks that warn of every verdict that is shown, where these are several: each is told once."""
    shown = [verdict.warnings for verdict in found if not verdict.withheld]
    first = {check.check: check for check in reversed(shown[0])} if len(shown) > 1 else {}
    return [check for name, check in first.items() if all(name in {each.check for each in more} for more in shown)]


def withheld_alike(found: Sequence[Verdict]) -> list[str]:
    """The reasons of every verdict that is withheld, where these are several: each is told once."""
    lost = [verdict.reasons for verdict in found if verdict.withheld]
    return [reason for reason in lost[0] if all(reason in more for more in lost)] if len(lost) > 1 else []


def caveats(audit: Audit) -> list[str]:
    """What has to be said of all figures: of the data by their source, and of kinds of models."""
    found: dict[str, list[str]] = {}
    for model in dict.fromkeys(cell.model for cell in audit.cells):
        found.setdefault(_of_family(model), []).append(model)
    models = [f"{', '.join(names)}: {text}" for text, names in found.items() if text]
    return [text for text in (audit.provenance.get("caveat", ""), *models) if text]


def _of_family(model: str) -> str:
    """What a family of models says of its figures; nothing where none is called that."""
    try:
        return str(getattr(registry.find("model", model.partition(":")[0]), "caveat", ""))
    except UnknownName:
        return ""


def foreign(audit: Audit) -> list[str]:
    """The tasks that are not installed: what is shown of them is what any task has."""
    names = dict.fromkeys(name_of(cell.task) for cell in audit.cells)
    return [name for name in names if not installed(name)]


def _verdict(headline: Headline, audit: Audit) -> Verdict:
    rows = [cell for cell in audit.cells if cell.id in headline.rows]
    known = {cell.knowledge for cell in rows}
    undefended = any(cell.undefended for cell in rows)
    adaptive = "adaptive" in known and not undefended
    return Verdict(
        headline=headline,
        name=headline_name(headline, audit),
        worst=_worst(headline, known, undefended) if rows else None,
        unaware=_unaware(rows) if adaptive else None,
        remark=_remark(known, undefended),
        cells=rows,
    )


def what_it_is(cell: Cell) -> str:
    """A row's defense in a few words: the beginning of what its own list says; empty where it is not installed."""
    try:
        said = registry.summary("defense", str(cell.settings.get("defense", {}).get("name", "")))
    except (UnknownName, InvalidInput):
        return ""
    return re.split(r"[.:;,(]", said, maxsplit=1)[0].strip()


_HOLDS = 0.5
"""Of the answers that are right when nobody attacks: a defense that keeps fewer does not hold."""


def opening(audit: Audit) -> str:
    """The whole audit in one line: whether a defense holds against the worst of its attackers, and the best of them."""
    told = _worst_of_each(verdicts(audit))
    defended = {name: verdict for name, verdict in told.items() if not verdict.cells[0].undefended}
    if not audit.headline:
        return ""
    if not told:
        return "No verdict: checks have failed, and every headline is withheld."
    among = defended or told
    name = max(among, key=lambda name: among[name].headline.worst_original_top1.value)
    best = among[name]
    kept, clean = best.headline.worst_original_top1, best.headline.clean_original_top1
    n = best.headline.n
    left = f"{percent(kept.value, n)} {best.kept} of {percent(clean.value, n)} when nobody attacks"
    if not defended:
        return f"Nothing defends here: {left}."
    if not kept.value:
        return f"No defense here holds: none leaves an answer {best.kept}."
    if not kept.low > _HOLDS * clean.value:
        return f"No defense here holds: the best, {name}, leaves {left}."
    return f"{name} holds best: it leaves {left}."


def _worst_of_each(found: Sequence[Verdict]) -> dict[str, Verdict]:
    """Of each defense the goal that leaves least; none of a defense of which a goal is withheld."""
    groups: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in found:
        line = verdict.headline
        groups.setdefault((line.task, line.model, line.defense, budget(line.threat)), []).append(verdict)
    several = {verdict.headline.defense for verdict in found}
    plain = len(several) == len(groups)
    return {
        each[0].headline.defense if plain else each[0].name: min(
            each, key=lambda verdict: verdict.headline.worst_original_top1.value
        )
        for each in groups.values()
        if all(not verdict.withheld and verdict.worst for verdict in each)
    }


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A check that did not pass, with all rows of which it says so.

    Attributes:
        check: its name.
        status: ``warn`` or ``fail``.
        detail: what it says of the first row.
        reason: the same as a headline says why it is withheld.
        rows: the names of all.
    """

    check: str
    status: Status
    detail: str
    reason: str
    rows: list[str]

    def where(self, of: int) -> str:
        """The rows in words, the first few by name, where a table has ``of`` rows."""
        if len(self.rows) == of > 1:
            return f"all {of} rows"
        more = f"; {len(self.rows) - _NAMED} more" if len(self.rows) > _NAMED else ""
        return "; ".join(self.rows[:_NAMED]) + more


def grouped(block: Block) -> list[Trouble]:
    """The checks of a block that did not pass, one of each kind, gravest first."""
    found: dict[tuple[Status, str], Trouble] = {}
    for group in block.groups:
        for row in group.rows:
            for check in row.troubles:
                first = Trouble(
                    check=check.check, status=check.status, detail=check.detail, reason=check.reason, rows=[]
                )
                found.setdefault((check.status, check.check), first).rows.append(f"{group.name}, {row.name}")
    return sorted(found.values(), key=lambda trouble: -_GRAVITY[trouble.status])


def _worst(headline: Headline, known: set[str], undefended: bool) -> Claim | None:
    if headline.success is None:
        return None
    strongest = [knowledge for knowledge in KNOWLEDGE if knowledge in known]
    who = "an attacker who does not know the defense"
    if known == {"transfer"}:
        who = "an attacker who has only other models"
    elif undefended:
        who = "an attacker"
    elif "adaptive" in known:
        who = "an attacker who knows the defense"
    return Claim(who=who, knowledge=strongest[-1] if strongest else "adaptive", metric=headline.success, n=headline.n)


def _unaware(rows: list[Cell]) -> Claim | None:
    blind = [
        Claim(who="an attacker who does not", knowledge=row.knowledge, metric=row.success, n=row.n)
        for row in rows
        if row.knowledge != "adaptive" and row.success is not None
    ]
    return max(blind, key=lambda claim: claim.metric.value, default=None)


def _remark(known: set[str], undefended: bool) -> str:
    if not known:
        return "nobody attacked it"
    if undefended or "adaptive" in known:
        return ""
    return "an attacker who knows the defense was not tried"
