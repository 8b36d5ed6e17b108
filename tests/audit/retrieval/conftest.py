"""A small world of colours to search, and a study of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from secondlook.audit.api import run_study
from secondlook.audit.schema import Audit
from secondlook.audit.study import Study, parse
from tests.audit.retrieval import dials

Make = Callable[..., Study]
Run = Callable[..., tuple[Path, Audit]]


@pytest.fixture(autouse=True)
def _world(own_registry: None) -> Iterator[None]:
    """The world is in the registry, and nothing was attacked yet."""
    dials.enter()
    dials.Swap.made.clear()
    yield
    dials.Swap.deadline = -1


@pytest.fixture
def study() -> Make:
    """The study, with changes."""

    def made(**changes: Any) -> Study:
        plain: dict[str, Any] = {
            "name": "dials", "batch": 4, "exhibits": 2, "knowledge": ["clean", "adaptive"],
            "models": ["python:tests.audit.retrieval.dials:dial"],
            "task": {"name": "retrieval", "data": "dials:10", "samples": 0},
            "threat": {"eps": ["40/255"]}, "attack": {"name": "swap"},
        }  # fmt: skip
        return parse(plain | changes, "the test")

    return made


@pytest.fixture
def audited(study: Make, tmp_path: Path) -> Run:
    """Runs the study, with changes, in a folder of its own."""

    def run(**changes: Any) -> tuple[Path, Audit]:
        config = study(**changes)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return folder, run_study(config, folder)

    return run
