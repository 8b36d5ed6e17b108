"""What is left against the worst attacker, by what it costs: the front of all defenses, and one for each budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

from secondlook.audit.report.matrix import defense_name
from secondlook.audit.report.svg import HEIGHT, LEFT, RIGHT, SHARES, WIDTH, Scale, Spot, board, frame, path, tag
from secondlook.audit.report.words import budget, carried, ends, percent
from secondlook.schema import Audit, Cell, Metric, ThreatRow
from secondlook.statistics import wilson

FEWEST: Final = 5
"""Defenses that make a front worth drawing."""
CLEAN_COST: Final = 0.10
"""What a recommended defense may cost of the clean inputs that the bare model gets right."""
BUDGETS: Final = {"cheap": 3.0, "balanced": 15.0, "strong": float("inf")}
"""Passes of a decision over those of the bare model, at most."""


class Choice(NamedTuple):
    """A defense as a decision-maker sees it.

    Attributes:
        name: of the defense.
        clean: the share of clean inputs that are right and accepted.
        left: the share that is right or rejected under the attacker who leaves least.
        passes: forward passes of a decision on a clean input.
        sound: whether no check of the rows behind it has failed.
        n: inputs.
        cell: the id of its clean row.
    """

    name: str
    clean: Metric
    left: Metric
    passes: float
    sound: bool
    n: int
    cell: str = ""


class Front(NamedTuple):
    """The defenses of one model under one threat.

    Attributes:
        model: whom they stand in front of.
        threat: its size.
        bare: the model alone; None where the audit has no row of it.
        choices: all defenses, from the cheapest on.
    """

    model: str
    threat: ThreatRow
    bare: Choice | None
    choices: Sequence[Choice]

    @property
    def best(self) -> list[Choice]:
        """Those that none is better than in what is left, in clean inputs and in passes at once."""
        return [each for each in self.choices if not any(_beats(other, each) for other in self.choices)]


def fronts(audit: Audit) -> list[Front]:
    """Of each model and threat with enough defenses under attackers who know them, the front."""
    found = []
    scopes = {(c.task, c.model, c.threat.norm, c.threat.eps): c.threat for c in audit.cells if c.knowledge != "clean"}
    for (task, model, norm, _), threat in scopes.items():
        kin = [c for c in audit.cells if (c.task, c.model) == (task, model) and c.outcomes and not c.control]
        clean = [c for c in kin if c.knowledge == "clean" and c.threat.norm == norm]
        made = [(c, choice) for c in clean if (choice := _choice(c, kin, threat, audit)) is not None]
        bare = next((choice for c, choice in made if c.undefended), None)
        choices = sorted((choice for c, choice in made if not c.undefended), key=lambda each: each.passes)
        if len(choices) >= FEWEST:
            found.append(Front(model, threat, bare, choices))
    return found


def recommended(front: Front) -> dict[str, Choice | None]:
    """For each budget what leaves most at no more than the clean cost; None where nothing does and may be believed."""
    found: dict[str, Choice | None] = {}
    for name, most in BUDGETS.items():
        fit = [each for each in front.choices if each.sound and _affordable(each, front, most)]
        found[name] = max(fit, key=lambda each: (each.left.value, -each.passes), default=None)
    return found


def recommendation(name: str, front: Front) -> str:
    """The sentence that a decision-maker needs."""
    choice, most = recommended(front)[name], BUDGETS[name]
    at = f"at most {most:g} times the passes of the bare model" if most < float("inf") else "whatever the passes"
    if choice is None:
        return _spaced(f"{name} ({at}): none costs at most {CLEAN_COST:.0%} of the clean inputs and passes its checks")
    bare = f", the bare model {percent(front.bare.left.value, front.bare.n)}" if front.bare else ""
    return _spaced(
        f"{name} ({at}): {choice.name}. Against the worst attacker {percent(choice.left.value, choice.n)} "
        f"{ends(choice.left, carried(choice.n))} are right or rejected{bare}; of clean inputs "
        f"{percent(choice.clean.value, choice.n)} are right; {choice.passes:.1f} passes a decision"
    )


def front_chart(front: Front) -> Markup:
    """What is left over the passes by ratio, a dot for each defense, the front as a line."""
    everyone = [*front.choices, *([front.bare] if front.bare else [])]
    low, high = (end(each.passes for each in everyone) for end in (min, max))
    across = Scale(low=low, high=max(high, 1.5 * low), start=LEFT + 8, end=RIGHT - 8, by_ratio=True)
    line = [Spot(across(each.passes), SHARES(each.left.value)) for each in _rising(front)]
    ticks = {each.passes: f"{each.passes:.3g}" for each in everyone}
    return board(
        WIDTH,
        HEIGHT,
        f"What is left of {front.model} at {budget(front.threat)} over the passes of a decision",
        frame(across, ticks, "forward passes of a decision"),
        tag("path", class_="line k-adaptive", fill="none", d=path(line)),
        *(_dot(each, across, each is front.bare) for each in everyone),
    )


def _choice(clean: Cell, kin: Sequence[Cell], threat: ThreatRow, audit: Audit) -> Choice | None:
    """The defense of a clean row; None where no attacker knows it."""
    mine = [c for c in kin if c.defense == clean.defense and c.settings.get("defense") == clean.settings.get("defense")]
    rows = [c for c in mine if c.knowledge != "clean" and c.threat == threat]
    if not any(c.knowledge == "adaptive" for c in rows):
        return None
    worst = min(rows, key=lambda c: _unharmed(c) / c.n)
    passes = clean.ledger.forwards / clean.n
    sound = not any(check.status == "fail" for c in (clean, *rows) for check in c.health)
    right = clean.outcomes.correct if clean.outcomes else 0
    left = _share(_unharmed(worst), worst.n)
    return Choice(defense_name(clean, audit.cells), _share(right, clean.n), left, passes, sound, clean.n, clean.id)


def _unharmed(cell: Cell) -> int:
    return cell.outcomes.correct + cell.outcomes.rejected if cell.outcomes else 0


def _share(count: int, n: int) -> Metric:
    found = wilson(count, n)
    return Metric(value=count / n, low=found.low, high=found.high)


def _beats(one: Choice, other: Choice) -> bool:
    mine = (one.left.value, one.clean.value, -one.passes)
    theirs = (other.left.value, other.clean.value, -other.passes)
    return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


def _rising(front: Front) -> list[Choice]:
    """The cheapest, and each that leaves more than all that are cheaper."""
    found: list[Choice] = []
    for each in sorted([*front.choices, *([front.bare] if front.bare else [])], key=lambda one: one.passes):
        if not found or each.left.value > found[-1].left.value:
            found.append(each)
    return found


def _affordable(choice: Choice, front: Front, most: float) -> bool:
    single = front.bare.passes if front.bare else 1.0
    before = front.bare.clean.value if front.bare else 1.0
    return choice.passes <= most * single and before - choice.clean.value <= CLEAN_COST


def _dot(choice: Choice, across: Scale, bare: bool) -> Markup:
    says = (
        f"{choice.name}: left {percent(choice.left.value, choice.n)} {ends(choice.left, carried(choice.n))}, clean "
        f"{percent(choice.clean.value, choice.n)}, {choice.passes:.1f} passes"
    )
    at = Spot(across(choice.passes), SHARES(choice.left.value))
    return tag("circle", tag("title", says), class_=f"dot k-{'clean' if bare else 'adaptive'}", cx=at.x, cy=at.y, r=3.6)


def _spaced(text: str) -> str:
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
