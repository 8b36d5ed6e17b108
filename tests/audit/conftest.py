"""A folder of tiny images, and one whole run over them that other tests compare with."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from secondlook import registry
from secondlook.audit.api import run_study
from secondlook.audit.schema import Audit
from tests import tiny


class Whole(NamedTuple):
    """An uninterrupted run: where it lies and what it found."""

    folder: Path
    audit: Audit

    @property
    def records(self) -> bytes:
        return (self.folder / "records.jsonl").read_bytes()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty-six images, six for each colour."""
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
