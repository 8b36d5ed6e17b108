"""Sep-Attack, Co-Attack, SGA and the alternating search: what follows on what."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from secondlook import registry
from secondlook.attacks.joint.alternating import Alternating, BestPairs
from secondlook.attacks.joint.co_attack import CoAttack
from secondlook.attacks.joint.objectives import Reference, first_vectors
from secondlook.attacks.joint.pair_pgd import PairPGD
from secondlook.attacks.joint.sep_attack import SepAttack
from secondlook.attacks.joint.sga import SGA
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.attacks.text.bert_attack import BERTAttack
from secondlook.attacks.text.captions import flat, owners
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.threat import Threat
from tests.pairs import Bag, Table, keys, pairs

THREAT = Threat(eps=8 / 255)
JOINT = ("sep-attack", "co-attack", "sga", "alternating")


def closeness(made: Pairs | AlteredPairs, victim: Embedder | None = None) -> torch.Tensor:
    """The mean cosine of each image to its captions, by hand."""
    victim, rows = victim or Bag(), []
    for image, texts in zip(victim.embed(made.images), made.captions, strict=True):
        rows.append((victim.embed_text(texts) @ image).mean())
    return torch.stack(rows)


def run(name: str, **config: Any) -> AlteredPairs:
    attack = registry.build("pair attack", name, {"mlm": Table(), **config})
    found: AlteredPairs = attack(Bag(), pairs(6), THREAT, keys(6))
    return found


def test_sep_is_both_halves_by_themselves() -> None:
    for guide, words, image in (("itself", "caption", "image"), ("other", "image", "captions")):
        found = run("sep-attack", guide=guide)
        told = run("bert-attack", guide=words)
        shown = PairPGD(guide=image)(Bag(), pairs(6), THREAT, keys(6))  # type: ignore[arg-type]
        assert found.captions == told.captions
        assert torch.equal(found.images, shown.images)


def test_co_goes_from_itself_and_from_its_first_altered_caption() -> None:
    victim, given = Bag(), pairs(6)
    attack = CoAttack(mlm=Table())
    found = attack(victim, given, THREAT, keys(6))
    told = victim.embed_text(flat(run("bert-attack", guide="caption").captions))
    (first,) = first_vectors([told], owners(given.captions), 6)
    reference = Reference(victim, image=victim.embed(given.images), caption=first)
    by_hand = attack.search_images([reference], given.images, THREAT, keys(6), alpha=3.0)
    assert torch.equal(found.images, by_hand.x)
    assert found.captions == run("bert-attack").captions
    assert (attack.pace, attack.start, attack.alpha, attack.steps) == (1.25, "above", 3.0, 10)


def test_sga_looks_at_the_image_that_it_made() -> None:
    found = run("sga")
    last = BERTAttack(mlm=Table())(Bag(), Pairs(found.images, pairs(6).captions), THREAT, keys(6))
    assert found.captions == last.captions
    assert SGA().scales == (0.5, 0.75, 1.25, 1.5)
    assert (SGA().pace, SGA().steps, SGA().noise, SGA().start) == (2.5, 10, 0.05, "ball")


def test_sga_without_scales_is_words_then_pgd_then_words() -> None:
    found, told = run("sga", scales=()), run("bert-attack")
    shown = PairPGD()(Bag(), Pairs(pairs(6).images, told.captions), THREAT, keys(6))
    assert torch.equal(found.images, shown.images)


@pytest.mark.parametrize("name", JOINT)
def test_both_sides_part_further_than_one(name: str) -> None:
    far = closeness(run(name, scales=(), visit="every")).mean()
    clean = closeness(pairs(6)).mean()
    assert far < clean - 0.05


@pytest.mark.parametrize("name", ["co-attack", "sga", "alternating"])
def test_a_larger_ball_never_helps_the_defender(name: str) -> None:
    attack = registry.build("pair attack", name, {"mlm": Table()})
    far = [float(closeness(attack(Bag(), pairs(6), Threat(eps=eps / 255), keys(6))).mean()) for eps in (2, 8, 32)]
    assert far == sorted(far, reverse=True)


def test_alternating_ends_where_neither_side_finds_better() -> None:
    attack = Alternating(mlm=Table(), visit="every", rounds=20)
    found = attack(Bag(), pairs(6), THREAT, keys(6))
    ones = [Alternating(mlm=Table(), visit="every", rounds=n) for n in (1, 2, 3)]
    far = [closeness(one(Bag(), pairs(6), THREAT, keys(6))) for one in ones]
    for before, after in zip(far, [*far[1:], closeness(found)], strict=True):
        assert bool((after <= before + 1e-4).all())
    words = BERTAttack(mlm=Table(), visit="every")
    given = Pairs(found.images, pairs(6).captions)
    better = closeness(words(Bag(), given, THREAT, keys(6)))
    assert bool((closeness(found) <= better + 2e-4).all())


def test_alternating_is_no_worse_than_sga_without_scales() -> None:
    config = {"visit": "every", "scales": ()}
    assert closeness(run("alternating", **config)).mean() <= (closeness(run("sga", **config)).mean() + 1e-3)


def test_what_is_held_is_only_given_up_for_better() -> None:
    victim, given = Bag(), pairs(2)
    told = tuple(victim.embed_text(flat(given.captions))[None])
    held = BestPairs(given.images, given.captions, (victim.embed(given.images),), told, owners(given.captions))
    assert torch.allclose(held.closeness, closeness(given), atol=1e-6)
    others = (("dark", "dark"), ("red green blue",) * 3)
    after = held.with_captions(others, (victim.embed_text(flat(others)),))
    assert after.captions == (others[0], given.captions[1])
    assert torch.allclose(after.closeness, closeness(Pairs(given.images, after.captions)), atol=1e-6)
    images = torch.stack([given.images[0].flip(0), given.images[1] * 0 + 0.5])
    moved = held.with_images(images, [victim.embed(images)])
    assert torch.equal(moved.images[0], images[0])
    assert torch.allclose(moved.closeness, closeness(moved), atol=1e-6)  # type: ignore[arg-type]


def test_uneven_captions_and_surrogates_go_together() -> None:
    twins = [Bag(), Bag("bag:two", turn=1)]
    for name in JOINT:
        attack = registry.build("pair attack", name, {"mlm": Table(), "momentum": 0.9, "diversity": 0.5})
        found = attack(twins, pairs(5), THREAT, keys(5))
        before = sum(closeness(pairs(5), victim).mean() for victim in twins)
        assert sum(closeness(found, victim).mean() for victim in twins) < before


def test_the_trace_is_of_the_climb() -> None:
    found = run("sga")
    assert found.trace is not None
    assert found.trace.steps.tolist() == [10] * 6
    assert bool((found.trace.last_loss > found.trace.first_loss).all())
    assert run("bert-attack").trace is None


def test_settings_that_mean_nothing_are_told() -> None:
    with pytest.raises(InvalidInput, match="rounds=0"):
        Alternating(rounds=0)
    with pytest.raises(InvalidInput, match="guide='both'"):
        SepAttack(guide="both")  # type: ignore[arg-type]
