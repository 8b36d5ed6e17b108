"""Other words for a caption, other versions of an image, and what they are like."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from secondlook.errors import InvalidInput
from secondlook.hardening import diagnostics, randaugment
from secondlook.hardening.matplus import choose
from secondlook.hardening.randaugment import RandAugment
from secondlook.hardening.text_augmentation import EDA, paraphrase, synonyms
from secondlook.randomness import Keys
from secondlook.scenes.captions import PLACE_PHRASES, RELATION_PHRASES, SYNONYMS, captions
from secondlook.scenes.sampling import sample

TEXT = "a young man is running over the wet grass with a small dog"
TEXTS = [f"{TEXT} number {row}" for row in range(60)]
KEYS = Keys.of(0, range(60))
NONE = {"replace": 0.0, "insert": 0.0, "swap": 0.0, "delete": 0.0}


def only(**share: float) -> EDA:
    """One operation, and three that do nothing."""
    return EDA(**{**NONE, **share})


def test_synonyms_stand_for_each_other() -> None:
    table = synonyms()
    assert all(word not in others for word, others in table.items())
    assert all(word in table[other] for word, others in table.items() for other in others)
    assert all(list(others) == sorted(others) for others in table.values())


def test_replacing_keeps_the_length_and_every_word_or_its_synonym() -> None:
    changed = 0
    for before, after in zip(TEXTS, only(replace=0.2)(TEXTS, KEYS), strict=True):
        pairs = list(zip(before.split(), after.split(), strict=True))
        assert all(old == new or new in synonyms()[old] for old, new in pairs)
        assert sum(old != new for old, new in pairs) <= 3
        changed += before != after
    assert changed > 5


def test_inserting_adds_a_synonym_of_a_word_that_is_there() -> None:
    others = {new for word in TEXT.split() for new in synonyms().get(word, ())}
    grown = [t for t in only(insert=0.2)(TEXTS, KEYS) if len(t.split()) > len(TEXTS[0].split())]
    assert len(grown) > 5
    for text in grown:
        added = list(text.split())
        for word in TEXT.split():
            added.remove(word)
        assert len(added) == 5 and sum(word in others for word in added) >= 3


def test_swapping_keeps_the_words_and_changes_their_order() -> None:
    found = only(swap=0.2)(TEXTS, KEYS)
    assert all(sorted(a.split()) == sorted(b.split()) for a, b in zip(TEXTS, found, strict=True))
    assert any(a != b for a, b in zip(TEXTS, found, strict=True))


def test_deleting_leaves_a_share_of_the_words_and_never_none() -> None:
    kept = only(delete=0.5)(TEXTS, KEYS)
    short = [len(text.split()) for text in kept if len(text.split()) < 15]
    assert 5 < len(short) < 30
    assert 4 < sum(short) / len(short) < 11
    assert all(text for text in only(delete=1.0)(["word"] * 60, KEYS))


def test_many_is_the_published_number_with_the_text_itself_at_the_end() -> None:
    made = EDA().many(TEXT, Keys.of(0, ["a"]))
    assert len(made) == 10 and made[-1] == TEXT
    assert len(set(made)) > 5
    assert made == EDA().many(TEXT, Keys.of(0, ["a"]))
    assert made != EDA().many(TEXT, Keys.of(0, ["b"]))


def test_a_text_is_augmented_by_its_key_and_not_by_its_place() -> None:
    rows = [5, 50, 2]
    for way in (EDA(), paraphrase):
        whole = way(TEXTS, KEYS)
        assert way([TEXTS[row] for row in rows], KEYS[np.array(rows)]) == [whole[r] for r in rows]


def plain(text: str) -> str:
    """A sentence with every phrase by its first wording."""
    tables = (SYNONYMS, PLACE_PHRASES, RELATION_PHRASES)
    groups = [tuple(g) for table in tables for g in table.values()]
    swaps = sorted(((p, g[0]) for g in groups for p in g), key=lambda s: -len(s[0]))
    for at, (phrase, _) in enumerate(swaps):
        text = (f" {text} ").replace(f" {phrase} ", f" <{at}> ").replace(f" {phrase},", f" <{at}>,")
        text = text.replace(f" {phrase};", f" <{at}>;").strip()
    for at, (_, first) in enumerate(swaps):
        text = text.replace(f"<{at}>", first)
    return text


def test_a_paraphrase_says_the_same_in_other_words() -> None:
    texts = [text for row in range(20) for text in captions(sample(0, "val", row))]
    found = paraphrase(texts, Keys.of(0, range(100)))
    assert [plain(text) for text in found] == [plain(text) for text in texts]
    assert sum(a != b for a, b in zip(texts, found, strict=True)) > 90


def picture() -> Tensor:
    return torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("operation", randaugment.OPERATIONS["all"], ids=lambda op: op.__name__)
def test_an_operation_stays_a_picture_and_changes_it(operation: randaugment.Operation) -> None:
    x = (picture() * 255).round() / 255 * 0.6 + 0.1
    made = operation(x, 0.7).clamp(0, 1)
    assert made.shape == x.shape and not torch.allclose(made, x, atol=1e-3)


@pytest.mark.parametrize(
    "operation",
    [
        randaugment.brightness,
        randaugment.contrast,
        randaugment.color,
        randaugment.sharpness,
        randaugment.solarize,
        *randaugment.MOVING,
    ],
    ids=lambda op: op.__name__,
)
def test_no_strength_is_no_change(operation: randaugment.Operation) -> None:
    assert_close(operation(picture(), 0.0), picture(), atol=1e-5, rtol=0)


def test_operations_in_closed_form() -> None:
    x = picture()
    assert_close(randaugment.brightness(x, -0.5), 0.55 * x)
    gray = randaugment.color(x, -1 / 0.9)
    assert_close(gray[0], gray[1])
    half = torch.full((3, 4, 4), 0.3)
    assert_close(randaugment.contrast(half, 0.9), half)
    assert_close(randaugment.autocontrast(x, 0).amin((1, 2)), torch.zeros(3))
    levels = torch.arange(256.0).reshape(1, 16, 16).expand(3, -1, -1) / 255
    assert_close(randaugment.equalize(levels, 0), levels, atol=1e-6, rtol=0)
    assert len(randaugment.posterize(levels, 1.0).unique()) == 16
    assert_close(randaugment.posterize(levels, 0.0), levels, atol=1 / 255, rtol=0)
    moved = randaugment.translate_x(x, 1 / 3.6)
    assert_close(moved[:, :, :-1], x[:, :, 1:], atol=1e-5, rtol=0)


def test_images_are_augmented_by_their_keys() -> None:
    x, way = torch.rand(12, 3, 8, 8), RandAugment(strength=0.6, kind="all")
    keys, rows = Keys.of(0, range(12)), torch.tensor([9, 1])
    whole = way(x, keys)
    assert torch.equal(way(x[rows], keys[rows]), whole[rows])
    assert float(whole.min()) >= 0 and float(whole.max()) <= 1
    assert not torch.equal(whole, way(x, keys.fold("again")))


@pytest.mark.parametrize("settings", [{"count": 0}, {"strength": 1.5}, {"kind": "x"}])
def test_randaugment_names_what_is_wrong(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(settings))):
        RandAugment(**settings)  # type: ignore[arg-type]


def test_weights_are_chances() -> None:
    names = choose({"a": 1.0, "none": 0.0, "b": 3.0}, Keys.of(0, range(2000)))
    assert names.count("none") == 0
    assert names.count("b") / 2000 == pytest.approx(0.75, abs=0.03)


def test_the_distance_of_gaussians_is_in_closed_form() -> None:
    """Means apart by 3 in one of two dimensions, deviations 1 and 2: 9 + 2 (2 - 1)^2 = 11."""
    rng = torch.Generator().manual_seed(0)
    one = torch.randn(40_000, 2, generator=rng, dtype=torch.float64)
    other = 2 * torch.randn(40_000, 2, generator=rng, dtype=torch.float64)
    other[:, 0] += 3
    assert diagnostics.frechet(one, other) == pytest.approx(11, rel=0.02)
    assert diagnostics.frechet(one, one) == pytest.approx(0, abs=1e-9)
    wanted = 0.5 * (2 / 4 + 9 / 4 - 2 + math.log(16))
    assert diagnostics.divergence(one, other) == pytest.approx(wanted, rel=0.02)
    assert diagnostics.divergence(one, one) == pytest.approx(0, abs=1e-9)


def test_fewer_samples_than_dimensions_have_a_finite_divergence() -> None:
    rng = torch.Generator().manual_seed(0)
    one, other = (torch.randn(6, 30, generator=rng) for _ in range(2))
    assert 0 < diagnostics.divergence(one, other) < math.inf


def test_alignment_and_diversity_in_closed_form() -> None:
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    augmented = torch.stack([torch.stack([east, north]), torch.stack([east, east])])
    partners = torch.stack([east, 5 * east])
    assert diagnostics.alignment(augmented, partners) == pytest.approx(0.75)
    assert diagnostics.diversity(augmented) == pytest.approx(0.5)
    assert diagnostics.diversity(augmented[:, :1]) == 0
    with pytest.raises(InvalidInput, match="2 augmented, 1 original"):
        diagnostics.diagnose(augmented, partners[:1], partners)
    found = diagnostics.diagnose(augmented, partners, partners)
    assert found.alignment == pytest.approx(0.75) and found.frechet > 0
