"""What a defense has learned goes with the weights that it was learned of, and with its card."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from secondlook.defenses.test_time.learned import Learned, learned, shipped
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from tests.tiny import eye

NAME = "prompts-scenes-clip-vit"


def vit() -> Embedder:
    found = load("scenes:clip-vit")
    assert isinstance(found, Embedder)
    return found


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for end in ("json", "safetensors"):
        held = files("secondlook.defenses.test_time").joinpath("weights", f"{NAME}.{end}").read_bytes()
        (tmp_path / f"{NAME}.{end}").write_bytes(held)
    return tmp_path / NAME


def test_the_package_has_it_and_a_copy_elsewhere_is_the_same(copied: Path) -> None:
    assert shipped("prompts", vit()) and not shipped("prompts", eye())
    ours, theirs = learned("prompts", vit()), learned("prompts", vit(), str(copied))
    assert ours.name == theirs.name and ours.card == theirs.card
    assert all(value.equal(theirs.state[key]) for key, value in ours.state.items())


def test_what_is_missing_damaged_or_of_other_weights_is_refused(copied: Path) -> None:
    with pytest.raises(InvalidInput, match="the package has no prompts for tiny:eye; run: secondlook train prompts:"):
        learned("prompts", eye())
    other = load("scenes:clip")
    assert isinstance(other, Embedder)
    with pytest.raises(InvalidInput, match="of scenes:clip-vit with weights .*, and scenes:clip has"):
        learned("prompts", other, str(copied))
    shutil.copy(copied.with_suffix(".json"), copied.with_name("prior.json"))
    with pytest.raises(InvalidInput, match="prior is the prompts of scenes:clip-vit"):
        learned("prior", vit(), str(copied.with_name("prior")))
    copied.with_suffix(".safetensors").write_bytes(b"other")
    with pytest.raises(InvalidInput, match="has SHA-256"):
        learned("prompts", vit(), str(copied))
    copied.with_suffix(".json").write_text(json.dumps({"sha256": "", "command": ""}))
    with pytest.raises(InvalidInput, match="is no card that secondlook has written"):
        learned("prompts", vit(), str(copied))


def test_it_is_a_part_whose_hash_is_that_of_its_weights() -> None:
    import torch

    one, same, other = (Learned("part", torch.nn.Linear(2, 1)) for _ in range(3))
    same.modules[0].load_state_dict(one.modules[0].state_dict())
    assert one.hash == same.hash != other.hash
    assert not any(weight.requires_grad for weight in one.modules[0].parameters())
