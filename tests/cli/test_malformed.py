"""Whatever is typed wrong, or handed over broken, ends in one clear line and status 2."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from secondlook import cli
from tests import console, tiny
from tests.cli.bad_models import FACTORIES, PURIFIERS


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Runs a command line that must be refused, in a folder of the test's own; gives the line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["secondlook", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        _, err = capsys.readouterr()
        assert stop.value.code == 2, err
        return err

    return run


def is_one_line(err: str) -> None:
    lines = console.said(err)
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    said = lines[0]
    assert 15 < len(said) < 1100
    assert not any(raw in said for raw in ("Traceback", "object at 0x", "NoneType' object", "Value error"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("malformed") / "pictures", 12)


BODY = """
models = ["python:tests.tiny:eye"]
knowledge = ["clean", "oblivious"]
rescore = 1
[task]
data = "folder:{pictures}"
samples = 6
[attack]
name = "pgd"
steps = 1
"""


@pytest.fixture
def study(tmp_path: Path, pictures: Path) -> Path:
    path = tmp_path / "base.toml"
    path.write_text(BODY.format(pictures=pictures))
    return path


HUGE = "9" * 400
"""No float holds it."""
SETTINGS = [
    *(
        f"{key}={value}"
        for key in ("batch", "rescore")
        for value in ("0", "-1", "true", "1.5", "nan", "'x'", "[]", "{}")
    ),
    *(f"examples={value}" for value in ("-1", "true", "0.5", "'x'", "[1]")),
    *(f"seed={value}" for value in ("-1", "true", "0.5", "'x'", "[1]", "nan", "inf")),
    *(f"{key}={value}" for key in ("title", "name", "about") for value in ("5", "[]", "{}", "true")),
    'title="a\\u0000b"',
    'title="a\\u001b[2J"',
    "name='../../x'",
    "name=''",
    *(f"models={value}" for value in ("[]", "5", "'scenes:clip'", "[5]", "['']", "['nope']", "[':']", "['scenes:']")),
    *(
        f"models=['{name}']"
        for name in ("scenes:nope", "scene:clip", "scenes:clip?x=1", "scenes:clip?dtype", "python:x")
    ),
    *(f"models=['{name}']" for name in ("scenes:clip?dtype=fp8", "scenes:clip?dtype=fp32&dtype=bf16", "scenes:vae")),
    "models.-1='scenes:clip'",
    "models.9='scenes:clip'",
    "models.x='scenes:clip'",
    *(f"task.name={value}" for value in ("5", "{a=1}", "''", "'vqa'", "[]", "true", "['zeroshot']")),
    *(f"task.samples={value}" for value in ("true", "-1", "1.5", "nan", "'x'", "1e9", "1000000")),
    *(f"task.data={value}" for value in ("5", "''", "'nope'", "'folder:'", "'folder:nowhere'", "'esc50:x'", "[]")),
    "task.nope=1",
    "task.seed='x'",
    "task.seed=-1",
    "task.data='scenes:test?seed=-1'",
    "task.prompt=5",
    "task.prompt='none such'",
    "task=5",
    *(f"threat.eps={value}" for value in ("[]", "['x']", "[nan]", "[inf]", "[0]", "[-1]", "[8]", "['8/0']", "[true]")),
    *(f"threat.eps={value}" for value in ("8", "{}", "['1e999']", "['inf/255']", "[[1]]")),
    *(f"threat.norm={value}" for value in ("'l3'", "5", "''", "[]")),
    "threat.nope=1",
    "threat=5",
    *(f"attack.name={value}" for value in ("5", "{a=1}", "''", "'pdg'", "true", "'sga'", "'attackvlm'")),
    *(f"attack.steps={value}" for value in ("0", "-1", "true", "1.5", "nan", "'x'", "{}", "[]")),
    *(f"attack.step={value}" for value in ("-1", "nan", "inf", "'8/0'", "true", "{}")),
    *(f"attack.{key}={value}" for key in ("momentum", "decay") for value in ("-1", "nan", "inf", "true", "'x'")),
    *(f"attack.{key}={value}" for key in ("random_start", "keep_best") for value in ("5", "'x'", "nan", "{}")),
    *(f"attack.draws={value}" for value in ("0", "-1", "true", "1.5", "nan")),
    *(f"attack.weight={value}" for value in ("-1", "nan", "inf", "'x'")),
    *(f"attack.objective={value}" for value in ("5", "'nope'", "'caption'")),
    "attack.gradient='none'",
    "attack.instead=5",
    "attack.through='walls'",
    "attack.nope=1",
    "attack=5",
    "adaptive=5",
    *(f"attacks={value}" for value in ("5", "[5]", "[{}, 5]", "[{name='pgd',knowledge=3}]", "[{name='nope'}]")),
    "attacks=[{name='pgd'},{name='pgd'}]",
    *(f"attacks=[{{name='pgd',knowledge={value}}}]" for value in ("['x']", "'x'", "true", "[5]")),
    *(
        f"defenses={value}"
        for value in ("[]", "5", "[5]", "[{name='nope'}]", "[{name=5}]", "[{name={a=1}}]", "[{nope=1}]")
    ),
    *(f"defenses=[{{name='jpeg',quality={value}}}]" for value in ("0", "96", "-1", "true", "nan", "'x'", "50.5", "{}")),
    *(f"defenses=[{{name='noise',sigma={value}}}]" for value in ("-1", "nan", "inf", "true", "'x'", "25.5")),
    *(f"defenses=[{{name='noise',samples={value}}}]" for value in ("0", "-1", "true", "1.5", "'x'")),
    *(f"defenses=[{{name='jpeg',label={value}}}]" for value in ("{a=1}", "5", "''", "' '", "true")),
    "defenses=[{name='jpeg',label='x'},{name='noise',label='x'}]",
    *(f"defenses=[{{purifier='python:tests.tiny:shift',noise={value}}}]" for value in ("nan", "inf", "true", "'x'")),
    *(f"defenses=[{{purifier={value}}}]" for value in ("5", "'nope'", "'scenes:clip'", "''", "[]", "true")),
    "defenses=[{purifier='scenes:vae',noise=1e9}]",
    "defenses=[{name='consensus',rule='loud',purifier='python:tests.tiny:shift'}]",
    *(f"knowledge={value}" for value in ("5", "['x']", "'clean'", "[5]", "{}")),
    "knowledge=['transfer']",
    *(f"surrogates={value}" for value in ("5", "[5]", "['nope']")),
    *(f"plugins={value}" for value in ("5", "[5]", "['.x']", "['no.such.module']", "['']")),
    *(f"prompts={value}" for value in ("5", "[5]", "['no set']")),
    *(f"{key}={HUGE}" for key in ("seed", "batch", "rescore", "resubmitted", "diagnosed", "examples")),
    *(f"{key}={HUGE}" for key in ("task.samples", "task.seed", "attack.steps", "attack.draws", "attack.step")),
    *(f"{key}={2**63}" for key in ("batch", "task.samples", "attack.steps")),
    *(f"{key}=10001" for key in ("rescore", "resubmitted")),
    f"threat.eps=[{HUGE}]",
    f"threat.eps=['1/{HUGE}']",
    f"defenses=[{{name='noise',samples={HUGE}}}]",
    "nope=1",
    "batch",
    "=5",
    "a.b.c=5",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_does_not_fit(refused: Callable[..., str], study: Path, setting: str) -> None:
    is_one_line(refused("audit", study, "--set", setting, "--out", "run"))


FILES: dict[str, bytes] = {
    "empty list of models": b"models = []",
    "no TOML": b"models = [",
    "text": b"just a text",
    "JSON": b'{"models": []}',
    "twice": b"seed = 1\nseed = 2\n",
    "bytes": bytes(range(256)),
    "latin-1": "title = 'é'".encode("latin-1"),
    "NUL": b"title = '\0'",
    "deep": b"task = " + b"[" * 5000 + b"]" * 5000,
    "deep tables": b"a." * 3000 + b"b = 1",
    "a number for a table": b"task = 3",
    "an array of tables for a table": b"[[task]]\nname = 'zeroshot'\n",
    "a table for an array": b"[defenses]\nname = 'jpeg'\n",
    "a date": b"seed = 1979-05-27",
    "UTF-16": "seed = 1".encode("utf-16"),
    "huge": b"seed = " + b"9" * 5000,
    "a string without an end": b'title = "x',
    "unknown key": b"defences = []",
}


@pytest.mark.parametrize("name", FILES)
def test_a_study_that_is_none(refused: Callable[..., str], tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(FILES[name])
    err = refused("audit", path, "--out", "run")
    is_one_line(err)
    assert "x.toml" in err or "unknown" in err


def test_a_byte_order_mark_is_no_mistake(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b"models = ['nope']")
    assert "unknown model 'nope'" in refused("audit", path, "--out", "run")


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_model_that_is_wrong(refused: Callable[..., str], study: Path, factory: str) -> None:
    """Told before the attacks, by name, or by the line of the user's own code."""
    is_one_line(refused("audit", study, "--model", f"python:tests.cli.bad_models:{factory}", "--out", "run"))


@pytest.mark.parametrize("factory", PURIFIERS)
def test_a_purifier_that_is_wrong(refused: Callable[..., str], study: Path, factory: str) -> None:
    setting = f"defenses=[{{purifier='python:tests.cli.bad_models:{factory}',samples=2}}]"
    err = refused("audit", study, "--set", setting, "--out", "run")
    is_one_line(err)
    assert "remakes" in err or "bad_models.py, line" in err


EYE = "python:tests.tiny:eye"
ATTACK = ("attack", "{pictures}/red", "--target", "red", "--model", EYE)
PURIFY = ("purify", "{pictures}/red", "--purifier", "python:tests.tiny:shift")
COMMANDS: list[tuple[str, ...]] = [
    *(
        (*ATTACK, "--eps", value)
        for value in ("", "x", "8", "0", "-1", "nan", "inf", "1e999", "8/0", "1", "inf/255", "/")
    ),
    *((*ATTACK, "--norm", value) for value in ("", "l3", "linfinity", "2")),
    *((*ATTACK, "--norm", "l2", "--eps", value) for value in ("1e30", "inf", "nan", "0", "-1")),
    *((*ATTACK, "--attack", value) for value in ("", "pdg", "5", "sga", "autoattack2")),
    *((*ATTACK, "--set", value) for value in ("", "x", "=", "steps", "steps=0", "steps=true", "steps=nan", "step=inf")),
    *((*ATTACK, "--set", value) for value in ("jpeg=-5", "jpeg=96", "jpeg=1.5", "momentum=nan", "decay=0", "nope=1")),
    *((*ATTACK, "--model", value) for value in ("", "x", ":", "scenes:", "scenes:nope", "scene:clip", "scenes:vae")),
    *(
        (*ATTACK, "--model", value)
        for value in ("scenes:captioner", "python:", "python:x", "python:x:y", "python:os:sep")
    ),
    *((*ATTACK, "--model", value) for value in ("file:nope", "local:nope", "hf:/nope", "openclip:nope", "albef:nope")),
    *((*ATTACK, "--device", value) for value in ("", "gpu", "cuda:99", "cpu:x", "meta", "mps")),
    *((*ATTACK, "--target", value) for value in ("", " ", "purple")),
    *((*ATTACK, "--target", "red", "--other", value) for value in ("",)),
    *(("attack", value, "--target", "red", "--model", EYE) for value in ("", "nowhere", "{study}", "/dev/null", ".")),
    (*ATTACK, "--out", "{pictures}/red"),
    (*ATTACK, "--out", "{study}"),
    (*ATTACK, "--out", "/dev/null"),
    *((*PURIFY, "--noise", value) for value in ("nan", "inf")),
    *((*PURIFY, "--samples", value) for value in ("0", "-1", HUGE)),
    (*ATTACK, "--seed", HUGE),
    ("harden", "--seed", HUGE, "--out", "h"),
    *(("doctor", EYE, "--samples", "2", "--json", value) for value in (".", "/", "{folder}")),
    *((*PURIFY, "--device", value) for value in ("gpu", "cuda:99")),
    *(("purify", "{pictures}/red", "--purifier", value) for value in ("", "x", "scenes:clip", "diffusers:nope", EYE)),
    ("purify", "{pictures}/red", "--purifier", "scenes:vae", "--noise", "1e9"),
    ("purify", "nowhere", "--purifier", "python:tests.tiny:shift"),
    *(
        ("audit", value)
        for value in ("nope", "nofile.toml", "{folder}", "", "a/b.toml", "{pictures}/red/0.png", "Default")
    ),
    *(("audit", "{study}", "--shard", value) for value in ("", "x", "0/2", "3/2", "-1/2", "1/0", "1", "1/x", "1.5/2")),
    *(("audit", "{study}", "--out", value) for value in ("{study}", "/dev/null")),
    *(("audit", "{study}", "--device", value) for value in ("", "gpu", "cuda:99", "meta")),
    *(
        ("audit", "{study}", "--data", value)
        for value in ("", "x", "folder:", "folder:nowhere", "nope:x", "folder:{study}")
    ),
    *(("report", value) for value in ("nowhere", "{study}", "{folder}")),
    *(("merge", value, "--out", "there") for value in ("nowhere", "{study}", "{folder}")),
    *(("doctor", value) for value in ("", "x", "scenes:", "scenes:nope", "python:x:y", "hf:/nope", "file:nope.pt2")),
    *(("doctor", EYE, "--data", value) for value in ("x", "folder:nowhere", "nope:x")),
    *(("doctor", EYE, "--device", value) for value in ("gpu", "cuda:99", "")),
    ("doctor", EYE, "--json", "{study}/x.json"),
    *(
        ("rescore", value)
        for value in ("", "nowhere", "{study}", "{folder}", "illusions:nowhere", "sga:nowhere", "x:y")
    ),
    *(("rescore", "{folder}", "--eps", value) for value in ("x", "8", "nan", "-1")),
    ("rescore", "{folder}", "--device", "gpu"),
    *(("rescore", "{folder}", f"--{key}", "x") for key in ("norm", "form", "attacked")),
    *(("harden", "--method", value, "--out", "h") for value in ("", "nope", "5")),
    *(("harden", "--device", value, "--out", "h") for value in ("", "gpu", "cuda:99")),
    *(("harden", "--lr", value, "--out", "h") for value in ("-1", "2", "nan", "inf")),
    *(("harden", "--eps", value, "--out", "h") for value in ("x", "8", "nan", "-1", "0")),
    *(("harden", "--average", value, "--out", "h") for value in ("-1", "1", "2", "nan")),
    *(
        ("harden", "--set", value, "--out", "h")
        for value in ("", "x", "nope=1", "clean_weight=-1", "scale=nan", "eps=true")
    ),
    *(
        ("harden", "--model", value, "--out", "h")
        for value in ("", "x", "scenes:classifier", "scenes:nope", "scenes:vae")
    ),
    ("harden", "--data", "nowhere", "--out", "h"),
    ("harden", "--steps", "0", "--out", "h"),
    ("harden", "--batch", "1", "--out", "h"),
    *(
        ("train", value, "--out", "w")
        for value in (
            *("", "x", "scenes:nope", "overhead-nope", "cifar10-clip", "captions-mlm"),
            *("prior:", "prior:scenes:vae", "prior:scenes:nope", "prompts:scenes:clip", "prompts:scenes:vae"),
        )
    ),
    *(("train", "scenes:clip", "--out", "w", "--device", value) for value in ("gpu", "cuda:99", "")),
    ("train", "scenes:clip", "--out", "w", "--data", "x"),
    *((verb, value) for verb in ("attacks", "defenses", "studies") for value in ("nope", "5", "nofile.toml")),
]


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(words) for words in COMMANDS])
def test_a_command_that_cannot_be(
    refused: Callable[..., str], study: Path, pictures: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    named = {"pictures": pictures, "study": study, "folder": tmp_path / "empty"}
    is_one_line(refused(*(word.format(**named) for word in words)))


USAGE = [
    ("nope",),
    ("--nope",),
    ("audit", "--nope"),
    ("audit", "--samples", "x"),
    ("audit", "--seed", "1.5"),
    ("attack",),
    *((verb, "x", "--seed", "-1") for verb in ("audit", "attack", "purify", "rescore")),
    ("harden", "--seed", "-1"),
    ("harden", "--seed", "x"),
    ("harden", "--workers", "0"),
    ("train",),
    ("train", "scenes:clip", "--workers", "0"),
    ("doctor",),
    ("doctor", "x", "--samples", "0"),
    *(("doctor", "x", "--size", value) for value in ("0", HUGE)),
    ("harden", "--workers", HUGE),
    ("merge",),
    ("merge", "x"),
]


@pytest.mark.parametrize("words", USAGE, ids=[" ".join(words) for words in USAGE])
def test_usage_is_told_with_status_2(refused: Callable[..., str], words: tuple[str, ...]) -> None:
    err = refused(*words)
    assert "Usage:" in err and "Traceback" not in err
