"""Small worlds in closed form, one for each task, studies of them, and runs that others share."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from secondlook import registry
from secondlook.audit.api import run_study
from secondlook.audit.study import Study, parse
from secondlook.schema import Audit
from tests import tiny
from tests.audit import dials, shades
from tests.audit.mortal import Mortal

Make = Callable[..., Study]
Run = Callable[[Study], tuple[Path, Audit]]
TASKS = ("classification", "captioning", "grounding", "retrieval")
EVERY = (*TASKS, "unlabeled")
SHADES, DIALS = "python:tests.audit.shades", "python:tests.audit.dials"


class Whole(NamedTuple):
    """An uninterrupted run: where it lies and what it found."""

    folder: Path
    audit: Audit

    @property
    def records(self) -> bytes:
        return (self.folder / "records.jsonl").read_bytes()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty-six images, six for each color."""
    return tiny.write_folder(tmp_path_factory.mktemp("tiny") / "pictures", 36)


@pytest.fixture(scope="session")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return Whole(folder, run_study(tiny.study(pictures), folder))


@pytest.fixture
def audited(pictures: Path, tmp_path: Path) -> Callable[..., Audit]:
    """Runs the tiny study, with changes, in a folder of its own."""

    def run(**changes: object) -> Audit:
        study = tiny.study(pictures, **changes)
        return run_study(study, tmp_path / registry.digest(study.model_dump()))

    return run


@pytest.fixture
def ran(tmp_path: Path) -> Run:
    """Runs a study in a folder of its own."""

    def run(study: Study) -> tuple[Path, Audit]:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return folder, run_study(study, folder)

    return run


@pytest.fixture
def worlds(own_registry: None) -> Iterator[None]:
    """The worlds are in the registry, and nothing was attacked yet."""
    shades.enter()
    dials.enter()
    Mortal.reset()
    yield
    Mortal.reset()


@pytest.fixture
def classification(pictures: Path, worlds: None) -> Make:
    """A study of classification, with changes."""

    def made(**changes: Any) -> Study:
        plain: dict[str, Any] = {
            "name": "name",
            "batch": 12,
            "examples": 2,
            "knowledge": ["clean", "adaptive"],
            "models": ["python:tests.tiny:eye"],
            "task": {"name": "classification", "data": f"folder:{pictures}", "samples": 0},
            "threat": {"eps": ["16/255"]},
            "attack": {"name": "mortal"},
        }
        return parse(plain | changes, "the test")

    return made


@pytest.fixture
def unlabeled(tmp_path: Path, pictures: Path, classification: Make) -> Make:
    """A study of images whose classes nobody knows, with changes."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        (flat / f"{number}.png").write_bytes(path.read_bytes())
    task = {"name": "unlabeled", "data": f"folder:{flat}", "samples": 0}
    return partial(classification, task=task)


@pytest.fixture
def captioning(worlds: None) -> Make:
    """A study of captioning, with changes."""

    def made(**changes: Any) -> Study:
        plain: dict[str, Any] = {
            "name": "tell",
            "batch": 4,
            "examples": 2,
            "knowledge": ["clean", "adaptive"],
            "models": [f"{SHADES}:teller"],
            "task": {"name": "captioning", "data": "shades:9", "samples": 0},
            "threat": {"eps": ["24/255"]},
            "attack": {"name": "mortal", "objective": ["untargeted", "targeted"]},
        }
        return parse(plain | changes, "the test")

    return made


@pytest.fixture
def grounding(tmp_path: Path, worlds: None) -> Make:
    """A study of grounding, with changes."""
    spots = shades.write_spots(tmp_path / "spots", 8)

    def made(**changes: Any) -> Study:
        plain: dict[str, Any] = {
            "name": "point",
            "batch": 3,
            "examples": 2,
            "knowledge": ["clean", "adaptive"],
            "models": [f"{SHADES}:window"],
            "task": {"name": "grounding", "data": f"refcoco:{spots}", "samples": 0, "contrast": False},
            "threat": {"eps": ["200/255"]},
            "attacks": [{"name": "mortal", "objective": ["map", "cosine"]}, {"name": "recolor"}],
        }
        return parse(plain | changes, "the test")

    return made


@pytest.fixture
def retrieval(worlds: None) -> Make:
    """A study of retrieval, with changes."""

    def made(**changes: Any) -> Study:
        plain: dict[str, Any] = {
            "name": "dials",
            "batch": 4,
            "examples": 2,
            "knowledge": ["clean", "adaptive"],
            "models": [f"{DIALS}:dial"],
            "task": {"name": "retrieval", "data": "dials:10", "samples": 0},
            "threat": {"eps": ["40/255"]},
            "attack": {"name": "swap"},
        }
        return parse(plain | changes, "the test")

    return made


@pytest.fixture(params=TASKS)
def any_study(request: pytest.FixtureRequest) -> Make:
    """A study of each task in turn, with changes."""
    found: Make = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that was not synced; only a power cut does."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test registers is forgotten after it."""
    for kind in registry._entries:
        registry.names(kind)
    copies = {kind: dict(entries) for kind, entries in registry._entries.items()}
    monkeypatch.setattr(registry, "_entries", copies)
