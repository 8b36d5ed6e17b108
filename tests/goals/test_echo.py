"""AttackVLM's objectives on models in closed form, and its claim to be a black box."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import input_gradient
from secondlook.errors import InvalidInput
from secondlook.goals.echo import Echo, Relay, Resemble, refuse_the_victim
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.randomness import Keys
from tests.models.test_captioner import Colours, colour
from tests.tiny import AXES, Compass

KEYS = Keys.of(0, range(2))
X = torch.cat([colour(0.6, 0.3, 0.1), colour(0.2, 0.2, 0.6)])
EYE = Compass("eye")


class Reader(Compass):
    """Reads the first word, and counts what it reads."""

    def __init__(self) -> None:
        super().__init__("reader")
        self.read: list[str] = []

    def encode_text(self, texts: Any) -> Tensor:
        self.read += texts
        return super().encode_text([text.split()[0] for text in texts])


def test_the_transfer_loss_is_the_cosine_to_the_target() -> None:
    vectors = EYE.embed_text(["blue", "green"])
    found = Resemble(embedder=EYE, vectors=vectors)(X, KEYS)
    away = X.mean((2, 3)) - 0.5
    wanted = F.cosine_similarity(away, torch.tensor([AXES["blue"], AXES["green"]]).float())
    assert torch.allclose(found.loss, wanted, atol=1e-6)
    assert not found.reached.any()
    gradient, _ = input_gradient(Resemble(embedder=EYE, vectors=vectors), X, KEYS)
    assert float(gradient.abs().amax()) > 0
    some = Resemble(embedder=EYE, vectors=vectors).take(torch.tensor([1]))
    assert torch.allclose(some(X[1:], KEYS[1:]).loss, wanted[1:])


def echo(reader: Reader, *texts: str) -> Echo:
    return Echo(captioner=Colours(), reader=reader, texts=texts)


def test_the_reward_is_the_cosine_of_texts_and_each_image_is_a_query() -> None:
    reader = Reader()
    with counting() as ledger:
        found = echo(reader, "red again", "red again")(X, KEYS)
    assert found.loss.tolist() == pytest.approx([1, 0])
    assert found.reached.tolist() == [True, False]
    assert ledger.by_model == {"colours": [2, 0]}
    assert sorted(reader.read) == ["blue again", "red again"]
    opposite = echo(Reader(), "cyan again", "red again").take(torch.tensor([0]))
    assert opposite(X[:1], KEYS[:1]).loss.tolist() == pytest.approx([-1])


def test_the_reward_has_no_gradient_to_give_away() -> None:
    gradient, _ = input_gradient(echo(Reader(), "red", "red"), X, KEYS)
    assert not gradient.any()


def test_an_empty_caption_is_worth_least() -> None:
    class Mute(Colours):
        def spell(self, ids: Tensor) -> str:
            return ""

    found = Echo(captioner=Mute(), reader=Reader(), texts=("red", "blue"))(X, KEYS)
    assert found.loss.tolist() == [-1, -1]


def test_a_relay_has_two_stages_and_says_what_the_victim_says() -> None:
    surrogate = Resemble(embedder=EYE, vectors=EYE.embed_text(["red", "red"]))
    victim = echo(Reader(), "red again", "red again")
    relay = Relay(surrogate=surrogate, victim=victim)
    assert [type(part) for part in relay.parts] == [Resemble, Echo]
    assert torch.equal(relay(X, KEYS).loss, victim(X, KEYS).loss)
    assert relay.take(torch.tensor([1])).victim.texts == ("red again",)


def test_the_victims_own_eye_is_no_black_box() -> None:
    class Looking(Compass):
        def __init__(self, eyes: nn.Module) -> None:
            super().__init__("another name")
            self.modules = (eyes,)

    captioner, clip = load("scenes:captioner"), load("scenes:clip")
    refuse_the_victim(clip, captioner)
    copied = load("scenes:captioner").network.eyes
    with pytest.raises(InvalidInput, match="no black box"):
        refuse_the_victim(Looking(copied), captioner)
    vectors = clip.embed_text(["red circle"])
    with pytest.raises(InvalidInput, match="another name"):
        Relay(
            surrogate=Resemble(embedder=Looking(copied), vectors=vectors),
            victim=Echo(captioner=captioner, reader=clip, texts=("red circle",)),
        )
