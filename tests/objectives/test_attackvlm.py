"""AttackVLM's objectives on models in closed form, and its claim to be a black box."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import input_gradient
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.objectives.attackvlm import MatchCaption, MatchEmbedding, MatchThenAsk, refuse_the_victim
from secondlook.randomness import Keys
from tests.models.test_captioner import Colors, color
from tests.tiny import AXES, Compass

KEYS = Keys.of(0, range(2))
X = torch.cat([color(0.6, 0.3, 0.1), color(0.2, 0.2, 0.6)])
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
    found = MatchEmbedding(embedder=EYE, vectors=vectors)(X, KEYS)
    away = X.mean((2, 3)) - 0.5
    wanted = F.cosine_similarity(away, torch.tensor([AXES["blue"], AXES["green"]]).float())
    assert torch.allclose(found.loss, wanted, atol=1e-6)
    assert not found.success.any()
    gradient, _ = input_gradient(MatchEmbedding(embedder=EYE, vectors=vectors), X, KEYS)
    assert float(gradient.abs().amax()) > 0
    some = MatchEmbedding(embedder=EYE, vectors=vectors).take(torch.tensor([1]))
    assert torch.allclose(some(X[1:], KEYS[1:]).loss, wanted[1:])


def match(reader: Reader, *texts: str) -> MatchCaption:
    return MatchCaption(victim=Guarded(Colors()), reader=reader, texts=texts)


def test_the_reward_is_the_cosine_of_texts_and_each_image_is_a_query() -> None:
    reader = Reader()
    with counting() as ledger:
        found = match(reader, "red again", "red again")(X, KEYS)
    assert found.loss.tolist() == pytest.approx([1, 0])
    assert found.success.tolist() == [True, False]
    assert ledger.by_model == {"colors": [2, 0]}
    assert sorted(reader.read) == ["blue again", "red again"]
    opposite = match(Reader(), "cyan again", "red again").take(torch.tensor([0]))
    assert opposite(X[:1], KEYS[:1]).loss.tolist() == pytest.approx([-1])


def test_the_reward_has_no_gradient_to_give_away() -> None:
    with pytest.raises(InvalidInput, match="has no gradient to the pixels.*rgf"):
        input_gradient(match(Reader(), "red", "red"), X, KEYS)


def test_an_empty_caption_is_worth_least() -> None:
    class Mute(Colors):
        def detokenize(self, ids: Tensor) -> str:
            return ""

    found = MatchCaption(victim=Guarded(Mute()), reader=Reader(), texts=("red", "blue"))(X, KEYS)
    assert found.loss.tolist() == [-1, -1]


def test_transfer_then_query_has_two_stages_and_says_what_the_victim_says() -> None:
    surrogate = MatchEmbedding(embedder=EYE, vectors=EYE.embed_text(["red", "red"]))
    victim = match(Reader(), "red again", "red again")
    both = MatchThenAsk(surrogate=surrogate, victim=victim)
    assert [type(part) for part in both.parts] == [MatchEmbedding, MatchCaption]
    assert torch.equal(both(X, KEYS).loss, victim(X, KEYS).loss)
    assert both.take(torch.tensor([1])).victim.texts == ("red again",)


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
        MatchThenAsk(
            surrogate=MatchEmbedding(embedder=Looking(copied), vectors=vectors),
            victim=MatchCaption(victim=Guarded(captioner), reader=clip, texts=("red circle",)),
        )
