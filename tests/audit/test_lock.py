"""One process at a time on a run directory; dead ones block nobody."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secondlook.audit import finish
from secondlook.audit.api import run_study
from secondlook.audit.lock import locked
from secondlook.errors import BrokenRun
from tests.audit.conftest import Make

HOLDER = """
import sys, time
from pathlib import Path
from secondlook.audit.lock import locked
with locked(Path(sys.argv[1]), "the first command", lambda *told: None):
    print("held", flush=True)
    sys.stdin.readline()
"""


def silent(done: int, of: int, what: str) -> None:
    """Shows no progress."""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Another process that has the lock."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_is_first_and_a_dead_one_blocks_nobody(classification: Make, tmp_path: Path) -> None:
    study = classification(knowledge=["clean"])
    run_study(study, tmp_path)
    (tmp_path / ".left.part").write_bytes(b"half a file")
    process = holder(tmp_path)
    try:
        with pytest.raises(BrokenRun, match=rf"is in use by process {process.pid} on .* \(the first command\)"):
            run_study(study, tmp_path)
        # Whoever only reads need not wait.
        assert finish.read_audit(tmp_path).cells and finish.write_page(tmp_path).exists()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    run_study(study, tmp_path)
    assert not list(tmp_path.glob(".*.part"))


def test_who_waits_goes_on_when_the_first_has_ended(tmp_path: Path) -> None:
    process, told = holder(tmp_path), list[str]()

    def tick(done: int, of: int, what: str) -> None:
        told.append(what)
        assert process.stdin is not None
        process.stdin.close()

    began = time.monotonic()
    with locked(tmp_path, "the second", tick, wait=True):
        assert process.wait(10) == 0 and time.monotonic() - began < 10
    assert told == [text for text in told if f"waiting for process {process.pid}" in text] != []


def test_two_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "the first", silent),
        pytest.raises(BrokenRun, match=f"in use by process {os.getpid()}"),
        locked(tmp_path, "the second", silent),
    ):
        pass
    with locked(tmp_path, "the third", silent):
        assert (tmp_path / ".owner.json").exists()
    assert not (tmp_path / ".owner.json").exists()
