"""A whole audit in one call: what the command line does, for Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from secondlook.audit.finish import finish
from secondlook.audit.lock import locked
from secondlook.audit.merge import merged, shards
from secondlook.audit.plan import Plan, Shard, plan
from secondlook.audit.run import execute, settle
from secondlook.audit.store import Run
from secondlook.audit.study import Study, parse, read
from secondlook.models.runtime import engine
from secondlook.progress import Tick
from secondlook.schema import Audit

Ended = Callable[[Plan, Run, Audit], object]
"""What is done with a plan, what it has stored and its result."""


def _silent(done: int, of: int, what: str) -> None:
    """Shows no progress."""


def run_study(
    study: Study | str,
    out: Path | str,
    shard: Shard | None = None,
    tick: Tick = _silent,
    command: str = "secondlook.run_study",
    device: str = "auto",
    wait: bool = False,
    notify: Callable[[str], None] | None = None,
    ended: Ended | None = None,
) -> Audit:
    """Runs a study, or goes on with it where a kill has stopped it, and writes its report.

    Args:
        study: a study, its name in the package, or the path of a TOML file.
        out: the run directory; afterwards it holds ``audit.json`` and ``report.html``.
        shard: do only this part of the samples.
        tick: called with the milliseconds that are spent, those and the ones that are left, and what is done.
        command: how the run was called, for its provenance.
        device: where models and images are put: ``cpu``, ``cuda``, ``cuda:1``; ``auto`` takes CUDA
            where there is one. A run may be continued on another.
        wait: for another process that works in ``out`` to end, instead of refusing.
        notify: told before the run begins how long it takes at most, by a few passes that are measured.
        ended: called with the plan, what it has stored and its result, while the run directory is still locked.

    Raises:
        UnknownName, InvalidInput: the study names something that is not there, or does not fit; or
            there is no such device, or there are more shards than samples.
        BrokenRun: ``out`` belongs to another study or version, is damaged, cannot be written, or
            another process works in it.
    """
    tick(0, 1, "loading models")
    config = read(study) if isinstance(study, str) else study
    made = plan(config, engine.device(device))
    with locked(Path(out), command, tick, wait):
        run = execute(made, Path(out), shard or Shard(), tick, command, notify)
        tick(1, 1, "writing the report")
        return _finished(made, run, ended)


def merge_runs(
    folders: Sequence[Path],
    out: Path,
    tick: Tick = _silent,
    command: str = "secondlook.merge_runs",
    ended: Ended | None = None,
) -> Audit:
    """Puts the shards of one study together and reports on the whole; ``ended`` is as in :func:`run_study`.

    Raises:
        BrokenRun: the folders are not all shards of one study and one version, each once and whole;
            the message names the part that is missing. Or ``out`` holds something else.
    """
    parts = shards(folders, out)
    made = plan(parse(parts[0].head["study"], str(parts[0].folder / "run.json")), None)
    with locked(out, command, tick):
        run = settle(made, merged(made, parts, out, command), tick)
        return _finished(made, run, ended)


def _finished(made: Plan, run: Run, ended: Ended | None) -> Audit:
    result = finish(made, run).of_run(run.folder)
    if ended is not None:
        ended(made, run, result)
    return result
