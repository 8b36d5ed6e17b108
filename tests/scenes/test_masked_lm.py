"""The embedded world's masked language model: shipped, trained, and read like any other."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from secondlook.models import load
from secondlook.models.maskedlm import MaskedLM, Span
from secondlook.scenes.captions import captions, vocabulary
from secondlook.scenes.models.masked_lm import MaskedLmNetwork
from secondlook.scenes.sampling import sample
from secondlook.scenes.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.text_losses import masked_lm_figures, masked_lm_loss
from secondlook.scenes.training.train import class_prompts, recipe_of

TEXT = "a Huge red cross, on the left; it is striped"


@pytest.fixture(scope="module")
def model() -> MaskedLM:
    found = load("scenes:mlm")
    assert isinstance(found, MaskedLM)
    return found


def scene_set(count: int) -> SceneSet:
    told = [captions(sample(0, "test", row)) for row in range(count)]
    ids = Tokenizer().encode([text for five in told for text in five])
    return SceneSet(
        pixels=torch.zeros(count, 3, 1, 1, dtype=torch.uint8),
        captions=torch.from_numpy(ids).view(count, 5, -1),
        labels=torch.zeros(count, dtype=torch.int64),
    )


def test_the_shipped_model_is_as_good_as_its_card_says(model: MaskedLM) -> None:
    path = files("secondlook.scenes").joinpath("weights/mlm.json")
    card = json.loads(path.read_text())
    found = masked_lm_figures(model.network, scene_set(200))  # type: ignore[attr-defined]
    for name, value in card["measured"].items():
        assert found[name] == pytest.approx(value, abs=0.06)
    assert card["measured"]["masked_accuracy"] > 10 / len(vocabulary())


def test_the_shipped_weights_are_small() -> None:
    held = files("secondlook.scenes").joinpath("weights/mlm.safetensors").read_bytes()
    assert len(held) < 400_000


def test_words_lead_to_their_tokens_and_back(model: MaskedLM) -> None:
    pieces = model.tokenize([TEXT, "a ring"])
    assert pieces.words[0] == tuple(TEXT.split())
    assert pieces.spans[0][:4] == (Span(1, 2), Span(2, 3), Span(3, 4), Span(4, 5))
    assert pieces.ids[0, 0] == BOS
    assert pieces.ids[1].tolist()[:4] == [*model.tokenize(["a ring"]).ids[0].tolist()]
    spoken = [model.detokenize(pieces.ids[0, a:b].tolist()) for a, b in pieces.spans[0]]
    assert spoken == [word.strip(",;").lower() for word in TEXT.split()]
    assert model.special_ids == {PAD, BOS, EOS, UNK, model.mask_id}
    assert int(model.word_starts.sum()) == len(vocabulary())


def test_padding_changes_nothing(model: MaskedLM) -> None:
    both = model.tokenize(["a ring", TEXT])
    alone = model.tokenize(["a ring"])
    long, short = model.logits(both.ids, both.mask), model.logits(alone.ids, alone.mask)
    assert torch.allclose(long[0, : alone.ids.shape[1]], short[0], atol=1e-5)


def test_words_that_it_does_not_know_and_too_many_of_them(model: MaskedLM) -> None:
    pieces = model.tokenize(["a \U0001f600 xyzzy מעגל", " ".join(["red"] * 80)])
    assert pieces.spans[0][1] == Span(0, 0)
    assert pieces.ids[0, 2:4].tolist() == [UNK, UNK]
    assert pieces.ids.shape[1] == 48
    assert pieces.spans[1][45] == Span(46, 47)
    assert pieces.spans[1][46] == Span(0, 0)
    assert bool(model.logits(pieces.ids, pieces.mask).isfinite().all())


def test_a_gap_is_filled_with_what_fits(model: MaskedLM) -> None:
    pieces = model.tokenize(["a large red circle in the top left by itself, on a plain blue ground"])
    hidden = pieces.ids.clone()
    hidden[0, pieces.spans[0][2].start] = model.mask_id
    best = model.logits(hidden, pieces.mask)[0, 3].topk(4).indices.tolist()
    colors = {"red", "green", "blue", "yellow", "pink", "orange", "purple", "cyan", "teal"}
    textures = {"solid", "flat", "striped", "stripy", "dotted", "spotted"}
    textures |= {"checkered", "chequered"}
    assert {model.detokenize([number]) for number in best} & (colors | textures)


@pytest.mark.slow
def test_the_recipe_learns(tmp_path: Path) -> None:
    recipe, scenes = recipe_of("mlm"), scene_set(40)
    network = recipe.network()
    assert isinstance(network, MaskedLmNetwork)
    loss = masked_lm_loss(network, scenes, class_prompts(), "cpu")
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    values = []
    for step in range(120):
        generator = torch.Generator().manual_seed(step)
        rows = torch.randint(len(scenes), (32,), generator=generator)
        value = loss(rows, generator)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert sum(values[-10:]) < 0.6 * sum(values[:10])


def test_only_words_are_asked_for() -> None:
    network, scenes = MaskedLmNetwork(vocabulary=Tokenizer().size + 1), scene_set(4)
    with torch.no_grad():
        network.words.weight.zero_()
        network.bias.zero_()
        network.bias[: UNK + 1] = -1e4
        network.bias[network.mask_id] = -1e4
    loss = masked_lm_loss(network, scenes, class_prompts(), "cpu")
    value = loss(torch.arange(4), torch.Generator().manual_seed(0)).detach()
    # Of all words one by one, and of no mark: an even guess has this surprise.
    assert float(value) == pytest.approx(math.log(len(vocabulary())), rel=1e-5)
