"""The embedded world's captioner: its network, its adapter, its training, and what is shipped."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.captioner import Captioner
from secondlook.randomness import Keys
from secondlook.scenes.captions import captions
from secondlook.scenes.family import Scenes
from secondlook.scenes.models.captioner import CaptionerNetwork, SceneCaptioner
from secondlook.scenes.parsing import verify
from secondlook.scenes.sampling import sample
from secondlook.scenes.tokenizer import EOS, Tokenizer
from secondlook.scenes.training import dataset, train as training
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Recipe
from secondlook.scenes.training.text_losses import captioner_figures, captioning_loss
from secondlook.scenes.training.train import recipes

WORDS = Tokenizer().size


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def network(**settings: int) -> CaptionerNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CaptionerNetwork(vocabulary=WORDS, **{"width": 8, **settings}).eval()


def keys(n: int) -> Keys:
    return Keys.of(0, range(n))


@pytest.fixture(scope="module")
def scenes() -> SceneSet:
    return dataset.render_scenes(0, "test", 24, 1, silent)


@pytest.fixture(scope="module")
def shipped() -> Captioner:
    model = load("scenes:captioner")
    assert isinstance(model, Captioner)
    return model


def test_a_word_does_not_feel_what_comes_after_it() -> None:
    made, ids = network(), torch.randint(4, WORDS, (2, 9))
    seen = made.encode_image(torch.rand(2, 3, 64, 64))
    other = ids.clone()
    other[:, 5:] = (other[:, 5:] + 1) % WORDS
    before, after = made.next_word_scores(seen, ids), made.next_word_scores(seen, other)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)


def test_texts_side_by_side_are_read_with_their_own_picture() -> None:
    made, ids = network(), torch.randint(4, WORDS, (6, 7))
    seen = made.encode_image(torch.rand(3, 3, 64, 64))
    together = made.next_word_scores(seen, ids)
    for row in range(6):
        alone = made.next_word_scores(seen[row // 2 : row // 2 + 1], ids[row : row + 1])
        assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_every_caption_is_told_in_its_own_words() -> None:
    teller = SceneCaptioner("scenes:c", network())
    texts = [text for index in range(20) for text in captions(sample(0, "test", index))]
    ids, mask = teller.tokens(texts, "")
    for text, row, real in zip(texts, ids, mask.bool(), strict=True):
        assert teller.detokenize(row[real]) == Tokenizer().decode(Tokenizer().encode([text]))[0]
        assert row[real][-1] == teller.end and not bool((row[real][:-1] == teller.end).any())


def test_texts_are_worded_as_it_writes_them() -> None:
    teller = SceneCaptioner("scenes:c", network())
    assert teller.round_trip(["A red circle; on the LEFT!", "ring"]) == ["a red circle on the left", "ring"]


def test_several_texts_cost_one_look() -> None:
    teller, x = SceneCaptioner("scenes:c", network()), torch.rand(2, 3, 64, 64).requires_grad_()
    texts = [captions(sample(0, "test", index)) for index in range(2)]
    with counting() as ledger:
        found = teller.score_texts(x, texts).likelihood
        (gradient,) = torch.autograd.grad(found.sum(), x)
    assert (ledger.forwards, ledger.backwards) == (2, 2)
    assert bool(gradient.flatten(1).any(1).all())
    for place in range(5):
        single = teller.likelihood(x, [five[place] for five in texts])
        assert torch.allclose(found[:, place], single, atol=1e-5)


def test_the_gradient_is_the_slope(shipped: Captioner) -> None:
    x = dataset.render_scenes(0, "test", 1, 1, silent).images(torch.arange(1)).clamp(0.05, 0.95)
    text = [captions(sample(0, "test", 0))[3]]
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(shipped.likelihood(x, text).sum(), x)
    step = 0.01 * gradient / gradient.norm()
    with torch.no_grad():
        rise = shipped.likelihood(x + step, text) - shipped.likelihood(x - step, text)
    assert float(rise) / 0.02 == pytest.approx(float(gradient.norm()), rel=0.1)


def test_what_is_written_greedily_is_what_is_likeliest(shipped: Captioner, scenes: SceneSet) -> None:
    x = scenes.images(torch.arange(8))
    texts = shipped.caption(x, keys(8), length=40)
    assert bool(shipped.score_texts(x, [(text,) for text in texts]).greedy.all())
    beams = shipped.caption(x, keys(8), style="beam", length=40)
    wide, narrow = shipped.likelihood(x, beams), shipped.likelihood(x, texts)
    assert float((wide - narrow).mean()) >= 0


def test_random_captions_are_a_sample_s_own(shipped: Captioner, scenes: SceneSet) -> None:
    x = scenes.images(torch.arange(6))
    whole = shipped.caption(x, keys(6), style="sample", length=40)
    hold_out = [shipped.caption(x[r : r + 1], keys(6)[r : r + 1], style="sample", length=40)[0] for r in range(6)]
    assert whole == hold_out and whole != shipped.caption(x, keys(6), length=40)


def test_the_shipped_one_sees_what_it_speaks_of(shipped: Captioner, scenes: SceneSet) -> None:
    told = shipped.caption(scenes.images(torch.arange(24)), keys(24), length=40)
    held = [verify(text, sample(0, "test", row)) for row, text in enumerate(told)]
    assert sum(truth.main for truth in held) >= 22
    assert sum(truth.true for truth in held) > 0.9 * sum(truth.claims for truth in held)
    larger = F.interpolate(scenes.images(torch.arange(8)), (100, 100), mode="bilinear")
    resized = shipped.caption(larger, keys(8), length=40)
    assert sum(verify(text, sample(0, "test", row)).main for row, text in enumerate(resized)) >= 7


def test_the_loss_at_the_start_is_that_of_a_guess_and_falls() -> None:
    rows, scenes = torch.arange(16), dataset.render_scenes(3, "train", 16, 1, silent)
    made = network().train()
    loss = captioning_loss(made, scenes, "cpu")
    optimizer = torch.optim.AdamW(made.parameters(), lr=2e-2)
    values: list[float] = []
    for step in range(25):
        value = loss(rows, torch.Generator().manual_seed(step))
        values.append(float(value.detach()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert values[0] == pytest.approx(math.log(WORDS), rel=0.2)
    assert values[-1] < 0.75 * values[0]
    again = loss(rows, torch.Generator().manual_seed(1))
    assert torch.equal(again, loss(rows, torch.Generator().manual_seed(1)))


def test_the_figures_of_one_that_says_nothing_are_zero(scenes: SceneSet) -> None:
    mute = network()
    with torch.no_grad():
        mute.head.weight.zero_()
        mute.head.bias.zero_()
        mute.head.bias[EOS] = 1
    found = captioner_figures(mute, scenes)
    assert found == {"cider": 0.0, "bleu4": 0.0, "main_correct": 0.0, "all_correct": 0.0, "claims_correct": 0.0}


def test_what_was_trained_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(
        recipes()["captioner"],
        recipe=Recipe(steps=2, batch=4, images=8, average=0.9),
        architecture={"vocabulary": WORDS, "width": 8},
    )
    monkeypatch.setattr(training, "recipe_of", lambda _: short)
    monkeypatch.setattr(training, "MEASURED_ON", 4)
    card = training.train("scenes:captioner", tmp_path, device="cpu", workers=1, tick=silent)
    assert card["role"] == "captioner"
    assert set(card["measured"]) == {"cider", "bleu4", "main_correct", "all_correct", "claims_correct"}
    assert isinstance(Scenes(name="captioner", weights=tmp_path).load(), SceneCaptioner)
