"""What the tests of data have in common: an image of one gray level, written where they say."""

from pathlib import Path

import pytest
from PIL import Image

from tests.data.pixels import Gray


@pytest.fixture
def gray(tmp_path: Path) -> Gray:
    """Writes a small image of one gray level under a path of the test's folder."""

    def write(name: str, level: int) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 4), level).save(path)

    return write
