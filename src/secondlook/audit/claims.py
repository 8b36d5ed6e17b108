"""Claim cards: what was published of a defense, and beside it what this audit has left of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from secondlook import registry
from secondlook.audit.headline import group_key, worst
from secondlook.audit.study import checked, read_table
from secondlook.schema import VERDICTS, Cell, ClaimCard, Claimed, Headline, Kept, Metric, SampleRecord
from secondlook.variables import filled, untold


def read_card(name: str) -> ClaimCard:
    """A card by its file's path, which may hold ``${NAME}``.

    Raises:
        InvalidInput: there is no such file, it is no TOML, a key is unknown (the nearest is offered) or a value
            does not fit.
    """
    with untold(name):
        return _read(Path(filled(name)).expanduser(), name)


def card_of(name: str) -> ClaimCard | None:
    """The card of a registered defense: ``claims/NAME.toml`` beside its module; None where there is none.

    Raises:
        UnknownName: there is no such defense.
        InvalidInput: as :func:`read_card`.
    """
    path = Path(inspect.getfile(registry.find("defense", name))).parent / "claims" / f"{name}.toml"
    return _read(path, str(path)) if path.is_file() else None


def _read(path: Path, name: str) -> ClaimCard:
    return checked(ClaimCard, read_table(path), f"card {name}")


def claimed(
    cells: Sequence[Cell],
    headlines: Iterable[Headline],
    records: Mapping[str, Sequence[SampleRecord]],
    cards: Mapping[str, ClaimCard],
) -> list[Claimed]:
    """Each defense that has a headline, beside its card, if it has one; nothing where no row has any.

    Args:
        cells: all rows.
        headlines: what is told of them.
        records: of each row, by its id.
        cards: by the ids of the rows.
    """
    if not cards:
        return []
    rows = {cell.id: cell for cell in cells}
    clean = {group_key(cell): cell for cell in cells if cell.knowledge == "clean" and not cell.control}
    budgets: dict[str, list[Kept]] = {}
    for headline in headlines:
        under = [rows[name] for name in headline.rows]
        budgets.setdefault(group_key(under[0]), []).append(_kept(headline, under, records))
    return [_claimed(clean[key], found, cards.get(clean[key].id)) for key, found in budgets.items()]


def _kept(headline: Headline, under: Sequence[Cell], records: Mapping[str, Sequence[SampleRecord]]) -> Kept:
    verdicts = [cell.diagnosis.verdict for cell in under if cell.diagnosis]
    return Kept(
        threat=headline.threat,
        goal=headline.goal,
        n=headline.n,
        kept=dict(_by_knowledge(under, records)),
        worst=headline.worst_original_top1,
        verdict=min(verdicts, key=VERDICTS.index, default=None),
        withheld=headline.status == "withheld",
    )


def _by_knowledge(under: Sequence[Cell], records: Mapping[str, Sequence[SampleRecord]]) -> Iterable[tuple[str, Metric]]:
    for knowledge, some in groupby(sorted(under, key=lambda cell: cell.knowledge), key=lambda cell: cell.knowledge):
        yield knowledge, worst(list(some), records, "original_top1", min)


def _claimed(clean: Cell, budgets: list[Kept], card: ClaimCard | None) -> Claimed:
    return Claimed(
        task=clean.task,
        model=clean.model,
        defense=clean.defense,
        row=clean.id,
        card=card,
        clean=clean.metrics["original_top1"],
        forwards=clean.ledger.forwards / clean.n,
        backwards=clean.ledger.backwards / clean.n,
        budgets=budgets,
    )
