"""``secondlook serve`` refuses what would listen to strangers, and checks a log."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from secondlook.serve.log import ChainedLog
from tests.cli.test_cli import Ended, secondlook

__all__ = ["secondlook"]


def test_a_log_is_checked(secondlook: Callable[..., Ended], tmp_path: Path) -> None:
    log = ChainedLog(tmp_path / "log.jsonl")
    log.append({"decision": "accepted"})
    log.close()
    ended = secondlook("serve", "--verify", "log.jsonl")
    assert ended.status == 0 and "1 lines" in ended.out
    (tmp_path / "log.jsonl").write_text("{}\n")
    assert secondlook("serve", "--verify", "log.jsonl").status == 2


def test_what_cannot_be_served_is_one_line(
    secondlook: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECONDLOOK_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tries = {
            ("--host", "0.0.0.0"): "SECONDLOOK_TOKEN",
            ("--port", port): "cannot be listened at",
            ("--fail", "maybe"): "closed, open",
            ("nothing.toml", "--port", port + 1 if port < 65535 else port - 1): "cannot be read as a policy",
        }
        for words, told in tries.items():
            ended = secondlook("serve", *words)
            assert ended.status == 2 and told in ended.err and len(ended.err.strip().splitlines()) == 1
