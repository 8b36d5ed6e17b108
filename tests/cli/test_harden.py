"""``secondlook harden`` as a user calls it: what it writes, refuses, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from secondlook import cli, registry
from secondlook.models import load
from tests.tiny import write_folder

ROOT = Path(__file__).resolve().parents[2]
MODEL = "python:tests.hardening.colors:factory"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def harden(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Hardens in a folder of the test's own, which has a folder ``images`` to learn from."""
    write_folder(tmp_path / "images", 24)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["secondlook", "harden", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run


SMALL = ("--model", MODEL, "--data", "folder:images", "--steps", 4, "--batch", 6, "--lr", 0.01)


def test_it_writes_a_model_that_loads_and_says_where(harden: Run, tmp_path: Path) -> None:
    status, out, err = harden(
        "--method",
        "fare",
        *SMALL,
        "--eps",
        "4/255",
        "--test",
        "folder:images",
        "--out",
        "mine",
        "--set",
        "attack_steps=3",
    )
    assert (status, err.strip()) == (0, "")
    assert "local:mine/factory-fare?trust=true" in out and "pgd20_top1_4_255" in out
    card = json.loads((tmp_path / "mine" / "factory-fare.json").read_text())
    assert card["recipe"]["method"]["attack_steps"] == 3
    assert card["recipe"]["method"]["eps"] == pytest.approx(4 / 255)
    assert card["recipe"]["training"]["rate"] == 0.01
    assert card["command"].startswith("secondlook harden --method fare --model python:")
    assert load("local:mine/factory-fare?trust=true").name == "local:mine/factory-fare"


def test_the_help_names_every_method(harden: Run) -> None:
    status, out, _ = harden("--help")
    assert status == 0
    assert all(name in out for name in registry.names("method"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "tecoas"), "did you mean tecoa"),
        (("--method", "clean", "--eps", "4/255"), "unknown field of method 'clean': 'eps'"),
        (("--set", "steps=3"), "unknown field of method 'tecoa': 'steps'"),
        (("--eps", "8"), "outside [0, 1]"),
        (("--batch", "25"), "24 samples do not fill a batch of 25"),
        (("--model", "scenes:vae"), "no embedder"),
        (("--method", "mat"), "no captions"),
        (("--steps", "0"), "steps=0"),
    ],
)
def test_what_cannot_be_is_one_line_and_status_2(words: tuple[str, ...], told: str, harden: Run) -> None:
    status, out, err = harden(*SMALL, *words)
    assert status == 2 and out == ""
    assert told in err and "Traceback" not in err


@pytest.mark.slow
def test_a_killed_command_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", 24)
    words = [
        "harden",
        "--method",
        "fare",
        "--model",
        MODEL,
        "--data",
        "folder:images",
        "--steps",
        "160",
        "--batch",
        "6",
        "--lr",
        "0.01",
        "--average",
        "0.9",
    ]
    python = [sys.executable, "-c", "from secondlook.cli import main; main()"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}

    def start(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*python, *words, "--out", out], cwd=tmp_path, env=environment)

    killed = start("killed")
    deadline = time.monotonic() + 300
    while not (tmp_path / "killed" / "factory-fare.checkpoint").exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "factory-fare.json").exists()
    for out in ("killed", "whole"):
        assert start(out).wait() == 0
    weights = [(tmp_path / out / "factory-fare.safetensors").read_bytes() for out in ("killed", "whole")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "killed" / "factory-fare.checkpoint").exists()
