"""Studies of the small worlds, and runs of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from secondlook.audit.api import run_study
from secondlook.audit.schema import Audit
from secondlook.audit.study import Study, parse
from tests.audit.single import world

Make = Callable[..., Study]
Run = Callable[[Study], tuple[Path, Audit]]


@pytest.fixture(autouse=True)
def _world(own_registry: None) -> Iterator[None]:
    """The world is in the registry, and nothing was attacked yet."""
    world.enter()
    world.Mortal.made.clear()
    yield
    world.Mortal.deadline = -1


@pytest.fixture
def telling() -> Make:
    """A study of captioning, with changes."""

    def made(**changes: Any) -> Study:
        plain: dict[str, Any] = {
            "name": "tell", "batch": 4, "exhibits": 2, "knowledge": ["clean", "adaptive"],
            "models": ["python:tests.audit.single.world:teller"],
            "task": {"name": "captioning", "data": "shades:9", "samples": 0},
            "threat": {"eps": ["24/255"]},
            "attack": {"name": "mortal", "objective": ["untargeted", "targeted"]},
        }  # fmt: skip
        return parse(plain | changes, "the test")

    return made


@pytest.fixture
def pointing(tmp_path: Path) -> Make:
    """A study of grounding, with changes."""
    spots = world.write_spots(tmp_path / "spots", 8)

    def made(**changes: Any) -> Study:
        plain: dict[str, Any] = {
            "name": "point", "batch": 3, "exhibits": 2, "knowledge": ["clean", "adaptive"],
            "models": ["python:tests.audit.single.world:window"],
            "task": {"name": "grounding", "data": f"refcoco:{spots}", "samples": 0,
                     "contrast": False},
            "threat": {"eps": ["200/255"]},
            "attacks": [{"name": "mortal", "objective": ["map", "cosine"]}, {"name": "recolour"}],
        }  # fmt: skip
        return parse(plain | changes, "the test")

    return made


@pytest.fixture
def audited(tmp_path: Path) -> Run:
    """Runs a study in a folder of its own."""

    def run(study: Study) -> tuple[Path, Audit]:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return folder, run_study(study, folder)

    return run
