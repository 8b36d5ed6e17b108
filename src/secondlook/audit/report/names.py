"""What each row is called: its label, and just those settings that set it apart from its peers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from secondlook.audit.report.words import budget
from secondlook.audit.schema import Audit, Cell, Headline

KNOWLEDGE: Final[Mapping[str, str]] = {
    "clean": "nobody attacks",
    "oblivious": "attacks the bare model and does not know the defence",
    "transfer": "crafts on other models and knows neither model nor defence",
    "adaptive": "knows the defence and attacks all of it",
}
"""The kinds of attacker, from none to the strongest, with one line for each."""

_PHRASES = {
    "steps": "{} steps", "samples": "N = {}", "draws": "{} draws", "attacked": "attacked: {}",
    "objective": "{}", "through": "through the {}",
}  # fmt: skip
_GOALS: Final[Mapping[str, str]] = {"unsay": "untargeted", "say": "targeted"}
Facts = dict[str, str]


def defence_name(cell: Cell, cells: Sequence[Cell]) -> str:
    """The label of a defence, with the settings in which its namesakes differ."""
    peers = [each for each in cells if _place(each) == _place(cell)]
    return ", ".join([cell.defence, *_apart(_defence_facts(cell), map(_defence_facts, peers))])


def attacker_name(cell: Cell, cells: Sequence[Cell]) -> str:
    """The knowledge of a row, with what sets it apart from others of that knowledge."""
    return " · ".join([cell.knowledge, *attack_details(cell, rivals(cell, cells))])


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


def rivals(cell: Cell, cells: Sequence[Cell]) -> list[Cell]:
    """The rows of the same defence and knowledge."""
    return [
        each for each in cells
        if _place(each) == _place(cell) and each.knowledge == cell.knowledge
        and each.settings.get("defence") == cell.settings.get("defence")
    ]  # fmt: skip


def headline_name(headline: Headline, audit: Audit) -> str:
    """A defence's name, with model, task and budget where the headlines differ in them."""
    rows = [cell for cell in audit.cells if cell.id in headline.rows]
    name = defence_name(rows[0], audit.cells) if rows else headline.defence
    more = _apart(_scope(headline), map(_scope, audit.headline))
    return f"{name} ({', '.join(more)})" if more else name


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.task, cell.model, cell.defence


def _scope(headline: Headline) -> Facts:
    return {
        "task": headline.task, "model": headline.model, "budget": budget(headline.threat),
        "goal": _GOALS.get(headline.goal, headline.goal),
    }  # fmt: skip


def _defence_facts(cell: Cell) -> Facts:
    return _phrases(cell.settings.get("defence", {}))


def _attack_facts(cell: Cell) -> Facts:
    facts = {"attack": cell.attack, "budget": budget(cell.threat)}
    if cell.surrogates:
        facts["surrogates"] = "on " + " + ".join(cell.surrogates)
    return facts


def _beliefs(cell: Cell) -> list[str]:
    """What the attacker takes the defence for, where that is not what it is."""
    instead = cell.settings.get("attack", {}).get("instead") or {}
    return [f"believes {key} {value}" for key, value in instead.items()]


def _phrases(settings: Mapping[str, Any]) -> Facts:
    """Settings in words; which defence an attacker believes in is said apart."""
    named = {k: v for k, v in settings.items() if k not in ("name", "instead") and v != ""}
    return {key: _PHRASES.get(key, f"{key} {{}}").format(value) for key, value in named.items()}


def _apart(own: Facts, others: Iterable[Facts]) -> list[str]:
    peers = list(others)
    return [text for key, text in own.items() if any(peer.get(key) != text for peer in peers)]
