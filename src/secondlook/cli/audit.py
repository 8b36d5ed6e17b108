"""``secondlook audit``, ``merge`` and ``report``."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secondlook.cli.gate import Gates, JUnit, Summary, hold, parsed
from secondlook.progress import Tick, progress

if TYPE_CHECKING:
    from secondlook.audit.api import Ended
    from secondlook.audit.plan import Shard
    from secondlook.audit.study import Study
    from secondlook.guard.deployed import Deployed
    from secondlook.schema import Audit

_PIPED = 120
"""Columns of a table that goes to a file or another program."""

Name = Annotated[
    str | None,
    typer.Argument(
        help="A study by name (see `studies`), or a TOML file; where none is named, `own` for a model or data of "
        "one's own, else `default`.",
        show_default=False,
    ),
]
Out = Annotated[Path | None, typer.Option(help="Run directory; the default is runs/STUDY, or runs/MODEL-DATA.")]
ShardOption = Annotated[str, typer.Option(help="Do part i of n of the samples only, as 2/4; see `merge`.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another process that works in the run directory.")]
Model = Annotated[list[str] | None, typer.Option(help="Audit this model instead; repeatable.")]
Data = Annotated[str | None, typer.Option(help="Take the images from here: folder:PATH, say.")]
Samples = Annotated[int | None, typer.Option(help="Number of images.")]
Eps = Annotated[list[str] | None, typer.Option(help="Radius in pixel units, 8/255; repeatable.")]
Steps = Annotated[int | None, typer.Option(help="Steps of the oblivious attack.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of samples, targets and draws.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any key: adaptive.draws=4")]
GuardOption = Annotated[
    Path | None,
    typer.Option(
        "--guard",
        help="Audit this guard as it is deployed, its own thresholds and all, and write the result into its file.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1; auto takes CUDA where it is.")]


def audit(
    study: Name = None,
    out: Out = None,
    shard: ShardOption = "1/1",
    model: Model = None,
    data: Data = None,
    samples: Samples = None,
    eps: Eps = None,
    steps: Steps = None,
    seed: Seed = None,
    set_: Set = None,
    guard: GuardOption = None,
    device: Device = "auto",
    wait: Wait = False,
    gate: Gates = None,
    junit: JUnit = None,
    summary: Summary = None,
) -> None:
    """Attack, defend, attack the defense knowing it, and report. Continues a killed run.

    With --gate the status is 0 where all gates held, 1 where one failed, 3 where a check voids its figure, 4 where the
    run is not whole; 2 is an error of the input.
    """
    from secondlook.audit.api import run_study
    from secondlook.audit.plan import Shard
    from secondlook.audit.study import parse

    gates = parsed(gate)
    lines: list[str] = []
    part, deployed = Shard.parse(shard), _deployed(guard, model, shard, lines.append)
    config, own = _meant(study, model or (), data or "", deployed)
    given = {
        "models": None if own else model,
        "task.data": None if own else data,
        "task.samples": samples,
        "threat.eps": eps,
        "attack.steps": steps,
        "seed": seed,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    changes |= dict(assignment(text) for text in set_ or [])
    if changes:
        table = config.model_dump(exclude_unset=True)
        for key, value in changes.items():
            _assign(table, key, value)
        config = parse(table, "the options")
    if deployed is not None:
        deployed.check(config)
    folder = out or _folder(config, bool(changes), part)
    with progress(config.name, lines=True, timed=True) as tick:
        ended = _ended(deployed, part, tick, lines.append)
        command = shlex.join(["secondlook", *sys.argv[1:]])
        result = run_study(config, folder, part, tick, command, device, wait, tick.write_line, ended)
    _show(result, folder)
    _tell(lines)
    hold(result, gates, junit, summary)


def _deployed(
    guard: Path | None, models: list[str] | None, shard: str, write: Callable[[str], object]
) -> Deployed | None:
    """The guard that is to be audited, if one is.

    Raises:
        InvalidInput: models are named beside it, or a part of the samples alone is to be done.
    """
    if guard is None:
        return None
    from secondlook.errors import InvalidInput
    from secondlook.guard.deployed import Deployed

    if models:
        raise InvalidInput(
            f"--model {models[0]} beside --guard {guard}, which has its own model; leave one of them out"
        )
    if shard != "1/1":
        raise InvalidInput(
            f"--shard {shard} beside --guard {guard}: its file takes the result of a whole; leave one out"
        )
    return Deployed(guard, write)


def _ended(deployed: Deployed | None, part: Shard, tick: Tick, write: Callable[[str], object]) -> Ended | None:
    """What follows a run: a guard's file takes the result, and a study that has guards writes them."""
    from secondlook.guard.recommended import write_recommended

    if deployed is not None:
        return partial(deployed.ended, tick=tick)
    return partial(write_recommended, write=write) if part.count == 1 else None


def _tell(lines: Iterable[str]) -> None:
    from secondlook.terminal import printable

    for line in lines:
        typer.echo(printable(line))


def _meant(named: str | None, models: Sequence[str], data: str, deployed: Deployed | None) -> tuple[Study, bool]:
    """The study, and whether models and data are fitted into it already."""
    from secondlook.audit.study import read
    from secondlook.cli.own import fitted, study_meant

    if deployed is not None:
        return deployed.study(read(named or "as-deployed")), False
    meant = study_meant(models, data) if named is None else named
    own = meant == "own" and bool(models or data)
    config = read(meant)
    return (fitted(config, models, data) if own else config), own


def merge(
    folders: Annotated[list[Path], typer.Argument(help="The run directories of all shards.")],
    out: Annotated[Path, typer.Option(help="Where the whole run goes.")],
    trust: Annotated[
        bool, typer.Option("--trust", help="The shards' study may run code: python:, file:, plugins.")
    ] = False,
) -> None:
    """Put the shards of one audit together and report on the whole."""
    from secondlook.audit.api import merge_runs
    from secondlook.audit.plan import Shard
    from secondlook.audit.store import read_json
    from secondlook.errors import InvalidInput

    for part in folders:
        if not trust and (code := running(read_json(part / "run.json").get("study"))):
            raise InvalidInput(
                f"the study in {part} runs code, {code}, and to merge its shards is to load its models; if you know "
                "where they come from, add --trust"
            )
    lines: list[str] = []
    with progress("merging", lines=True, timed=True) as tick:
        ended = _ended(None, Shard(), tick, lines.append)
        result = merge_runs(folders, out, tick, shlex.join(["secondlook", *sys.argv[1:]]), ended)
    _show(result, out)
    _tell(lines)


def running(value: Any) -> str:
    """The first thing in a stored study that runs code of its writer's choice; empty where nothing does."""
    if isinstance(value, dict):
        if value.get("plugins"):
            return f"plugins = {value['plugins']}"
        return next(filter(None, map(running, value.values())), "")
    if isinstance(value, list):
        return next(filter(None, map(running, value)), "")
    code = isinstance(value, str) and re.search(r"(^|,)\s*python:|[?&]trust=", value)
    return value if code else ""


def report(
    folder: Annotated[Path, typer.Argument(help="A run directory.")] = Path("runs/default"),
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables as Markdown and do nothing else.")
    ] = False,
    gate: Gates = None,
    junit: JUnit = None,
    summary: Summary = None,
) -> None:
    """Show the table of a finished run again and write its page anew; hold gates against it, as ``audit`` does."""
    from secondlook.audit.finish import read_audit, write_page

    gates = parsed(gate)
    result = read_audit(_run(folder))
    if markdown:
        from secondlook.audit.report.text import markdown as written
        from secondlook.terminal import printable

        typer.echo(printable(written(result)), nl=False)
        return
    write_page(folder)
    _show(result, folder)
    hold(result, gates, junit, summary)


def _run(folder: Path) -> Path:
    """The run directory; what runs there are is told where it is none.

    Raises:
        InvalidInput: there is no finished run in it, and there are some elsewhere.
    """
    from secondlook.errors import InvalidInput

    if (folder / "audit.json").is_file() or (folder / "run.json").is_file():
        return folder
    places = (folder, folder / "runs", Path("runs"))
    found = sorted({run.parent for place in places for run in place.glob("*/audit.json")})
    if found:
        raise InvalidInput(f"{folder} is no run; there is: {', '.join(map(str, found))}")
    return folder


def _show(result: Audit, folder: Path) -> None:
    from secondlook.audit.report.text import render
    from secondlook.terminal import Terminal

    unknown = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Terminal(width=_PIPED if unknown else None)
    render(result, console)
    places = f"\n{folder / 'report.html'}  {folder / 'audit.json'}"
    console.print(places, style="dim", markup=False, emoji=False, soft_wrap=True)


def _folder(config: Study, changed: bool, shard: Shard) -> Path:
    from secondlook.registry import digest

    name = f"{config.name}-{digest(config.model_dump())[:6]}" if changed else config.name
    folder = Path("runs") / name
    return folder / f"shard-{shard.index}-of-{shard.count}" if shard.count > 1 else folder


def assignment(text: str) -> tuple[str, Any]:
    """Reads ``adaptive.draws=4``: the value as TOML has it, else as a string."""
    import tomllib

    from secondlook.errors import InvalidInput

    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"--set {text!r} has no value; write KEY=VALUE, as adaptive.draws=4")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key.strip(), value.strip()


def _assign(table: dict[str, Any], key: str, value: Any) -> None:
    from secondlook.errors import InvalidInput

    *path, last = key.split(".")
    here: Any = table
    try:
        for part in path:
            here = here[_place(part)] if isinstance(here, list) else here.setdefault(part, {})
        here[_place(last) if isinstance(here, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError):
        raise InvalidInput(
            f"--set {key}: the study has no such place; write adaptive.draws or defenses.0.samples"
        ) from None


def _place(text: str) -> int:
    """A place in a list, counted from 0 and never from behind."""
    if not text.isdecimal():
        raise IndexError(text)
    return int(text)
