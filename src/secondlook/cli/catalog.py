"""``secondlook models``, ``attacks``, ``defenses`` and ``studies``: what there is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer


def models() -> None:
    """List the models that need no download, and the families that load any other."""
    from secondlook import registry
    from secondlook.models import listed

    rows = []
    for family in registry.names("model"):
        rows.append((f"{family}:…", registry.summary("model", family)))
        rows += [(f"{family}:{name}", line) for name, line in listed(family).items()]
    _table("model", rows)


One = Annotated[str, typer.Argument(help="Show this one alone, at length.")]


def attacks(name: One = "") -> None:
    """List the attacks on images and on images with captions, or show one with its settings."""
    if name:
        _shown(("attack", "pair attack"), name)
        return
    _registered("attack")
    _registered("pair attack")


def defenses(name: One = "") -> None:
    """List the defenses, or show one with its settings and what was published of it."""
    if name:
        _shown(("defense",), name)
        _card(name)
        return
    _registered("defense")


def _card(name: str) -> None:
    """What the card of a defense says, if it has one."""
    from secondlook.audit.claims import card_of
    from secondlook.audit.report.claims import card_said
    from secondlook.terminal import Terminal

    card = card_of(name)
    if card is not None:
        Terminal(markup=False, highlight=False, emoji=False).print("", "Published:", *card_said(card), sep="\n")


def studies(name: One = "") -> None:
    """List the studies in the package, or show one; `secondlook audit NAME` runs it."""
    from secondlook.audit.study import read, shipped

    if name:
        read(name)
        text = shipped()[name].read_text(encoding="utf-8") if name in shipped() else Path(name).read_text("utf-8")
        time = _times([name]).get(name)
        typer.echo(f"# {time} at most on this machine\n{text}" if time else text, nl=False)
        return
    found = {each: read(each) for each in shipped()}
    times = _times(found)
    _table("study", [(each, _about(one.title, one.about, times.get(each, ""))) for each, one in found.items()])


def _times(names: Iterable[str]) -> dict[str, str]:
    """About how long studies of the package take at most on this machine, by a quick measure of it."""
    from secondlook.audit.estimate import stored, unit
    from secondlook.progress import span

    costs = stored()
    if not any(name in costs for name in names):
        return {}
    each = unit()
    return {name: f"about {span(costs[name] * each)}" for name in names if name in costs}


def _about(title: str, about: str, time: str) -> str:
    """A study's title, its time, and the first sentence of what it is about."""
    from rich.markup import escape

    first = re.split(r"(?<=[.:;])\s", " ".join(about.split()), maxsplit=1)[0]
    said = f"{title}, {time} at most here" if time else title
    return f"{said}\n[dim]{escape(first)}[/dim]" if first else said


def _shown(kinds: Sequence[str], name: str) -> None:
    """The docstring of what is registered under a name, and each setting with its default."""
    from secondlook import registry
    from secondlook.errors import UnknownName
    from secondlook.terminal import Terminal

    known = {each: kind for kind in kinds for each in registry.names(kind)}  # type: ignore[arg-type]
    if name not in known:
        raise UnknownName(kinds[0], name, known)
    cls = registry.find(known[name], name)  # type: ignore[arg-type]
    console = Terminal(markup=False, highlight=False, emoji=False)
    console.print(f"{name}: {inspect.cleandoc(cls.__doc__ or '')}\n")
    for line in _defaults(cls):
        console.print(f"  {line}")


def _registered(kind: str) -> None:
    from secondlook import registry

    rows = []
    for name in registry.names(kind):  # type: ignore[arg-type]
        defaults = "  ".join(_defaults(registry.find(kind, name)))  # type: ignore[arg-type]
        rows.append((name, f"{registry.summary(kind, name)}\n[dim]{defaults}[/dim]"))  # type: ignore[arg-type]
    _table(kind, rows)


def _defaults(cls: type) -> Iterable[str]:
    """``key=default`` of each setting, as a study would say it."""
    from typing import get_type_hints

    from secondlook import registry
    from secondlook.threat import fraction, in_levels

    hints = get_type_hints(cls, include_extras=True)
    for key, field in registry.settings(cls).items():
        value: object = field.default
        if fraction in _readers(hints[key]) and isinstance(value, float):
            value = in_levels(value)
        elif isinstance(value, float):
            value = f"{value:g}"
        yield f"{key}={value}"


def _readers(hint: object) -> list[object]:
    """The functions that read a setting of a type from text."""
    return [getattr(extra, "func", None) for extra in getattr(hint, "__metadata__", ())]


def _table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table

    from secondlook.terminal import Terminal

    table = Table(title, "what it is", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Terminal().print(table)
