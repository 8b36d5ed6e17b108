"""The settings of an image processor of transformers, as a differentiable preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from secondlook.errors import InvalidInput
from secondlook.models.io.preprocessing import Filter, Fit, Preprocessing, Resolution, Size

# Pillow's numbers, and the names that torchvision gives to the same kernels.
_FILTERS: Final[Mapping[Any, Filter]] = {
    0: "nearest",
    2: "bilinear",
    3: "bicubic",
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
}


def preprocessing(processor: Any, name: str, resolution: Resolution) -> Preprocessing:
    """What ``processor`` does to an image.

    Raises:
        InvalidInput: it does something that is not known here, or resizes with another kernel.
    """
    if getattr(processor, "do_pad", None):
        raise InvalidInput(f"the image processor of {name} pads (do_pad); none such is read here")
    crop = _box(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
    fit, edge = _resize(processor, crop, name)
    mean, std = affine(processor)
    return Preprocessing(
        fit=fit, edge=edge, crop=crop, filter=kernel(processor, name), mean=mean, std=std, resolution=resolution
    )


def kernel(processor: Any, name: str) -> Filter:
    """The kernel that images are resized with.

    Raises:
        InvalidInput: it is neither nearest, bilinear nor bicubic.
    """
    given = processor.resample
    # An enum of torchvision has its name as value, one of Pillow is its number.
    key = getattr(given, "value", given)
    if key not in _FILTERS:
        raise InvalidInput(f"{name} resizes with resample={given}; 0, 2 and 3 are read here")
    return _FILTERS[key]


def affine(processor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, per channel of pixels in [0, 1], of all affine steps in one.

    They are: a factor on 8-bit values; 1 off (ALIGN); the normalization; its division once more,
    which EfficientNet's processor has for a classifier's sake.
    """
    factor = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    off = 1.0 if processor.do_rescale and getattr(processor, "rescale_offset", False) else 0.0
    mean, std = [0.0] * 3, [1.0] * 3
    if processor.do_normalize:
        mean, std = _three(processor.image_mean, "image_mean"), _three(processor.image_std, "image_std")
    if getattr(processor, "include_top", False):
        std = [s * again for s, again in zip(std, _three(processor.image_std, "image_std"), strict=True)]
        # The second division has no mean of its own, so the first mean stays as it is.
    return (tuple((off + m) / factor for m in mean), tuple(s / factor for s in std))


def _three(value: Any, key: str) -> list[float]:
    given = [value] * 3 if isinstance(value, int | float) else value
    try:
        return [float(number) for number in given]
    except (TypeError, ValueError):
        raise InvalidInput(f"{key}={value!r} of an image processor is no number for each channel") from None


def _resize(processor: Any, crop: Size | None, name: str) -> tuple[Fit, Size]:
    if not processor.do_resize:
        if crop is None:
            raise InvalidInput(f"the image processor of {name} neither resizes nor crops")
        return "none", crop
    short, longest = (_side(processor.size, key) for key in ("shortest_edge", "longest_edge"))
    if short and longest is None:
        if crop is None:
            raise InvalidInput(
                f"the image processor of {name} leaves shapes as they are: shortest_edge={short} "
                "and no crop; a network of one input size is expected"
            )
        return "shortest", (short, short)
    return "exact", _box(processor.size)


def _box(size: Any) -> Size:
    height, width = _side(size, "height"), _side(size, "width")
    if height is None or width is None:
        raise InvalidInput(f"size={dict(size)} of an image processor is no height and width")
    return height, width


def _side(size: Any, key: str) -> int | None:
    value = size.get(key)
    return None if value is None else int(value)
