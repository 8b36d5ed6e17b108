"""Sites from above: the same every time, in disjoint splits, and drawn as they are told."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from secondlook.errors import InvalidInput, UnknownName
from secondlook.scenes.overhead.captions import BESIDE_WORDS, COUNT_WORDS, captions, class_names, prompts, vocabulary
from secondlook.scenes.overhead.renderer import DRAWN, render
from secondlook.scenes.overhead.training import CONTEXT, tokenizer
from secondlook.scenes.overhead.world import KINDS, PHRASINGS, Plan, Site, sample, share_of
from secondlook.scenes.sampling import SHARES, SPLITS, Split
from secondlook.scenes.tokenizer import UNK
from secondlook.scenes.world import SIDE

GOLDEN: dict[tuple[Split, int], str] = {
    ("train", 0): "24dbee68f69db176374290afd2084187c7958e165c6389d7659170b7b463920b",
    ("train", 1): "70488054b92c27e06510446d334712793344bb9b7d115587ab79deb131a8fdbe",
    ("val", 2): "cfce374f5188227292b2784077e4d1d7a3f75a755b50d85524e508a0e782cd49",
    ("test", 3): "c240e409dc3b222bbe59b61823c80e00c4bc739605254ad9ef5ebadf8c46321a",
    ("test", 4): "69e66bff89ff7beb7852fbbddf6ac0ff05cc457c03b74aebe426fa55a2ceafec",
    ("calibration", 5): "21cfbe10b0c4895b1be270d2cdb223ec778020e7e62d4a29b210375e50ba8cdb",
}
PLAN = Plan("airport", "green", "dark", "two", "level", "nothing", "clear", "summer")


@pytest.fixture(scope="module")
def sites() -> list[Site]:
    return [sample(0, "test", index) for index in range(240)]


@pytest.mark.parametrize(("split", "index"), list(GOLDEN))
def test_pixels_are_golden(split: Split, index: int) -> None:
    image = render(sample(0, split, index))
    assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
    assert hashlib.sha256(image.tobytes()).hexdigest() == GOLDEN[split, index]


def test_no_plan_is_in_two_splits() -> None:
    plans = {split: {sample(0, split, i).plan for i in range(400)} for split in SHARES}
    for split in SHARES:
        assert {share_of(plan) for plan in plans[split]} == {split}
    assert not plans["train"] & plans["val"] and not plans["train"] & plans["test"]
    assert {share_of(sample(0, "calibration", i).plan) for i in range(50)} == {"test"}


def test_the_key_alone_decides_and_others_give_other_sites() -> None:
    keys = [(seed, split, index) for seed in (0, 1) for split in SPLITS for index in range(12)]
    pictures = [render(sample(*key)).tobytes() for key in keys]
    assert len(set(pictures)) == len(keys)
    assert pictures == [render(sample(*key)).tobytes() for key in keys]


def test_kinds_are_equally_frequent_in_every_split() -> None:
    for split in SPLITS:
        counts = np.bincount([sample(3, split, i).label for i in range(1200)], minlength=12)
        assert ((counts - 100) ** 2 / 100).sum() < 31.3  # 11 degrees of freedom, p = 0.001


def test_five_captions_are_told_in_words_of_the_vocabulary(sites: list[Site]) -> None:
    words = tokenizer()
    for site in sites:
        told = captions(site)
        assert len(set(told)) == 5 and told == captions(site)
        ids = words.encode([*told, *prompts()], CONTEXT)
        assert not (ids == UNK).any() and (ids[:, -1] == 0).all()
    assert words.words == vocabulary() and len(class_names()) == 12 == len(DRAWN)


def test_captions_say_what_the_plan_is(sites: list[Site]) -> None:
    for site in sites:
        plan, told = site.plan, captions(site)
        obj = PHRASINGS[plan.kind].noun[0 if plan.number == "one" else 1]
        for at in (0, 3, 4):
            assert any(f"{word} {obj}" in told[at] for word in COUNT_WORDS[plan.number])
        for at in (0, 1, 2, 3):
            assert plan.kind in told[at]
        assert plan.tint in told[0] and plan.tint in told[4]
        for at in (1, 3):
            assert any(word in told[at] for word in BESIDE_WORDS[plan.beside])


def drawn(key: int = 7, **changes: str) -> NDArray[np.float64]:
    """One site, with some of its words changed and all else the same."""
    plan = PLAN._replace(**changes)  # type: ignore[arg-type]
    return render(Site(plan=plan, key=key)).astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_is_seen(kind: str) -> None:
    """Each word changes the picture, and the tint most of what is tinted."""
    tints = list(PHRASINGS[kind].tints)  # type: ignore[index]
    plain = drawn(kind=kind, tint=tints[0])
    changes = [
        {"number": "many"},
        {"ground": "yellow"},
        {"heading": "upright"},
        {"beside": "buildings"},
        {"air": "hazy"},
        {"tint": tints[1]},
        {"season": "winter"},
    ]
    for change in changes:
        other = drawn(kind=kind, **{"tint": tints[0], **change})
        assert (np.abs(other - plain).max(2) > 12).mean() > 0.008, (kind, change)


def test_haze_takes_contrast_and_winter_whitens_the_ground() -> None:
    assert drawn(air="hazy").std() < 0.8 * drawn(air="clear").std()
    assert drawn(season="winter").mean() > drawn(season="summer").mean() + 8


def test_planes_are_as_many_as_are_told() -> None:
    """White objects on the dark apron, counted as patches that hang together."""
    from scipy.ndimage import label

    for number, wanted in (("one", 1), ("two", 2), ("three", 3), ("many", 5)):
        counts = []
        for key in range(6):
            picture = drawn(key, number=number, kind="airport", tint="red", heading="level")
            white = picture.min(2) > 155
            patches, found = label(white)
            sizes = np.bincount(patches.ravel())[1:]
            counts.append(int((sizes > 12).sum()))
        assert round(float(np.median(counts))) == wanted, counts


def test_another_size_is_the_same_site() -> None:
    site = sample(0, "test", 3)
    small, large = render(site, 32).astype(float), render(site, 64).astype(float)
    halved = large.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(small - halved).mean() < 12


def test_bad_numbers_are_named() -> None:
    with pytest.raises(InvalidInput, match="size=0"):
        render(sample(0, "test", 0), 0)
    with pytest.raises(InvalidInput, match="index=-1"):
        sample(0, "test", -1)
    with pytest.raises(UnknownName, match="test"):
        sample(0, "tset", 0)  # type: ignore[arg-type]
    assert replace(sample(0, "val", 1), key=3).key == 3
