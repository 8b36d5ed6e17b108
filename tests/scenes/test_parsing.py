"""Sentences about scenes, read back and held against what they speak of."""

from dataclasses import replace

import pytest

from secondlook.scenes.captions import captions, short_caption
from secondlook.scenes.parsing import Claim, parse, verify
from secondlook.scenes.sampling import sample
from secondlook.scenes.world import Scene

SCENES = [sample(0, "test", index) for index in range(300)]
CLAIMS = {1: (8, 7, 8, 7, 8), 2: (11, 9, 11, 9, 11), 3: (15, 12, 15, 12, 15)}
"""What the five wordings claim of scenes with one, two and three objects."""


def pair() -> Scene:
    return next(scene for scene in SCENES if len(scene.objects) == 2)


def test_every_caption_of_a_scene_is_read_in_full_and_true() -> None:
    for scene in SCENES:
        held = [verify(text, scene) for text in captions(scene)]
        assert tuple(truth.claims for truth in held) == CLAIMS[len(scene.objects)]
        assert all(truth.main and truth.whole for truth in held)
        assert verify(short_caption(scene), scene) == (True, 2, 2)


def test_one_wrong_word_is_one_false_claim() -> None:
    """Each object and the background are made other than the caption says, one word at a time."""
    for scene in SCENES[:60]:
        main, place = scene.main, scene.objects.index(scene.main)
        color = "red" if main.color != "red" else "blue"
        if any((other.color, other.shape) == (color, main.shape) for other in scene.others):
            continue
        objects = tuple(replace(t, color=color) if i == place else t for i, t in enumerate(scene.objects))
        ground = replace(scene.background, color="navy")
        for text in captions(scene):
            told = verify(text, replace(scene, objects=objects))
            assert not told.main and told.true == told.claims - 1
            moved = verify(text, replace(scene, background=ground))
            assert moved.main and moved.whole == (scene.background.color == "navy")


def test_what_is_said_of_the_second_thing_is_not_said_of_the_main_one() -> None:
    read_back = parse("blue ring, big, stripy, on the left; tiny red moon at the top; plain navy")
    main, other = map(dict, read_back.objects)
    assert main == {"color": "blue", "shape": "ring", "size": "large", "texture": "striped", "place": "left"}
    assert other == {"size": "small", "color": "red", "shape": "crescent", "place": "top"}
    assert dict(read_back.scene) == {"pattern": "plain", "ground": "navy"}


def test_a_relation_is_read_from_the_side_that_it_is_told_from() -> None:
    after = parse("a red ring with a blue star above it").objects[1]
    before = parse("there is a red ring under a blue star; it is dotted and at the top")
    assert Claim("relation", "above") in after
    assert Claim("inverse", "below") in before.objects[1]
    assert {Claim("texture", "dotted"), Claim("place", "top")} <= set(before.objects[0])


def test_a_left_side_is_no_left_of() -> None:
    (obj,) = parse("a red ring on the left").objects
    assert dict(obj)["place"] == "left"
    assert Claim("inverse", "left of") in parse("a red ring to the left of a blue star").objects[1]


def test_to_name_a_thing_that_is_not_there_is_false() -> None:
    scene = pair()
    text = f"{short_caption(scene)} and nothing else"
    assert verify(text, scene).true == verify(text, scene).claims - 1
    (other,) = scene.others
    second = f"a {other.color} {other.shape}"
    twice = f"{short_caption(scene)} and {second} and {second}"
    assert (verify(twice, scene).claims, verify(twice, scene).true) == (6, 4)


def test_the_thing_named_first_is_the_one_it_is_about() -> None:
    scene = pair()
    (other,) = scene.others
    swapped = f"a {other.color} {other.shape} and {short_caption(scene)}"
    assert not verify(swapped, scene).main


@pytest.mark.parametrize("text", ["", "nothing of the kind", "in the it is it above", "plain"])
def test_what_says_nothing_claims_nothing(text: str) -> None:
    truth = verify(text, SCENES[0])
    assert (truth.main, truth.claims, truth.whole) == (False, 0, False)
