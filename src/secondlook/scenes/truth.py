"""Whether what is said of a scene is so, claim by claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from secondlook.scenes.reading import Claim, read
from secondlook.scenes.world import Scene, Thing, relation


class Truth(NamedTuple):
    """A sentence held against a scene.

    Attributes:
        main: whether it names colour and shape of the main thing, as the thing it is about.
        claims: how many claims it makes.
        true: how many of them are so.
    """

    main: bool
    claims: int
    true: int

    @property
    def whole(self) -> bool:
        """Whether it makes claims and all of them are so; it need not say everything."""
        return self.claims == self.true > 0


def judge(text: str, scene: Scene) -> Truth:
    """Holds a sentence against a scene.

    The thing it names first is taken for the main one; the others it names for those others of
    the scene that make most of its claims true, each for one of its own.
    """
    reading = read(text)
    made = sum(map(len, reading.things)) + len(reading.scene)
    true = sum(_of_scene(claim, scene) for claim in reading.scene)
    if not reading.things:
        return Truth(False, made, true)
    first, *rest = reading.things
    told, main = dict(first), scene.main
    named = (told.get("colour"), told.get("shape")) == (main.colour, main.shape)
    return Truth(named, made, true + _true(first, main, main) + _matched(rest, scene))


def _of_scene(claim: Claim, scene: Scene) -> bool:
    if claim.attribute == "alone":
        return not scene.others
    ground = scene.background
    return claim.value == (ground.colour if claim.attribute == "ground" else ground.pattern)


def _true(claims: Sequence[Claim], thing: Thing, main: Thing) -> int:
    """How many claims about a thing are so."""
    facts = {
        "colour": thing.colour, "shape": thing.shape, "size": thing.size,
        "texture": thing.texture, "place": thing.place,
        "relation": relation(thing, main), "inverse": relation(main, thing),
    }  # fmt: skip
    return sum(facts[claim.attribute] == claim.value for claim in claims)


def _matched(named: Sequence[Sequence[Claim]], scene: Scene) -> int:
    """True claims under the best one-to-one match of named things with those beside the main."""
    if not named or not scene.others:
        return 0
    table = np.array([[_true(claims, thing, scene.main) for thing in scene.others]
                      for claims in named])  # fmt: skip
    return int(table[linear_sum_assignment(table, maximize=True)].sum())
