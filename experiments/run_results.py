"""Runs the studies of ``docs/results.md`` one after another and takes their results in.

``python -m experiments.run_results`` goes on where it was stopped: an audit continues its own run,
and what has been taken in for the same study is not run again. Progress is in ``runs/results.log``.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from pathlib import Path

from experiments.results import DOCS, keep, sections
from secondlook.schema import Audit

log = logging.getLogger("experiments")


def run(study: str, out: Path, kept: Path) -> None:
    """Runs one study into ``out`` and takes its result into ``kept``; a failure is logged."""
    start = time.monotonic()
    log.info("%s: started", study)
    command = ["-c", "from secondlook.cli import main; main()", "audit", study, "--out", str(out)]
    with (out.parent / f"{out.name}.log").open("a", encoding="utf-8") as console:
        ended = subprocess.run([sys.executable, *command], stdout=console, stderr=console)
    if not (out / "audit.json").exists():
        log.error("%s: failed with exit status %d, see %s.log", study, ended.returncode, out)
        return
    place = keep(out, kept)
    log.info("%s: done after %.0f s, %s", study, time.monotonic() - start, place)


def finished(study: str, out: Path, kept: Path) -> bool:
    """Whether the result of the run in ``out`` has been taken in."""
    file = kept / f"{study}.json"
    if not (file.exists() and (out / "audit.json").exists()):
        return False
    one, other = (
        Audit.model_validate_json(each.read_text(encoding="utf-8")).provenance.get("config_hash")
        for each in (file, out / "audit.json")
    )
    return one == other


def main() -> None:
    """Runs what is missing, in the order of the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", nargs="*", help="some of them; all in the order of the page")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="(%(default)s)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        handlers=[logging.StreamHandler(), logging.FileHandler(options.out / "results.log")],
    )
    kept = DOCS / "results"
    shipped = [each.study for each in sections(kept) if not each.command]
    for study in options.studies or shipped:
        out = options.out / study
        if finished(study, out, kept):
            log.info("%s: there already", study)
        else:
            run(study, out, kept)


if __name__ == "__main__":
    main()
