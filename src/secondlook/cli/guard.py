"""``secondlook guard``: verdicts on a folder of images, and thresholds from clean ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secondlook.cli.audit import Device
from secondlook.progress import progress

if TYPE_CHECKING:
    from secondlook.guard.guard import Guard, Verdict

_SHOWN = 40
"""Rows of the table; of more, those that were accepted are counted."""


def guard(
    folder: Annotated[Path | None, typer.Argument(help="A folder of images to check, with all below it.")] = None,
    policy: Annotated[Path, typer.Option(help="The guard, as --calibrate has written it.")] = Path("guard.toml"),
    out: Annotated[Path | None, typer.Option(help="A file for the verdicts, one JSON object a line.")] = None,
    calibrate: Annotated[Path | None, typer.Option(help="Clean images: writes the policy, checks nothing.")] = None,
    model: Annotated[str, typer.Option(help="With --calibrate: the model to guard.")] = "scenes:clip",
    defense: Annotated[
        list[str] | None, typer.Option(help="With --calibrate: a defense that rejects; repeatable, cheap ones first.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="With --calibrate: the share of clean images to reject.")] = 0.05,
    device: Device = "auto",
) -> None:
    """Check images before a model answers for them; status 1 where one is rejected.

    For example: ``secondlook guard --calibrate clean/ --model scenes:classifier``, then ``secondlook guard uploads/``.
    """
    from secondlook.errors import InvalidInput

    if (folder is None) == (calibrate is None):
        raise InvalidInput("secondlook guard takes a FOLDER to check, or --calibrate with a folder of clean images")
    if calibrate is not None:
        _calibrate(calibrate, policy, model, defense or ["squeezing", "magnet"], alpha)
        return
    assert folder is not None
    if not _checked(folder, policy, out, device):
        raise typer.Exit(1)


def _calibrate(clean: Path, policy: Path, model: str, defense: list[str], alpha: float) -> None:
    from secondlook.guard.guard import Guard
    from secondlook.terminal import Terminal

    if policy.is_dir():
        policy = policy / "guard.toml"
    with progress("calibrate", lines=True) as tick:
        tick(0, 1, f"{model} behind {', '.join(defense)}")
        made = Guard(model, defense, alpha=alpha, calibrate_on=f"folder:{clean}", calibrate_samples=0)
    made.save(policy)
    calibration = made.policy.calibration
    low, high = (100 * each for each in calibration.rate)
    Terminal(highlight=False, markup=False, emoji=False).print(
        f"{policy}: of clean images {100 * alpha:g} % are rejected at most, in the mean over sets of "
        f"{len(calibration.scores)}, and {low:.1f} to {high:.1f} % with this one (95 %). Nobody has attacked it yet.",
        soft_wrap=True,
    )


def _checked(folder: Path, policy: Path, out: Path | None, device: str) -> bool:
    """Whether every image is accepted."""
    from secondlook.guard.guard import Guard
    from secondlook.models.runtime import engine
    from secondlook.terminal import Terminal

    made = Guard.load(policy)
    made.guarded.to(engine.device(device))
    rows = list(_rows(made, folder))
    if out is not None:
        _write(out, rows)
    console = Terminal(highlight=False, markup=False, emoji=False)
    refused = [row for row in rows if row["decision"] != "accepted"]
    _table(console, rows if len(rows) <= _SHOWN else refused)
    console.print(_summary(made, len(rows), len(refused)), soft_wrap=True)
    return not refused


def _rows(made: Guard, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each image, in the order of their names; what cannot be read is not accepted."""
    from secondlook.data import images
    from secondlook.data.confined import refuse_links
    from secondlook.errors import InvalidInput

    files = images.find(folder, deep=True)
    refuse_links(files, (folder.resolve(),))
    with progress("guard", lines=True) as tick:
        for at, path in enumerate(files):
            tick(at, len(files), path.name)
            name = path.relative_to(folder).as_posix()
            try:
                (verdict,) = made.check(path)
            except InvalidInput as error:
                yield {"file": name, "decision": "unreadable", "why": str(error).replace(str(path), name)}
            else:
                yield {"file": name, **_plain(verdict)}


def _plain(verdict: Verdict) -> dict[str, Any]:
    from dataclasses import asdict

    return {key: value for key, value in asdict(verdict).items() if value is not None}


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    import json

    from secondlook.drafts import write_atomic

    write_atomic(out, "".join(f"{json.dumps(row)}\n" for row in rows).encode())


def _table(console: Any, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("file", "decision", "suspicion", "p", "by", "answer"):
        table.add_column(title, justify="right" if title in ("suspicion", "p") else "left")
    for row in rows:
        known = "suspicion" in row
        numbers = (f"{row['suspicion']:.2f}", f"{row['p_value']:.3f}") if known else ("", "")
        by = row["stage"] if row["decision"] == "rejected" else ""
        table.add_row(row["file"], row["decision"], *numbers, by, row.get("answer", row.get("why", "")))
    console.print(table)


def _summary(made: Guard, count: int, refused: int) -> str:
    """What was found, what was promised, and what is known of attackers."""
    known = made.policy.audited
    evaded = known.said if known is not None else "nobody has attacked this guard yet"
    alpha = made.policy.calibration.alpha
    return (
        f"{count - refused} of {count} images accepted; of clean ones {100 * alpha:g} % are rejected at most; {evaded}"
    )
