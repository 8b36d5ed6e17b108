"""What no sentence says of a scene, as numbers: how in its place a thing lies, and is turned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondlook.scenes.sampling import (
    COLOUR_JITTER,
    GROUND_JITTER,
    JITTER,
    LEVEL,
    PERIOD,
    SLOPE,
    TILT,
    middle,
)
from secondlook.scenes.world import COLOUR_RGB, GROUND_RGB, RADII, RGB, Scene, Span, Thing

OF_A_THING: Final = 7
THINGS: Final = 3
STYLE: Final = THINGS * OF_A_THING + 8
"""Numbers in a style: of the main thing, of two beside it, of the background and the light."""

Numbers = NDArray[np.float32]


def style(scene: Scene) -> Numbers:
    """The numbers of a scene, each uniform in [0, 1] over the world; NaN for things it has not.

    Things come in the order of ``scene.main`` and ``scene.others``.
    """
    things = [_of(thing) for thing in (scene.main, *scene.others)]
    things += [[np.nan] * OF_A_THING] * (THINGS - len(things))
    ground, light = scene.background, scene.light
    rest = [
        *_shifted(ground.rgb, GROUND_RGB[ground.colour], GROUND_JITTER), _turned(ground.angle),
        _within(ground.period, PERIOD), _within(light.level, LEVEL), _within(light.slope, SLOPE),
        _turned(light.angle),
    ]  # fmt: skip
    return np.array([*sum(things, []), *rest], dtype=np.float32)


def _of(thing: Thing) -> list[float]:
    x, y = middle(thing.size, thing.place)
    tilt = np.pi if thing.shape == "crescent" else TILT
    return [
        _within(thing.cx - x, Span(-JITTER, JITTER)), _within(thing.cy - y, Span(-JITTER, JITTER)),
        _within(thing.radius, RADII[thing.size]), _within(thing.angle, Span(-tilt, tilt)),
        *_shifted(thing.rgb, COLOUR_RGB[thing.colour], COLOUR_JITTER),
    ]  # fmt: skip


def _within(value: float, span: Span) -> float:
    return (value - span.low) / (span.high - span.low)


def _turned(angle: float) -> float:
    return angle / (2 * np.pi)


def _shifted(found: Sequence[float], named: RGB, jitter: float) -> list[float]:
    return [
        _within(own - all_, Span(-jitter, jitter)) for own, all_ in zip(found, named, strict=True)
    ]
