"""The verbs as a user calls them: what they print, write, refuse, and how they end."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from secondlook import cli
from secondlook.audit.finish import read_audit
from secondlook.audit.report import markdown
from secondlook.audit.study import shipped
from secondlook.cli.audit import _assign, assignment
from secondlook.data import images
from secondlook.errors import InvalidInput
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
VERBS = (
    "audit",
    "report",
    "merge",
    "attack",
    "purify",
    "doctor",
    "models",
    "attacks",
    "defenses",
    "studies",
    "train",
    "harden",
    "rescore",
    "guard",
    "compare",
    "export",
    "serve",
)


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def secondlook(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Runs a command line in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["secondlook", *map(str, words)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("cli") / "pictures", 36)


@pytest.fixture
def study(tmp_path: Path, pictures: Path) -> Path:
    """A study on disk, as small as can be shown."""
    path = tmp_path / "tiny.toml"
    path.write_text(
        f"""
        title = "A tiny world"
        batch = 18
        examples = 2
        models = ["python:tests.tiny:eye"]
        [task]
        data = "folder:{pictures}"
        [threat]
        eps = ["16/255"]
        [attack]
        steps = 8
        step = "3/255"
        [adaptive]
        draws = 2
        [[defenses]]
        name = "undefended"
        [[defenses]]
        label = "shifts [/red]"
        purifier = "python:tests.tiny:shift"
        samples = 3
        """
    )
    return path


@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS)])
def test_help_is_light(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['secondlook', *{words}, '--help']\n"
        "from secondlook.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted(m for m in sys.modules if m.partition('.')[0] in "
        "('torch', 'numpy', 'scipy', 'PIL', 'jinja2', 'safetensors')"
        " or m.startswith(('rich.progress', 'rich.live'))), sep=',', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr.strip() == ""
    assert "Usage" in done.stdout
    assert words or all(f" {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("encoding", "words", "said"),
    [
        ("ascii", ["studies"], b"mirrorcheck"),
        ("cp1252", ["studies"], b"mirrorcheck"),
        ("ascii", ["defenses", "consensus"], b"purifier"),
    ],
)
def test_a_console_without_utf_8_shows_what_it_can(encoding: str, words: list[str], said: bytes) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "160"}
    code = f"import sys; sys.argv = ['secondlook', *{words}]; from secondlook.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(secondlook: Callable[..., Ended], verb: str) -> None:
    ended = secondlook(verb, "--help")
    assert ended.status == 0 and "Usage: secondlook" in ended.out and ended.err == ""


def test_lists_of_what_there_is(secondlook: Callable[..., Ended]) -> None:
    told = {verb: secondlook(verb) for verb in ("models", "attacks", "defenses", "studies")}
    assert all(each.status == 0 and not each.err for each in told.values())
    for family in ("scenes", "python", "file", "diffusers"):
        assert f"{family}:…" in told["models"].out
    for text in ("illusion", "pgd", "steps=300", "step=1.37/255", "early_exit=False"):
        assert text in told["attacks"].out
    for text in ("undefended", "consensus", "jpeg", "noise", "rule=plurality", "quality=75"):
        assert text in told["defenses"].out
    assert all(name in told["studies"].out for name in shipped())


def test_an_audit_from_its_file_to_its_report_and_again(
    secondlook: Callable[..., Ended], study: Path, tmp_path: Path
) -> None:
    first = secondlook("audit", study)
    assert first.status == 0
    folder = tmp_path / "runs" / "tiny"
    assert {"audit.json", "report.html", "records.jsonl", "gallery.json", "ledger.jsonl"} <= {
        path.name for path in folder.iterdir()
    }
    assert "undefended" in first.out and "shifts [/red]" in first.out
    assert "runs/tiny/report.html" in first.out
    records = (folder / "records.jsonl").read_bytes()
    again = secondlook("audit", study)
    assert again.status == 0 and again.out == first.out
    assert (folder / "records.jsonl").read_bytes() == records
    (folder / "report.html").unlink()
    shown = secondlook("report", "runs/tiny")
    assert shown.status == 0 and shown.out == first.out
    assert (folder / "report.html").exists()
    (folder / "report.html").unlink()
    tables = secondlook("report", "runs/tiny", "--markdown")
    assert tables.status == 0 and tables.out == markdown(read_audit(folder))
    assert not (folder / "report.html").exists()


def test_options_change_the_study_and_its_folder(
    secondlook: Callable[..., Ended], study: Path, tmp_path: Path, pictures: Path
) -> None:
    ended = secondlook(
        "audit",
        study,
        "--samples",
        18,
        "--eps",
        "4/255",
        "--eps",
        "16/255",
        "--steps",
        3,
        "--seed",
        7,
        "--model",
        "python:tests.tiny:other",
        "--set",
        "adaptive.draws=1",
        "--set",
        'knowledge=["clean", "adaptive"]',
        "--set",
        "defenses.1.samples=2",
        "--set",
        "title=Mine",
        "--data",
        f"folder:{pictures}",
    )
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("tiny-")
    content = json.loads((folder / "audit.json").read_text())
    assert content["title"] == "Mine" and content["provenance"]["seed"] == 7
    assert {(c["model"], c["n"], c["knowledge"]) for c in content["cells"]} == {
        ("tiny:other", 18, "clean"),
        ("tiny:other", 18, "adaptive"),
    }
    assert {c["threat"]["eps"] for c in content["cells"]} == {0, 4 / 255, 16 / 255}
    assert {c["settings"]["attack"].get("steps") for c in content["cells"]} == {None, 3}
    assert {c["settings"]["attack"].get("draws") for c in content["cells"]} == {None, 1}
    assert {c["settings"]["defense"].get("samples") for c in content["cells"]} == {None, 2}


def test_shards_and_merge(secondlook: Callable[..., Ended], study: Path, tmp_path: Path) -> None:
    whole = secondlook("audit", study, "--out", tmp_path / "whole")
    parts = [secondlook("audit", study, "--shard", f"{index}/2") for index in (1, 2)]
    assert [part.status for part in parts] == [0, 0]
    folders = [tmp_path / "runs" / "tiny" / f"shard-{index}-of-2" for index in (1, 2)]
    refused = secondlook("merge", *folders, "--out", tmp_path / "merged")
    assert refused.status == 2 and "runs code, python:tests.tiny:eye" in refused.err and "--trust" in refused.err
    merged = secondlook("merge", *folders, "--out", tmp_path / "merged", "--trust")
    assert (whole.status, merged.status) == (0, 0)
    found = [
        {c["id"]: (c["metrics"], c["outcomes"]) for c in json.loads(text)["cells"]}
        for text in ((tmp_path / name / "audit.json").read_text() for name in ("whole", "merged"))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit", "defualt"], r"unknown study 'defualt'; did you mean default?"),
        (["audit", "nowhere.toml"], r"nowhere.toml is no such file"),
        (["audit", "{study}", "--model", "scenes-clip"], "unknown model 'scenes-clip'"),
        (["audit", "{study}", "--model", "python:tests.tiny:eyes"], "did you mean eye"),
        (["audit", "{study}", "--data", "folder:nowhere"], "nowhere cannot be read as a folder"),
        (["audit", "{study}", "--data", "folder:."], "make two or more, one per class"),
        (["audit", "{study}", "--eps", "8"], "eps=8 is outside [0, 1]; eps is in pixel units"),
        (["audit", "{study}", "--eps", "1"], "write 1/255"),
        (["audit", "{study}", "--eps", "much"], "write 8/255 or 0.0314"),
        (["audit", "{study}", "--samples", "-1"], "samples=-1; write 0 or more"),
        (["audit", "{study}", "--steps", "0"], "steps=0; write 1 or more"),
        (["audit", "{study}", "--set", "batch=0"], "batch = 0"),
        (["audit", "{study}", "--set", "defenses.1.samples=0"], "samples=0; write 1 or more"),
        (["audit", "{study}", "--set", "batch"], "write KEY=VALUE"),
        (["audit", "{study}", "--set", "bach=3"], "unknown key 'bach'; did you mean batch?"),
        (["audit", "{study}", "--set", "name.x=3"], "--set name.x: the study has no such place"),
        (["audit", "{study}", "--set", "defenses.9.samples=3"], "has no such place"),
        (["audit", "{study}", "--set", "defenses.x.samples=3"], "has no such place"),
        (["audit", "{study}", "--shard", "3/2"], "shard 3/2; write 1/4 to 4/4"),
        (["audit", "{study}", "--shard", "half"], "write i/n, as in 2/4"),
        (["audit", "{study}", "--out", "{study}"], "cannot write"),
        (["report", "nowhere"], "audit.json is missing; run `secondlook audit`"),
        (["report", "{study}"], "is missing"),
        (["merge", "nowhere", "--out", "there"], "run.json is missing"),
        (
            ["attack", "nowhere", "--target", "red", "--model", "python:tests.tiny:eye"],
            "nowhere cannot be read as a folder",
        ),
        (["attack", ".", "--target", "red", "--model", "python:tests.tiny:eye"], "no images in ."),
        (["attack", ".", "--target", "red", "--model", "scene:clip"], "did you mean scenes?"),
        (["attack", ".", "--target", "red", "--eps", "8"], "write 8/255"),
        (["attack", ".", "--target", "red", "--eps", "1"], "write 1/255"),
        (["attack", ".", "--target", "red", "--norm", "l3"], "'l2'"),
        (
            ["attack", ".", "--target", "red", "--model", "python:tests.tiny:eye", "--attack", "pdg"],
            "unknown attack 'pdg'; did you mean pgd",
        ),
        (
            ["attack", ".", "--target", "red", "--model", "python:tests.tiny:eye", "--set", "stps=3"],
            "'stps'; did you mean steps",
        ),
        (["purify", "nowhere", "--purifier", "python:tests.tiny:shift"], "nowhere cannot be read as a folder"),
        (["purify", ".", "--purifier", "python:tests.tiny:shift", "--samples", "0"], "samples=0; write 1 to 10,000"),
        (["purify", ".", "--purifier", "python:tests.tiny:eye"], "is no purifier; try scenes:vae"),
        (["purify", ".", "--purifier", "python:tests.tiny:blind", "--noise", "0.5"], "has no noise to tune"),
        (["doctor", "python:tests.tiny:eyes"], "did you mean eye"),
        (["doctor", "python:tests.tiny:eye", "--data", "folder:nowhere"], "nowhere cannot be read"),
        (["train", "scenes:clap", "--out", "w"], "scenes:clap"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    secondlook: Callable[..., Ended], study: Path, words: list[str], message: str
) -> None:
    ended = secondlook(*[word.replace("{study}", str(study)) for word in words])
    assert ended.status == 2, ended
    assert ended.out == ""
    lines = ended.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], ended.err


@pytest.mark.parametrize("factory", ["answer_raises_in_a_library", "network_of_another_size"])
def test_what_a_library_raises_in_a_user_s_model_is_theirs(
    secondlook: Callable[..., Ended], study: Path, factory: str
) -> None:
    """With the line of their code, where there is one."""
    ended = secondlook("audit", study, "--model", f"python:tests.cli.bad_models:{factory}")
    place = r"bad_models\.py, line \d+: " if factory.startswith("answer") else ""
    said = rf"error: {place}python:\S+:{factory} raised RuntimeError on pixels \(\d+, 3, 8, 8\) on cpu: mat1 .*"
    assert ended.status == 2 and re.fullmatch(said, ended.err.strip()), ended.err


def test_a_defect_is_no_user_s_mistake(
    secondlook: Callable[..., Ended], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("secondlook.audit.api.run_study", broken)
    with pytest.raises(ZeroDivisionError):
        secondlook("audit", study)


@pytest.mark.parametrize("verb", ["audit", "attack"])
def test_interrupted_it_says_so_and_ends_with_130(
    secondlook: Callable[..., Ended], study: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def interrupted(*args: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("secondlook.audit.api.run_study", interrupted)
    monkeypatch.setattr("secondlook.models.load", interrupted)
    words = {"audit": [study], "attack": [".", "--target", "x"]}[verb]
    ended = secondlook(verb, *words)
    assert ended.status == 130
    assert "interrupted; the same command goes on where this one stopped" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_says_the_same_unless_it_is_ignored(
    secondlook: Callable[..., Ended], study: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number, heard = getattr(signal, name), list[str]()

    def hit(*args: object, **how: object) -> None:
        os.kill(os.getpid(), number)
        heard.append("went on")
        raise InvalidInput("the end")

    monkeypatch.setattr("secondlook.audit.api.run_study", hit)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        assert secondlook("audit", study)[::2] == (
            128 + number,
            "interrupted; the same command goes on where this one stopped\n",
        )
        assert signal.getsignal(number) is signal.SIG_DFL and not heard
        signal.signal(number, signal.SIG_IGN)
        assert secondlook("audit", study)[::2] == (2, "error: the end\n") and heard
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_in_a_running_audit_keeps_what_is_done(study: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run"
    # A hundred times the work, so that it is certainly in the middle of it.
    words = ["audit", study, "--out", out, "--set", "batch=1", "--set", "adaptive.steps=200"]
    # A shell that runs the tests in the background has told them to ignore the signal.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "for each in (signal.SIGTERM, signal.SIGHUP): signal.signal(each, signal.SIG_DFL)\n"
        "from secondlook.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
    )
    records = out / "records.jsonl"
    deadline = time.monotonic() + 60
    while not (records.exists() and records.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert err.strip().splitlines()[-1] == "interrupted; the same command goes on where this one stopped"
    lines = records.read_bytes().split(b"\n")
    assert lines.pop() == b"" and all(json.loads(line)["sample"] for line in lines)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "Permission denied; give this user the right to it"),
        (errno.EROFS, "Read-only file system; name a place that can be written to"),
        (errno.ENOSPC, "No space left on device; make room there, and run the same command again"),
        (errno.ENOTDIR, "Not a directory; a part of its path is a file"),
        (errno.EISDIR, "Is a directory; a folder lies where a file belongs"),
        (errno.ENAMETOOLONG, "File name too long; the file system takes no name so long; write a shorter one"),
        (errno.EMFILE, "Too many open files; raise `ulimit -n`"),
        (errno.EIO, "Input/output error; the disk fails"),
        (errno.ENETDOWN, "Network is down; mend that, and run the same command again"),
    ],
)
@pytest.mark.parametrize("verb", ["audit", "harden", "merge"])
def test_what_the_system_refuses_is_a_sentence_of_its_own(
    secondlook: Callable[..., Ended], study: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str, verb: str
) -> None:
    def refused(*args: object, **how: object) -> None:
        raise OSError(number, os.strerror(number), "/the/place")

    for name in ("audit.api.run_study", "audit.api.merge_runs", "hardening.harden.harden"):
        monkeypatch.setattr(f"secondlook.{name}", refused)
    words = {"audit": [study], "harden": [], "merge": ["a", "--out", "b", "--trust"]}[verb]
    ended = secondlook(verb, *words)
    assert ended.status == 2 and ended.out == ""
    assert ended.err.startswith(f"error: cannot use /the/place: {message}")


def test_attack_writes_pngs_and_says_what_they_reach(
    secondlook: Callable[..., Ended], tmp_path: Path, pictures: Path
) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    for name, path in (("a.png", "green/002.png"), ("[bold] b.png", "blue/000.png")):
        (source / name).write_bytes((pictures / path).read_bytes())
    ended = secondlook(
        "attack",
        "mine",
        "--target",
        "red",
        "--model",
        "python:tests.tiny:eye",
        "--other",
        "green",
        "--other",
        "blue",
        "--eps",
        "20/255",
        "--set",
        "steps=20",
        "--set",
        "step=2/255",
    )
    assert ended.status == 0, ended.err
    lines = ended.out.strip().splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["[bold] b.png", "a.png"]
    assert all(line.endswith("  success") for line in lines[:2])
    assert lines[2] == "2 images in adversarial, each within L∞ 20/255 of its source"
    for name in ("a.png", "[bold] b.png"):
        moved = images.read(tmp_path / "adversarial" / name, None) - images.read(source / name, None)
        assert 0 < (moved * 255).round().abs().max() <= 20
    told = json.loads((tmp_path / "adversarial" / "provenance.json").read_text())
    assert [each["success"] for each in told["images"]] == [True, True]


def test_purify_just_purifies(secondlook: Callable[..., Ended], tmp_path: Path, pictures: Path) -> None:
    words = ["purify", pictures / "red", "--purifier", "python:tests.tiny:shift", "--samples", 2]
    ended = secondlook(*words)
    assert ended.status == 0 and ended.out.strip() == "12 images in purified"
    secondlook(*words, "--noise", 0, "--out", "still")
    for path in sorted((pictures / "red").iterdir()):
        clean = images.read(path, None)
        first, second = (images.read(tmp_path / "purified" / f"{path.stem}-{n}.png", None) for n in (1, 2))
        assert first.shape == clean.shape and not torch.equal(first, second)
        assert torch.equal(images.read(tmp_path / "still" / f"{path.stem}-1.png", None), clean)


def test_values_on_the_command_line_are_read_as_toml_has_them() -> None:
    assert assignment("adaptive.draws=4") == ("adaptive.draws", 4)
    assert assignment(' a.b = "x" ') == ("a.b", "x")
    assert assignment("eps=8/255") == ("eps", "8/255")
    assert assignment("steps=[1, 2]") == ("steps", [1, 2])
    assert assignment("early_stop=false") == ("early_stop", False)
    assert assignment("purifier=scenes:vae") == ("purifier", "scenes:vae")
    assert assignment("title=") == ("title", "")
    with pytest.raises(InvalidInput, match="has no value; write KEY=VALUE"):
        assignment("steps")


def test_a_value_is_put_where_its_key_says() -> None:
    table: dict[str, object] = {"defenses": [{"name": "a"}, {"name": "b"}]}
    _assign(table, "defenses.1.samples", 3)
    _assign(table, "task.data", "x")
    assert table == {"defenses": [{"name": "a"}, {"name": "b", "samples": 3}], "task": {"data": "x"}}


def test_the_version_in_four_ways(secondlook: Callable[..., Ended]) -> None:
    import secondlook as package

    ended = secondlook("--version")
    assert (ended.status, ended.out) == (0, f"secondlook {package.__version__}\n")
    alone = subprocess.run(
        [sys.executable, "-m", "secondlook", "--version"], capture_output=True, text=True, check=True
    )
    assert alone.stdout == ended.out and package.__version__ == version("secondlook")


def test_completion_can_be_installed(secondlook: Callable[..., Ended]) -> None:
    assert "--install-completion" in secondlook("--help").out


@pytest.mark.parametrize("verb", ["audit", "attack", "purify", "doctor", "rescore", "train", "harden"])
def test_every_verb_that_computes_takes_a_device_alike(secondlook: Callable[..., Ended], verb: str) -> None:
    said = " ".join(secondlook(verb, "--help").out.split())
    assert "--device" in said and "[default: auto]" in said


def test_one_attack_defense_or_study_can_be_shown(secondlook: Callable[..., Ended]) -> None:
    assert "Auto-PGD" in (shown := secondlook("attacks", "apgd").out) and "rho=0.75" in shown
    assert "step=" in secondlook("attacks", "sga").out + secondlook("attacks", "pgd").out
    assert "quality=75" in (jpeg := secondlook("defenses", "jpeg").out) and "Published:" not in jpeg
    assert "claim: 72.6 % (ImageNet, ViT-L/14, 4/255)" in secondlook("defenses", "clipure-cos").out
    time, *text = secondlook("studies", "default").out.splitlines(keepends=True)
    assert re.fullmatch(r"# about [\d.]+ (s|min|h) at most on this machine\n", time)
    assert "".join(text) == shipped()["default"].read_text(encoding="utf-8")
    assert re.search(r"illusions, about [\d.]+ (s|min|h) at most here", " ".join(secondlook("studies").out.split()))


def test_what_is_no_run_names_those_that_there_are(secondlook: Callable[..., Ended], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "audit.json").write_text("{}")
    for named in (".", "runs", "runs/c"):
        ended = secondlook("report", named)
        assert ended.status == 2 and "there is: runs/a, runs/b" in ended.err


def test_a_missing_study_is_no_such_file(secondlook: Callable[..., Ended]) -> None:
    assert "nofile.toml is no such file" in secondlook("audit", "nofile.toml").err
    assert "did you mean default" in secondlook("audit", "defualt").err


def test_an_unknown_model_names_families_too(secondlook: Callable[..., Ended]) -> None:
    said = secondlook("doctor", "zzz").err
    assert all(family in said for family in ("hf:", "python:", "scenes:clip"))


def test_unknown_names_list_what_there_is(secondlook: Callable[..., Ended]) -> None:
    for words in (("audit", "--model", "clip"), ("audit", "--model", "foo:bar"), ("doctor", "nothing")):
        said = secondlook(*words).err
        assert "python:…" in said and "hf:…" in said and "openclip:…" in said, said
    for words in (("audit", "nostudy"), ("studies", "nostudy")):
        said = secondlook(*words).err
        assert "did you mean" in said and all(name in said for name in shipped()), said
    said = secondlook("audit", "default", "--data", "foldr:x").err
    assert "did you mean folder" in said and "flickr8k:…" in said
