"""The hardened models that ship: their base, their size, and that they are what they are for."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import torch

from secondlook.data import load as load_data
from secondlook.hardening.evaluation import attacked
from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.threat import Threat

SHELF = files("secondlook.scenes").joinpath("weights")
CARDS = {
    file.name[:-5]: json.loads(file.read_text(encoding="utf-8"))
    for file in SHELF.iterdir()
    if file.name.endswith(".json")
}
HARDENED = sorted(name for name, card in CARDS.items() if "base" in card)


@pytest.mark.parametrize("name", HARDENED)
def test_it_is_its_base_with_other_weights(name: str) -> None:
    card = CARDS[name]
    model, base = load(f"scenes:{name}"), load(card["base"]["name"])
    assert model.name == f"scenes:{name}" and base.weights_hash == card["base"]["hash"]
    assert sum(p.numel() for p in model.network.parameters()) == card["parameters"]
    assert model.hash != base.hash
    if card["learned"] < card["parameters"]:
        texts = ["a picture of a red circle", "a blue star on a gray background"]
        assert torch.equal(model.embed_text(texts), base.embed_text(texts))
    stored = len(SHELF.joinpath(f"{name}.safetensors").read_bytes())
    assert stored < 2 * card["learned"] * 1.1 + 20_000


@pytest.mark.slow
def test_the_second_opinion_is_right_on_what_fools_the_first() -> None:
    """Images made on ``scenes:clip``, which has none of them right."""
    source = load_data("scenes:test")
    x, truth = source.read(range(48), (64, 64))
    first, second = (
        ZeroShot(load(name), source.classes, source.prompt) for name in ("scenes:clip", "scenes:clip-tecoa")
    )
    made = attacked(first, x, truth, Threat(eps=8 / 255), Keys.of(0, source.ids[:48]))
    with torch.no_grad():
        fooled = (first(made).argmax(1) != truth).float().mean()
        right = (second(made).argmax(1) == truth).float().mean()
    assert fooled > 0.9 and right > 0.9
