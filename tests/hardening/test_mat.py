"""MAT and MAT+: both sides are attacked, in the order that was asked for, and learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.joint.base import JointAttack
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.errors import InvalidInput
from secondlook.hardening.base import StepContext
from secondlook.hardening.dataset import SceneDataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.evaluation import Validation
from secondlook.hardening.mat import MAT, InnerAttack
from secondlook.hardening.output import Checkpoint
from secondlook.hardening.trainer import Training, TrainingConfig
from secondlook.randomness import Keys
from secondlook.scenes.sampling import sample
from secondlook.scenes.training.dataset import render_scenes
from secondlook.threat import Threat
from tests.hardening.toy import ToyDataset, ToyEmbedder, away, toy_embedder
from tests.hardening.toy_mlm import Thesaurus

EPS = 4 / 255
DATA = ToyDataset(16)
CONTEXT = StepContext(Keys.of(0, DATA.ids), 1.0)
OTHER = {"dark": "dim", "bright": "pale"}
Seen = tuple[list[Tensor], list[list[str]]]


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def made(name: str = "mat", **settings: Any) -> MAT:
    method: MAT = registry.build("method", name, {"eps": EPS, "mlm": Thesaurus(), **settings})
    return method


def seen_in_training(trainable: TrainableEmbedder) -> Seen:
    """What both towers are shown while they are in training mode."""
    images, texts = list[Tensor](), list[list[str]]()
    look, read = trainable.embedder.encode_image, trainable.embedder.encode_text

    def shown(x: Tensor) -> Tensor:
        if trainable.embedder.network.training:
            images.append(x.detach().clone())
        return look(x)

    def told(given: Any) -> Tensor:
        if trainable.embedder.network.training:
            texts.append(list(given))
        return read(given)

    trainable.embedder.encode_image = shown  # type: ignore[method-assign]
    trainable.embedder.encode_text = told  # type: ignore[method-assign]
    return images, texts


@pytest.mark.parametrize("name", ["mat", "mat+"])
@pytest.mark.parametrize("order", ["t-i", "i-t", "simultaneous", "alternating"])
def test_it_learns_from_images_and_captions_that_were_attacked(name: str, order: str) -> None:
    trainable = TrainableEmbedder(toy_embedder(), "all")
    batch_loss = made(name, order=order).make_loss(trainable, DATA)
    images, texts = seen_in_training(trainable)
    trainable.network.train()
    batch_loss(DATA.read(range(16)), CONTEXT).backward()
    (shown,), (told,) = images, texts
    changed = away(shown, DATA.images)
    assert float(changed.min()) > EPS / 2 and float(changed.max()) <= EPS + 1e-6
    for row, text in enumerate(told):
        first, word, last = text.split()
        own = DATA.classes[int(DATA.truth[row])]
        assert word in (own, OTHER[own]) and (word != own or order in ("i-t", "alternating"))
        assert first in ("one", "two") and last == "thing"
    if name == "mat":
        assert {text.split()[0] for text in told} == {"one"}
    else:
        assert {text.split()[0] for text in told} == {"one", "two"}
    assert all(p.grad is not None for p in trainable.parameters.values())


@pytest.mark.parametrize("order", ["t-i", "i-t", "simultaneous"])
def test_the_order_says_what_each_side_is_taken_from(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions are those that a search against clean or attacked images finds; images likewise."""
    clean = Pairs(DATA.images, tuple((own[0],) for own in DATA.read(range(16)).captions))
    given, climb = list[Tensor](), JointAttack.from_captions

    def noted(self: JointAttack, victims: Any, vectors: Any, *rest: Any) -> Any:
        given.extend(vectors)
        return climb(self, victims, vectors, *rest)

    monkeypatch.setattr(InnerAttack, "from_captions", noted)
    found = made(order=order).inner_attack(toy_embedder(), clean, Threat(eps=EPS), CONTEXT.keys)
    words = BERTAttack(mlm=Thesaurus())
    guide = clean._replace(images=found.images) if order == "i-t" else clean
    assert found.captions == words(toy_embedder(), guide, Threat(eps=EPS), CONTEXT.keys).captions
    fled = found.captions if order == "t-i" else clean.captions
    assert torch.equal(given[0], toy_embedder().embed_text([text for (text,) in fled]))


def test_rounds_go_on_from_where_the_last_one_ended() -> None:
    clean = Pairs(DATA.images, tuple((own[0],) for own in DATA.read(range(16)).captions))

    def found(**settings: Any) -> AlteredPairs:
        attack = made(attack_step=0.5 / 255, **settings).inner_attack
        return attack(toy_embedder(), clean, Threat(eps=EPS), CONTEXT.keys)

    once, twice = found(order="alternating", rounds=1), found(order="alternating")
    assert torch.equal(once.images, found(order="t-i").images) and once.captions == found(order="t-i").captions

    def closeness(pairs: AlteredPairs) -> float:
        told = toy_embedder().embed_text([text for (text,) in pairs.captions])
        return float((toy_embedder().embed(pairs.images) * told).sum(1).mean())

    assert closeness(twice) < closeness(once)


def test_words_are_those_of_the_threat_and_the_step_count_stays() -> None:
    inner = made(text="free", rounds=3).inner_attack
    assert (inner.text, inner.rounds, inner.image_steps) == ("free", 3, 2)
    for settings in ({"text": "anything"}, {"rounds": 0}, {"words": 0}):
        with pytest.raises(InvalidInput, match=next(iter(settings))):
            made(**settings)


def test_a_batch_of_scenes_knows_what_is_true_of_them() -> None:
    batch = SceneDataset(render_scenes(0, "val", 3, 1, silent), "val", 0).read([2, 0]).take([1])
    (knows,), ((text, *_),) = batch.preserves, batch.captions
    color = sample(0, "val", 0).main.color
    assert knows(text, text) and not knows(text, text.replace(color, "red" if color != "red" else "blue"))


def test_the_step_is_in_pixels_or_two_and_a_half_radii_in_all() -> None:
    assert made().inner_attack.pace == 2.5
    assert made(attack_step=1 / 255, attack_steps=2).inner_attack.pace == pytest.approx(0.5)


def steady() -> ToyEmbedder:
    """An embedder of the large signal alone, with dim and pale exchanged."""
    fresh = toy_embedder()
    with torch.no_grad():
        fresh.network.image.weight[0] = torch.tensor([4.0, 0.0, 0.0])
    return fresh


def matched(trainable: TrainableEmbedder, words: tuple[str, str]) -> float:
    """How often an attacked image is nearer to the word for its side than to the other's."""
    data = ToyDataset(100, first=300)
    texts = tuple(f"one {words[int(t)]} thing" for t in data.truth)
    attack = made(mlm="scenes:mlm").inner_attack
    keys = Keys.of(1, data.ids)
    pairs = Pairs(data.images, tuple((text,) for text in texts))
    side = attack.from_captions(
        [trainable.embedder],
        [trainable.embedder.embed_text(texts)],
        torch.arange(100),
        pairs.images,
        Threat(eps=EPS),
        keys,
    )
    both = trainable.embedder.embed_text([f"one {word} thing" for word in words])
    with torch.no_grad():
        answer = (trainable.embedder.embed(side.x) @ both.T).argmax(1)
    return float((answer == data.truth).float().mean())


def test_mat_teaches_the_words_that_an_attack_would_take_and_image_training_does_not(tmp_path: Path) -> None:
    shares = {}
    for name in ("mat", "tecoa-itr"):
        settings: dict[str, Any] = {"attack_steps": 3}
        if name == "mat":
            settings["mlm"] = Thesaurus()
        method = registry.build("method", name, {"eps": EPS, **settings})
        trainable, data = TrainableEmbedder(steady(), "all"), ToyDataset(200)
        training = Training(
            trainable=trainable,
            batch_loss=method.make_loss(trainable, data),
            dataset=data,
            config=TrainingConfig(steps=60, batch=20, rate=0.05),
            checkpoint=Checkpoint(path=tmp_path / f"{name}.checkpoint", identity={}),
        )
        training.run(lambda: Validation(0, 0), silent)
        trainable.network.eval()
        shares[name] = (matched(trainable, ("dark", "bright")), matched(trainable, ("dim", "pale")))
    assert min(shares["mat"]) > 0.8
    assert shares["tecoa-itr"][0] > 0.8 and shares["tecoa-itr"][1] < 0.2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"friendly": True}, "friendly"),
        ({"original": 0.0, "human": 0.0}, "all 0"),
        ({"eda": -1.0}, "eda=-1"),
        ({"randaugment": 1.5}, "1 - randaugment"),
        ({"kind": "shapes"}, "kind"),
        ({"captions": "any"}, "captions=any"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        made("mat+", **settings)


def test_one_to_many_draws_by_weight_and_key() -> None:
    batch = ToyDataset(400).read(range(400))
    context = StepContext(Keys.of(0, batch.ids), 0.0)
    plus = made("mat+", original=1.0, human=3.0)
    assert isinstance(plus, registry.find("method", "mat+"))
    told = plus.draw_captions(batch, context)
    share = sum(text.startswith("two") for text in told) / 400
    assert share == pytest.approx(0.75, abs=0.07)
    rows = [7, 3, 311]
    again = plus.draw_captions(batch.take(rows), context._replace(keys=context.keys[torch.tensor(rows)]))
    assert again == [told[row] for row in rows]


def test_many_to_one_repaints_a_share_of_the_images() -> None:
    batch = ToyDataset(200).read(range(200))
    context = StepContext(Keys.of(0, batch.ids), 0.0)
    assert torch.equal(made("mat+").draw_images(batch, context), batch.images)
    shown = made("mat+", randaugment=0.5, strength=0.5).draw_images(batch, context)
    changed = (away(shown, batch.images) > 0).float().mean()
    assert 0.3 < float(changed) < 0.6


def test_the_augmentation_is_described_to_the_card() -> None:
    trainable = TrainableEmbedder(toy_embedder(), "all")
    assert made().diagnose(trainable, DATA) == {}
    found = made("mat+", human=0.0).diagnose(trainable, DATA)
    assert set(found) == {"captions"}
    assert found["captions"].diversity == pytest.approx(0, abs=1e-6)
    assert found["captions"].frechet == pytest.approx(0, abs=1e-6)
    both = made("mat+", randaugment=1.0, strength=0.5).diagnose(trainable, DATA)
    assert both["captions"].diversity > 0 and both["images"].diversity > 0
    assert trainable.network.training
