"""Runs that are killed, damaged or merged wrongly: the same records, figures and counts, or a clear error."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.finish import read_audit
from secondlook.audit.study import Study, parse
from secondlook.errors import SecondlookError
from secondlook.schema import Audit
from tests.audit.damages import DAMAGES
from tests.audit.deaths import Killed, Mortal, State, state
from tests.audit.wrong_shards import half_done, shards, wrong_sets

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
_SERVER = """
import os, signal, sys, time
import jinja2, scipy.stats, PIL.PngImagePlugin, safetensors.torch, torch
from benchmarks.bench_deaths import study
from secondlook.audit.api import run_study
for line in sys.stdin:
    name, out, seconds = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        try:
            run_study(study(name), out)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if seconds:
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Runs what it is told to in a process of its own, which has everything imported when it is born."""
HASH_SEEDS = 3


def study(name: str, seed: int = 0) -> Study:
    """One of the small studies: three samples in chunks of two."""
    table = {"name": "deaths", "batch": 2, "examples": 1, "knowledge": ["clean", "adaptive"], **STUDIES[name]}
    table["seed"] = seed
    return parse({**table, "task": {"samples": 3, **table.get("task", {})}}, name)


class _Server:
    """Runs of studies, each in a process of its own, under one ``PYTHONHASHSEED``."""

    def __init__(self, hash_seed: int) -> None:
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        command = [sys.executable, "-c", _SERVER]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, name: str, out: Path, seconds: float | None = None) -> tuple[bool, float]:
        """Whether a run came to its end, and how long it took; after so many seconds it is killed."""
        given, told = self.process.stdin, self.process.stdout
        assert given is not None and told is not None
        began = time.monotonic()
        print(f"{name}\t{out}\t{'' if seconds is None else seconds}", file=given, flush=True)
        return int(told.readline()) == 0, time.monotonic() - began

    def end(self) -> None:
        """Lets it go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def killed(name: str, kills: int, folder: Path) -> Iterator[str]:
    """Kills a run at random moments, under one hash seed after the other, until it may come to its end."""
    draws, out = random.Random(name), folder / "killed"
    servers = [_Server(draws.randrange(1, 9999)) for _ in range(HASH_SEEDS)]
    times = [server.run(name, folder / f"whole-{at}") for at, server in enumerate(servers)]
    assert all(ended for ended, _ in times)
    for at in range(kills):
        ended, _ = servers[at % HASH_SEEDS].run(name, out, draws.uniform(0.02, 0.9) * min(t for _, t in times))
        if ended:  # there is nothing left to kill
            shutil.rmtree(out)
    ended, _ = servers[-1].run(name, out)
    assert ended
    for server in servers:
        server.end()
    one = state(out, read_audit(out))
    for place in (folder / f"whole-{at}" for at in range(HASH_SEEDS)):
        yield "same" if state(place, read_audit(place)) == one else f"OTHER than {place.name}"


def deaths(work: Callable[[Path], Audit], folder: Path, every: int) -> Iterator[str]:
    """Dies at one operation on a file after the other, and does the same work again."""
    counter = Mortal()
    with counter.living():
        whole = state(folder / "counted", work(folder / "counted"))
    for at in range(1, counter.count + 1, every):
        mortal, out = Mortal(at, half=at % 2 == 0), folder / f"dead-{at}"
        try:
            with mortal.living():
                work(out)
        except Killed:
            pass
        yield "same" if state(out, work(out)) == whole else f"OTHER at {at}"
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


def merges(name: str, folder: Path) -> Iterator[str]:
    """Merges each wrong set of shards."""
    parts = shards(study(name), folder)
    wrongs = chain(half_done(study(name), parts), wrong_sets(study(name), study(name, seed=1), parts))
    for where, wrong in wrongs:
        try:
            merge_runs(wrong.folders, folder / "merged")
        except SecondlookError as error:
            yield "refused" if re.search(wrong.message, str(error)) else f"UNCLEAR where {where}: {error}"
        except Exception as error:  # what is looked for
            yield f"TRACEBACK where {where}: {error!r}"
        else:
            yield f"SILENT where {where}"
    try:
        yield "merged" if len(merge_runs(parts, folder / "merged").cells) else "EMPTY"
    except SecondlookError as error:
        yield f"REFUSED: {error}"


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
            parts = [folder / "shards" / f"part-{index}" for index in (1, 2, 3)]
            found: dict[str, list[str]] = {
                f"{options.kills} kills": list(killed(name, options.kills, folder)),
                "deaths": list(deaths(partial(run_study, study(name)), folder / "runs", options.every)),
                "damages": list(damaged(name, whole, folder / "sound", folder)),
                "wrong shards": list(merges(name, folder / "shards")),
                "deaths in merges": list(deaths(partial(merge_runs, parts), folder / "merges", options.every)),
            }
            counts = {what: {each: ends.count(each) for each in dict.fromkeys(ends)} for what, ends in found.items()}
            print(name, json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
