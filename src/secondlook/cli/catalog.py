"""``secondlook models``, ``attacks``, ``defenses`` and ``studies``: what there is."""

from __future__ import annotations

from collections.abc import Iterable


def models() -> None:
    """List the models that need no download, and the families that load any other."""
    from secondlook import registry
    from secondlook.models import listed

    rows = []
    for family in registry.names("model"):
        rows.append((f"{family}:…", registry.summary("model", family)))
        rows += [(f"{family}:{name}", line) for name, line in listed(family).items()]
    _table("model", rows)


def attacks() -> None:
    """List the attacks on images and on images with captions, with their settings and defaults."""
    _registered("attack")
    _registered("pair attack")


def defenses() -> None:
    """List the defenses, with their settings and defaults."""
    _registered("defense")


def studies() -> None:
    """List the studies in the package; `secondlook audit NAME` runs one."""
    from secondlook.audit.study import read, shipped

    _table("study", [(name, read(name).title) for name in shipped()])


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
    from secondlook.threat import Pixels, in_levels

    hints = get_type_hints(cls, include_extras=True)
    for key, field in registry.settings(cls).items():
        value: object = field.default
        if hints[key] == Pixels and isinstance(value, float):
            value = in_levels(value)
        elif isinstance(value, float):
            value = f"{value:g}"
        yield f"{key}={value}"


def _table(title: str, rows: Iterable[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title, "what it is", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
