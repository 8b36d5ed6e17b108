"""Sentences about scenes, read back and held against what they speak of."""

from dataclasses import replace

import pytest

from secondlook.scenes.captions import captions, titles
from secondlook.scenes.reading import Claim, read
from secondlook.scenes.sampling import sample
from secondlook.scenes.truth import judge
from secondlook.scenes.world import Scene

SCENES = [sample(0, "test", index) for index in range(300)]
CLAIMS = {1: (8, 7, 8, 7, 8), 2: (11, 9, 11, 9, 11), 3: (15, 12, 15, 12, 15)}
"""What the five wordings claim of scenes with one, two and three things."""


def pair() -> Scene:
    return next(scene for scene in SCENES if len(scene.things) == 2)


def test_every_caption_of_a_scene_is_read_in_full_and_true() -> None:
    for scene in SCENES:
        held = [judge(text, scene) for text in captions(scene)]
        assert tuple(truth.claims for truth in held) == CLAIMS[len(scene.things)]
        assert all(truth.main and truth.whole for truth in held)
        assert judge(titles(scene), scene) == (True, 2, 2)


def test_one_wrong_word_is_one_false_claim() -> None:
    """Each thing and the background are made other than the caption says, one word at a time."""
    for scene in SCENES[:60]:
        main, place = scene.main, scene.things.index(scene.main)
        colour = "red" if main.colour != "red" else "blue"
        if any((other.colour, other.shape) == (colour, main.shape) for other in scene.others):
            continue
        things = tuple(
            replace(t, colour=colour) if i == place else t for i, t in enumerate(scene.things)
        )
        ground = replace(scene.background, colour="navy")
        for text in captions(scene):
            told = judge(text, replace(scene, things=things))
            assert not told.main and told.true == told.claims - 1
            moved = judge(text, replace(scene, background=ground))
            assert moved.main and moved.whole == (scene.background.colour == "navy")


def test_what_is_said_of_the_second_thing_is_not_said_of_the_main_one() -> None:
    read_back = read("blue ring, big, stripy, on the left; tiny red moon at the top; plain navy")
    main, other = map(dict, read_back.things)
    assert main == {
        "colour": "blue", "shape": "ring", "size": "large", "texture": "striped", "place": "left",
    }  # fmt: skip
    assert other == {"size": "small", "colour": "red", "shape": "crescent", "place": "top"}
    assert dict(read_back.scene) == {"pattern": "plain", "ground": "navy"}


def test_a_relation_is_read_from_the_side_that_it_is_told_from() -> None:
    after = read("a red ring with a blue star above it").things[1]
    before = read("there is a red ring under a blue star; it is dotted and at the top")
    assert Claim("relation", "above") in after
    assert Claim("inverse", "below") in before.things[1]
    assert {Claim("texture", "dotted"), Claim("place", "top")} <= set(before.things[0])


def test_a_left_side_is_no_left_of() -> None:
    (thing,) = read("a red ring on the left").things
    assert dict(thing)["place"] == "left"
    assert Claim("inverse", "left of") in read("a red ring to the left of a blue star").things[1]


def test_to_name_a_thing_that_is_not_there_is_false() -> None:
    scene = pair()
    text = f"{titles(scene)} and nothing else"
    assert judge(text, scene).true == judge(text, scene).claims - 1
    (other,) = scene.others
    twice = f"{titles(scene)} and a {other.colour} {other.shape} and a {other.colour} {other.shape}"
    assert (judge(twice, scene).claims, judge(twice, scene).true) == (6, 4)


def test_the_thing_named_first_is_the_one_it_is_about() -> None:
    scene = pair()
    (other,) = scene.others
    swapped = f"a {other.colour} {other.shape} and {titles(scene)}"
    assert not judge(swapped, scene).main


@pytest.mark.parametrize("text", ["", "nothing of the kind", "in the it is it above", "plain"])
def test_what_says_nothing_claims_nothing(text: str) -> None:
    truth = judge(text, SCENES[0])
    assert (truth.main, truth.claims, truth.whole) == (False, 0, False)
