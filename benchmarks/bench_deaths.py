"""Runs that are killed, or damaged, and what they end with: the same records, figures and counts, or a clear error."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from secondlook.audit.api import run_study
from secondlook.audit.finish import read_audit
from secondlook.audit.study import Study, parse
from secondlook.errors import SecondlookError
from tests.audit.damages import DAMAGES
from tests.audit.deaths import Killed, Mortal, State, state

_DETECTOR = {"name": "mirrorcheck", "encoders": "scenes:clip", "false_rejection": 0.3, "calibrate_samples": 4}
STUDIES: dict[str, dict[str, Any]] = {
    "zero-shot": {
        "models": ["scenes:clip"],
        "attack": {"name": "illusion", "steps": 2},
        "defenses": [{"name": "undefended"}, {"name": "consensus", "purifier": "scenes:vae", "samples": 2}],
    },
    "retrieval": {
        "task": {"name": "retrieval", "attacked": ["both"]},
        "models": ["scenes:clip"],
        "attack": {"name": "sga", "steps": 1},
    },
    "captioning": {
        "task": {"name": "captioning", "readers": "scenes:clip"},
        "models": ["scenes:captioner"],
        "attack": {"name": "pgd", "steps": 1, "objective": ["untargeted", "targeted"]},
    },
    "grounding": {
        "task": {"name": "grounding", "seed": 1},
        "models": ["scenes:clip-vit"],
        "attacks": [{"name": "pgd", "steps": 1, "objective": ["map", "cosine"]}],
    },
    "detection": {
        "task": {"name": "captioning"},
        "models": ["scenes:captioner"],
        "attack": {"name": "pgd", "steps": 1},
        "defenses": [_DETECTOR],
    },
}
_FIX = re.compile(r"^(\S+\.jsonl), line (\d+), .*delete the line")
_KILLED = """
import sys
from benchmarks.bench_deaths import study
from secondlook.audit.api import run_study
import jinja2, scipy.stats, PIL.PngImagePlugin
print("begun", flush=True)
run_study(study(sys.argv[1]), sys.argv[2])
"""


def study(name: str) -> Study:
    """One of the small studies: three samples in chunks of two."""
    table = {"name": "deaths", "batch": 2, "examples": 1, "knowledge": ["clean", "adaptive"], **STUDIES[name]}
    return parse({**table, "task": {"samples": 3, **table.get("task", {})}}, name)


def _attempt(name: str, out: Path, seconds: float | None, draws: random.Random) -> tuple[bool, float]:
    """A process of its own under a hash seed of its own, killed after so many seconds; and how long it ran."""
    environment = {**os.environ, "PYTHONHASHSEED": str(draws.randrange(1, 9999))}
    command = [sys.executable, "-c", _KILLED, name, str(out)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    began = time.monotonic()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == 0, time.monotonic() - began


def killed(name: str, kills: int, folder: Path) -> str:
    """Kills a run at random moments and lets it come to its end; ``same`` where that is what it should be."""
    draws, out = random.Random(name), folder / "killed"
    ended, whole = _attempt(name, folder / "whole", None, draws)
    assert ended
    for _ in range(kills):
        _attempt(name, out, draws.uniform(0.02, 0.6) * whole, draws)
    ended, _ = _attempt(name, out, None, draws)
    assert ended
    one, other = (state(place, read_audit(place)) for place in (folder / "whole", out))
    return "same" if one == other else "OTHER"


def deaths(name: str, whole: State, folder: Path, every: int) -> Iterator[str]:
    """Dies at one operation on a file after the other."""
    counter = Mortal()
    with counter.living():
        run_study(study(name), folder / "counted")
    for at in range(1, counter.count + 1, every):
        mortal, out = Mortal(at, half=at % 2 == 0), folder / f"dead-{at}"
        try:
            with mortal.living():
                run_study(study(name), out)
        except Killed:
            pass
        yield "same" if state(out, run_study(study(name), out)) == whole else f"OTHER at {at}"
        shutil.rmtree(out)


def damaged(name: str, whole: State, sound: Path, folder: Path) -> Iterator[str]:
    """Does each damage, and then what the command says until it comes to its end."""
    for damage, change in DAMAGES.items():
        out, told = folder / "damaged", ""
        shutil.copytree(sound, out)
        change(out)
        for _ in range(5):
            try:
                found = state(out, run_study(study(name), out))
            except SecondlookError as error:
                told = str(error)
                fix = _FIX.match(told)
                if fix is None:
                    yield "told" if str(out) in told else f"UNCLEAR after {damage}: {told}"
                    break
                lines = Path(fix[1]).read_bytes().splitlines(keepends=True)
                del lines[int(fix[2]) - 1]
                Path(fix[1]).write_bytes(b"".join(lines))
            except Exception as error:  # what is looked for
                yield f"TRACEBACK after {damage}: {error!r}"
                break
            else:
                yield ("told and mended" if told else "same") if found == whole else f"SILENT after {damage}"
                break
        else:
            yield f"NO END after {damage}: {told}"
        shutil.rmtree(out)


def main() -> None:
    """Prints, for each study, how often each end was come to; whatever is in capitals is a defect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", choices=STUDIES, action="append")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--every", type=int, default=1, help="die at every so manieth operation on a file")
    options = parser.parse_args()
    for name in options.study or STUDIES:
        with TemporaryDirectory() as place:
            folder = Path(place)
            whole = state(folder / "sound", run_study(study(name), folder / "sound"))
            found: dict[str, list[str]] = {
                f"{options.kills} kills": [killed(name, options.kills, folder)],
                "deaths": list(deaths(name, whole, folder, options.every)),
                "damages": list(damaged(name, whole, folder / "sound", folder)),
            }
            counts = {what: {each: ends.count(each) for each in dict.fromkeys(ends)} for what, ends in found.items()}
            print(name, json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
