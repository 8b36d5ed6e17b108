"""Variables of the environment are filled in where a name is opened, and told nowhere."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secondlook import data, models
from secondlook.errors import InvalidInput, UnknownName
from secondlook.variables import filled, unfilled


def test_braces_alone_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "${OTHER}/a b")
    assert filled("folder:${PLACE}#x") == "folder:${OTHER}/a b#x"
    assert filled("$PLACE/%PLACE%/$(PLACE)/${}/${a b}") == "$PLACE/%PLACE%/$(PLACE)/${}/${a b}"
    with pytest.raises(InvalidInput, match="reads the variable MISSING_HERE, which is not set; set it to a folder"):
        filled("folder:${MISSING_HERE}")


def test_an_error_says_the_name_of_a_variable_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret-value")
    monkeypatch.setenv("SHORT", "a")
    assert unfilled("no folder s3cret-value/x a", "${TOKEN}/${SHORT}") == "no folder ${TOKEN}/x a"
    for name in ("folder:${TOKEN}", "csv:${TOKEN}", "karpathy:x.json@${TOKEN}", "cifar10:${TOKEN}", "esc50:${TOKEN}"):
        with pytest.raises(InvalidInput) as caught:
            data._open(name, {})
        assert "s3cret" not in str(caught.value)
    for name in ("hf:${TOKEN}", "local:${TOKEN}/x", "file:${TOKEN}?trust=true", "albef:x?vocabulary=${TOKEN}"):
        with pytest.raises(InvalidInput) as caught:
            models.load(name)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(UnknownName) as caught:
        models.load("scenes:${TOKEN}")
    assert str(caught.value).startswith("unknown model 'scenes:${TOKEN}'")


def test_data_is_read_through_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / "1.png")
    monkeypatch.setenv("PICTURES", str(tmp_path))
    assert data.load("folder:${PICTURES}").hash == data.load(f"folder:{tmp_path}").hash


def test_a_model_goes_by_its_name_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(models.__file__).parents[1] / "scenes" / "weights"
    monkeypatch.setenv("WEIGHTS", str(folder))
    model = models.load("local:${WEIGHTS}/vae")
    assert model.name == "local:${WEIGHTS}/vae"
    assert model.hash == models.load(f"local:{folder}/vae").hash
