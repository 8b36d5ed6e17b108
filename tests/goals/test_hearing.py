"""Who knows a detector that listens tells it what is really said, once that is good enough."""

from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.goals.hearing import Hearing
from secondlook.randomness import Keys
from tests.models.test_captioner import Colours, colour

X = torch.cat([colour(0.6, 0.3, 0.1), colour(0.1, 0.3, 0.6), colour(0.1, 0.6, 0.3)])
KEYS = Keys.of(0, "abc")


class Ear:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        self.told = list(captions)
        return x.mean((1, 2, 3))


def test_what_fulfils_the_wish_is_heard_and_the_rest_is_hoped_for() -> None:
    ear = Ear()
    hearing = Hearing(
        watcher=ear, speaker=Colours(), fulfils=lambda said, hope: said[0] == hope[0],
    )  # fmt: skip
    x = X.clone().requires_grad_()
    found = hearing.suspicion(x, KEYS, ["red", "green", "green"])
    assert ear.told == ["red again", "green", "green again"]
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert bool((slope != 0).all())


def test_captions_are_written_as_they_are_for_the_detector() -> None:
    ear = Ear()
    said = {"length": 1}
    Hearing(watcher=ear, speaker=Colours(), fulfils=lambda *_: True, said=said).suspicion(
        X, KEYS, ["a", "b", "c"]
    )
    assert ear.told == ["red", "blue", "green"]
