"""The call around every attack on images with captions: what it refuses, checks and leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from secondlook import registry
from secondlook.attacks.edits import edits, words_changed
from secondlook.attacks.pairs import AlteredPairs, PairAttack, Pairs
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import global_generators
from tests.pairs import Bag, Table, keys, pairs

ATTACKS = registry.names("pair attack")
every_attack = pytest.mark.parametrize("name", ATTACKS)
THREAT = Threat(eps=8 / 255, grid=255)


def built(name: str, **config: Any) -> PairAttack:
    """An attack by name, on the table where it takes a language model."""
    fields = registry.settings(registry.find("pair attack", name))
    if "mlm" in fields:
        config["mlm"] = Table()
    attack: PairAttack = registry.build("pair attack", name, config)
    return attack


@dataclass(frozen=True, kw_only=True)
class Scripted(PairAttack):
    """Does to the pairs what it is told."""

    does: Callable[[Pairs], AlteredPairs] = field(default=lambda pairs: AlteredPairs(*pairs))

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        assert not any(module.training for victim in victims for module in victim.modules)
        return self.does(pairs)


@dataclass(frozen=True, kw_only=True)
class OnlyCaptions(Scripted):
    touches = "captions"


@dataclass(frozen=True, kw_only=True)
class OnlyImages(Scripted):
    touches = "images"


def test_the_list_is_whole() -> None:
    wanted = {"bert-attack", "hotflip", "typos", "eda", "pair-pgd", "sep-attack", "co-attack", "sga", "alternating"}
    assert wanted <= set(ATTACKS)
    assert not wanted & set(registry.names("attack"))


def test_the_call_is_final() -> None:
    with pytest.raises(TypeError, match=r"write search\(\) instead"):
        type("Own", (Scripted,), {"__call__": lambda self: None})


@every_attack
def test_what_comes_back_is_legal(name: str) -> None:
    given, before = pairs(6), global_generators()
    attack = built(name)
    found = attack(Bag(), given, THREAT, keys(6))
    assert global_generators() == before
    assert found.images.shape == given.images.shape
    assert not found.images.requires_grad
    assert torch.equal((found.images * 255).round() / 255, found.images)
    assert float((found.images - given.images).abs().max()) <= THREAT.eps + 1e-6
    assert [len(texts) for texts in found.captions] == [len(texts) for texts in given.captions]
    flat = [zip(a, b, strict=True) for a, b in zip(given.captions, found.captions, strict=True)]
    assert max(words_changed(*row) for rows in flat for row in rows) <= 1
    if attack.touches == "captions":
        assert torch.equal(found.images, given.images)
    if attack.touches == "images":
        assert found.captions == given.captions
    assert found.captions != given.captions or not torch.equal(found.images, given.images)


@every_attack
def test_results_do_not_depend_on_batch_or_order(name: str) -> None:
    attack, given = built(name), pairs(6)
    whole = attack(Bag(), given, THREAT, keys(6))
    for rows in ([0], [4, 1], [5, 3, 2]):
        part = Pairs(given.images[rows], tuple(given.captions[row] for row in rows))
        found = attack(Bag(), part, THREAT, keys(6)[torch.tensor(rows)])
        assert found.captions == tuple(whole.captions[row] for row in rows)
        assert torch.equal(found.images, whole.images[rows])


@every_attack
def test_more_words_are_a_larger_budget(name: str) -> None:
    found = built(name, words=3)(Bag(), pairs(), THREAT, keys())
    rows = zip(pairs().captions, found.captions, strict=True)
    changed = [words_changed(*row) for a, b in rows for row in zip(a, b, strict=True)]
    assert max(changed) <= 3
    if name in ("bert-attack", "typos", "hotflip"):
        assert max(changed) > 1


@every_attack
def test_training_mode_and_gradients_are_left_alone(name: str) -> None:
    victim = Bag()
    victim.network.own = nn.Linear(1, 1)
    victim.network.train()
    built(name)(victim, pairs(), THREAT, keys())
    assert victim.network.training
    assert victim.network.own.training
    assert victim.network.own.weight.grad is None


@pytest.mark.parametrize(
    ("images", "captions", "says"),
    [
        (2, (("a",),), "1 rows of captions for 2 images"),
        (1, ((),), "image 0 has no caption"),
        (1, (("a", " "),), r"captions\[0\] has ' ', which has no word"),
        (1, ("a cat",), "is one string"),
    ],
)
def test_what_is_no_pair_is_told(images: int, captions: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Scripted()(Bag(), Pairs(pairs(images).images, captions), THREAT, keys(images))


def test_what_is_no_batch_of_pixels_is_told() -> None:
    given = pairs()
    with pytest.raises(InvalidInput, match="divide by 255"):
        Scripted()(Bag(), given._replace(images=given.images * 255), THREAT, keys())
    with pytest.raises(InvalidInput, match="2 keys for 3 images"):
        Scripted()(Bag(), given, THREAT, keys(2))
    with pytest.raises(InvalidInput, match="no embedder to attack"):
        Scripted()([], given, THREAT, keys())


def other(captions: Any) -> Callable[[Pairs], AlteredPairs]:
    return lambda given: AlteredPairs(given.images, captions)


@pytest.mark.parametrize(
    ("captions", "says"),
    [
        (((),), "captions were lost or added"),
        ((("a b c d",), ("b",)), "captions were lost or added"),
        ((("x y c d",),), "2 words changed, not 1"),
        ((("a b c",),), None),
        ((("a b c d e",),), None),
        ((("b a c d",),), "2 words changed, not 1"),
    ],
)
def test_words_are_counted_by_the_call(captions: Any, says: str | None) -> None:
    given = Pairs(pairs(1).images, (("a b c d",),))
    attack = Scripted(does=other(captions))
    if says is None:
        assert attack(Bag(), given, THREAT, keys(1)).captions == captions
    else:
        with pytest.raises(BrokenThreat, match=says):
            attack(Bag(), given, THREAT, keys(1))


def test_who_touches_one_side_must_leave_the_other() -> None:
    def brighter(given: Pairs) -> AlteredPairs:
        return AlteredPairs(given.images + 1 / 255, given.captions)

    with pytest.raises(BrokenThreat, match="changed an image"):
        OnlyCaptions(does=brighter)(Bag(), pairs(), THREAT, keys())
    with pytest.raises(BrokenThreat, match="1 words changed, not 0"):
        OnlyImages(does=other((("dog",),)))(Bag(), Pairs(pairs(1).images, (("cat",),)), THREAT, keys(1))


def test_images_are_projected_and_checked() -> None:
    def white(given: Pairs) -> AlteredPairs:
        return AlteredPairs(torch.ones_like(given.images), given.captions)

    found = Scripted(does=white)(Bag(), pairs(), THREAT, keys())
    assert torch.allclose(found.images, pairs().images + 8 / 255)
    with pytest.raises(BrokenThreat, match="shape"):
        Scripted(does=lambda p: AlteredPairs(p.images[:1], p.captions))(Bag(), pairs(), THREAT, keys())


@pytest.mark.parametrize(
    ("before", "after", "phrase", "count"),
    [
        ("a b c", "a b c", 1, 0),
        ("a b c", "a x c", 1, 1),
        ("a b c", "a c", 1, 1),
        ("a b c", "a b x c", 1, 1),
        ("a b c", "c b a", 1, 2),
        ("a b", "b a", 1, 2),
        ("a b c", "a x y c", 1, 2),
        ("a b c", "a x y c", 2, 1),
        ("", "a b", 1, 2),
        ("a a a", "a a", 1, 1),
        ("a  b", "a b", 1, 0),
    ],
)
def test_words_changed(before: str, after: str, phrase: int, count: int) -> None:
    assert words_changed(before, after, phrase) == count
    assert words_changed(after, before) == words_changed(before, after)


def test_edits_are_levenshteins() -> None:
    assert edits("intention", "execution") == 5
    assert edits("", "abc") == 3
