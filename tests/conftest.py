"""What every test may ask for: the shared folder of real data, and quiet, repeatable hypothesis."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is loaded: processes side by side share the processors, and threads that wait leave them to others.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import settings

# A slow machine is no failure, and a red test is red again at the next run.
settings.register_profile("secondlook", deadline=None, derandomize=True)
settings.load_profile("secondlook")

BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; the test is skipped where there is none."""
    folder = Path(os.environ.get("SECONDLOOK_SHARED") or BESIDE_CHECKOUT)
    if not folder.is_dir():
        pytest.skip(f"no shared folder at {folder}; set SECONDLOOK_SHARED to where it is")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Text vectors of the tests are not kept among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECONDLOOK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the shared folder, so that `-m "not shared"` leaves all of it out."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
