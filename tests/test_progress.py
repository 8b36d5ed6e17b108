"""Progress bars: silent where nobody watches, shown only once work has taken long."""

import io
import time

import pytest

from secondlook import progress as module
from secondlook.progress import Bar, progress, silent, track
from secondlook.terminal import Terminal


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal would be sent."""
    written = io.StringIO()
    terminal = Terminal(file=written, force_terminal=True, width=100)
    monkeypatch.setattr("secondlook.terminal.Terminal", lambda **_: terminal)
    return written


def wait_for(text: str, screen: io.StringIO) -> None:
    until = time.monotonic() + 10
    while text not in screen.getvalue() and time.monotonic() < until:
        time.sleep(0.01)
    assert text in screen.getvalue()


def test_short_work_shows_nothing(screen: io.StringIO) -> None:
    with progress("short", 3) as tick:
        for done in range(3):
            tick(done + 1)
    assert screen.getvalue() == ""


def test_long_work_shows_what_is_done(screen: io.StringIO) -> None:
    with progress("attacking", 3, delay=0) as tick:
        tick(1, what="apgd")
        wait_for("attacking: apgd", screen)
        tick(2, 7, "square")
        wait_for("2/7", screen)


def test_show_false_and_logs_are_quiet(screen: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("hidden", 1, show=False, delay=0) as tick:
        tick(1)
        time.sleep(0.05)
    assert screen.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_a_stream_that_is_no_terminal_stays_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("log", 1, delay=0) as tick:
        time.sleep(0.1)
        tick(1)
    assert capsys.readouterr() == ("", "")


def test_an_error_ends_the_bar(screen: io.StringIO) -> None:
    with pytest.raises(ValueError, match="broken"), progress("failing", delay=0) as tick:
        wait_for("failing", screen)
        raise ValueError("broken")
    ended = screen.getvalue()
    tick(1)
    time.sleep(0.15)
    assert screen.getvalue() == ended


def test_track_gives_the_items_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int | None]] = []
    monkeypatch.setattr(module.Bar, "__call__", lambda bar, done, total=None, what="": seen.append((done, bar.total)))
    assert list(track([5, 6], "items")) == [5, 6]
    assert list(track(iter("ab"), "letters")) == ["a", "b"]
    assert seen == [(1, 2), (2, 2), (1, None), (2, None)]


def test_silent_takes_what_a_bar_takes() -> None:
    silent(1, 2, "work")


def test_a_log_gets_a_line_for_each_thing_and_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("audit", delay=0, lines=True) as bar:
        until = time.monotonic() + 10
        while bar._log is None and time.monotonic() < until:
            time.sleep(0.01)
        bar(0, 4, "row 1 of 2: jpeg")
        capsys.readouterr()
        bar._began = bar._first_at = time.monotonic() - 60
        bar._log._at = 0.0
        bar(1, 4, "row 1 of 2: jpeg")
        bar(1, 4, "row 1 of 2: jpeg, 100 forwards")
        bar(1, 4, "row 1 of 2: jpeg, 200 of at most 1,400 forwards")
        bar(2, 4, "row 2 of 2: noise")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == "audit: row 1 of 2: jpeg (1 of 4 done, 60 s, about 3.0 min left)"
    assert lines[-1] == "audit: row 2 of 2: noise (2 of 4 done, 60 s, about 60 s left)"


def test_work_that_goes_on_counts_what_it_has_done_itself() -> None:
    """A training that is continued at step 900 of 1000 has not done 900 steps in these ten seconds."""
    bar = Bar("training", show=False)
    bar(900, 1000, "step")
    assert bar.left() is None
    bar._first_at -= 10
    bar(910, 1000, "step")
    assert bar.left() == pytest.approx(90, rel=0.05)


def test_timed_work_says_its_share_and_what_is_left() -> None:
    bar = Bar("audit", show=False, timed=True)
    bar(0, 1, "loading")
    assert bar.line() == "audit: loading (0% done, 0 s)"
    bar(30_000, 120_000, "row 2 of 9")
    assert bar.line() == "audit: row 2 of 9 (25% done, 0 s, about 90 s left)"


def test_a_line_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("audit") as bar:
        bar.write_line("about 3 min at most [on] this machine")
    assert capsys.readouterr() == ("", "about 3 min at most [on] this machine\n")


def test_a_log_says_at_each_beat_that_work_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("audit", delay=0, lines=True, beat=0.05) as bar:
        bar(0, 4, "a long row")
        time.sleep(0.6)
    said = capsys.readouterr().err
    assert said.count("a long row (0 of 4 done, ") >= 3
    time.sleep(0.15)
    assert capsys.readouterr().err == ""
