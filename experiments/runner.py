"""Runs the arms of an experiment one after another; a run that was stopped goes on where it was.

Each arm is measured once and written to a file of its own, whole or not at all. What is there is
not measured again, an arm that fails is written to the log and does not keep the others from
running, and the tables are made of whatever is there.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from secondlook.errors import InvalidInput

Result = dict[str, Any]
"""What an arm has measured, as JSON holds it."""
Measure = Callable[[Path], Result]
"""Measures one arm; the folder is for what it keeps meanwhile."""

log = logging.getLogger("experiments")


class Experiment(Protocol):
    """Arms that are set side by side."""

    name: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the options of this experiment."""

    def arms(self, options: argparse.Namespace) -> Mapping[str, Measure]:
        """The arms by name, in the order in which they are run."""

    def report(self, results: Mapping[str, Result]) -> Iterator[str]:
        """The lines of the tables, as Markdown, as far as their arms are there."""


def main(experiment: Experiment, about: str | None) -> None:
    """The command line of an experiment: runs what is missing, prints the tables."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs") / experiment.name, help="output folder (%(default)s)")
    parser.add_argument("--arm", default="", help="only arms whose names contain this")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    experiment.add_arguments(parser)
    options = parser.parse_args()
    arms = experiment.arms(options)
    if not options.table:
        torch.set_num_threads(1)
        run({name: arm for name, arm in arms.items() if options.arm in name}, options.out)
    print("\n".join(experiment.report(stored(arms, options.out))))


def run(arms: Mapping[str, Measure], out: Path) -> None:
    """Measures the arms whose results are missing.

    Raises:
        InvalidInput: two arms would be written to one file.
    """
    _check_files(arms, out)
    _start_log(out)
    for name, measure in arms.items():
        place = result_file(out, name)
        if place.exists():
            log.info("%s: there already", name)
            continue
        log.info("%s: started", name)
        try:
            _store(place, measure(out))
        except Exception:
            log.exception("%s: failed", name)
        else:
            log.info("%s: done", name)


def _check_files(arms: Iterable[str], out: Path) -> None:
    taken: dict[Path, str] = {}
    for name in arms:
        first = taken.setdefault(result_file(out, name), name)
        if first != name:
            raise InvalidInput(f"arms {first!r} and {name!r} have one file for their results; rename one")


def _store(place: Path, result: Result) -> None:
    part = place.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1, default=str), encoding="utf-8")
    part.replace(place)


def stored(arms: Mapping[str, Measure], out: Path) -> dict[str, Result]:
    """The results that are there, in the order of the arms."""
    files = {name: result_file(out, name) for name in arms}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def result_file(out: Path, name: str) -> Path:
    """Where an arm's result lies: ``results/`` and the name in letters, digits and hyphens.

    >>> result_file(Path("out"), "RandAugment, all").name
    'RandAugment-all.json'
    """
    return out / "results" / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.json"


def _start_log(out: Path) -> None:
    """Writes to ``log.txt`` of the output folder and to the console."""
    (out / "results").mkdir(parents=True, exist_ok=True)
    handlers = (logging.FileHandler(out / "log.txt", encoding="utf-8"), logging.StreamHandler())
    log.handlers.clear()
    log.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
