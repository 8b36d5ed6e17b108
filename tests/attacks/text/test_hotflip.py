"""Word substitution by gradient: exact where the text side is linear, refused where it has none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secondlook.attacks.pairs import Pairs
from secondlook.attacks.text.hotflip import HotFlip, estimated_gains
from secondlook.attacks.text.vocabulary import WordVectors
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.threat import Threat
from tests.pairs import Bag, Table, keys, pairs


def test_the_gradient_is_that_of_finite_differences() -> None:
    victim, texts = Bag(), ["red cat on mat", "green dog"]
    images = victim.embed(pairs(2).images)
    vectors, gradient, _ = WordVectors(victim).gradient(texts, lambda unit: -(unit * images).sum(1))
    table, step = victim.network.words.weight, 1e-3
    for word, at in (("red", (0, 0)), ("dog", (1, 1))):
        for axis in range(3):
            before = (victim.embed_text(texts) * images).sum(1)[at[0]]
            row = table[list(("",) + tuple(_words())).index(word)]
            row[axis] += step
            after = (victim.embed_text(texts) * images).sum(1)[at[0]]
            row[axis] -= step
            assert float(gradient[at][axis]) == pytest.approx(float((before - after) / step), abs=2e-3)
    assert vectors.shape == gradient.shape == (2, 4, 3)


def _words() -> tuple[str, ...]:
    from tests.pairs import WORDS

    return WORDS


def test_a_small_change_is_promised_exactly() -> None:
    victim = Bag()
    victim.network.words.weight[1:] *= 1e-3
    images = victim.embed(pairs(2).images)
    befores, afters = ["red cat on mat", "green dog"], ["red dog on mat", "green cat", "green dog"]
    owner = torch.tensor([0, 1, 1])
    promised = estimated_gains([WordVectors(victim)], befores, [images], afters, owner)
    gain = -(victim.embed_text(afters) * images[owner]).sum(1)
    gain += (victim.embed_text(befores) * images).sum(1)[owner]
    assert torch.allclose(promised, gain, atol=2e-5)
    assert promised[2] == 0


def test_it_reads_each_caption_once_and_no_candidate() -> None:
    victim = Bag()
    attack, given = HotFlip(mlm=Table()), pairs()
    found = attack(victim, given, Threat(), keys())
    assert found.captions != given.captions
    assert not victim.network.words._forward_hooks


def test_on_the_shipped_embedder_it_mostly_helps() -> None:
    from secondlook.scenes.source import render_batch

    made = render_batch(0, "test", range(4))
    images = torch.from_numpy(made.images).permute(0, 3, 1, 2).float() / 255
    given = Pairs(images, tuple(tuple(texts) for texts in made.captions))
    victim: Embedder = load("scenes:clip")
    found = HotFlip()(victim, given, Threat(), keys(4))

    def mean(captions: Sequence[Sequence[str]]) -> float:
        told = victim.embed_text([text for texts in captions for text in texts])
        return float((told * victim.embed(images).repeat_interleave(5, 0)).sum(1).mean())

    assert mean(found.captions) < mean(given.captions) - 0.05


class Tableless(Bag):
    """A text side with nothing to look up in."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 3)


class Cut(Bag):
    """A text side that passes no gradient on."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return super().encode_text(texts).detach()


@pytest.mark.parametrize(("victim", "says"), [(Tableless(), "looks up no word vectors"), (Cut(), "passes no gradient")])
def test_an_embedder_without_a_gradient_is_told(victim: Bag, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        HotFlip(mlm=Table())(victim, pairs(), Threat(), keys())
