"""The same scenes seen another way: what models were not trained on, to test them on."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondlook.scenes.shapes import Array

_WARMEST: Final = 0.10
_VIGNETTE: Final = 0.25
_GRAIN: Final = 0.03
_CONTRAST: Final = 1.25
_SOFT: Final = np.array([0.25, 0.5, 0.25])


def photographed(picture: NDArray[np.uint8], key: int) -> NDArray[np.uint8]:
    """A scene as an old camera takes it: soft, contrasty, of a colour cast, dark at the corners.

    Args:
        picture: ``[S, S, 3]``, RGB in 0 to 255.
        key: The scene's own; it chooses cast and grain.

    Returns:
        The picture in the shifted style, of the same form.
    """
    rng = np.random.default_rng([key, 1])
    canvas = _blurred(picture / 255.0)
    cast = 1 + _WARMEST * np.array([1.0, rng.uniform(-0.5, 0.5), -1.0]) * rng.choice([-1.0, 1.0])
    canvas = 0.5 + _CONTRAST * (canvas - 0.5)
    canvas *= cast * _vignette(len(canvas))
    canvas += _GRAIN * rng.standard_normal(canvas.shape[:2])[..., None]
    return (np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _blurred(canvas: Array) -> Array:
    """Each axis softened by a binomial of three pixels; edges repeat."""
    for axis in (0, 1):
        widths = [(1, 1) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(canvas, widths, mode="edge")
        windows = [np.take(padded, np.arange(i, i + canvas.shape[axis]), axis) for i in range(3)]
        canvas = sum(weight * window for weight, window in zip(_SOFT, windows, strict=True))
    return canvas


def _vignette(size: int) -> Array:
    """Brightness ``[S, S, 1]``, one in the middle and less by ``_VIGNETTE`` in the corners."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    return (1 - _VIGNETTE * (axis[:, None] ** 2 + axis[None, :] ** 2) / 2)[..., None]
