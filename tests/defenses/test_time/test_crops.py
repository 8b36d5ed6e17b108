"""Random crops: their boxes, what they read, their keys."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from secondlook.defenses.test_time.crops import drawn_boxes, resized_crops
from secondlook.randomness import Keys
from tests.defenses.test_time.scenes import KEYS, X


def test_boxes_lie_inside_and_have_their_share_of_the_area() -> None:
    top, left, tall, wide = drawn_boxes(Keys.of(0, range(200)), 8, 0.5, 48, 64).unbind(-1)
    assert bool(((top >= 0) & (left >= 0) & (top + tall <= 48) & (left + wide <= 64)).all())
    share, ratio = tall * wide / (48 * 64), wide / tall
    assert 0.48 < float(share.min()) < 0.51 and 0.64 < float(share.mean()) < 0.7  # Wide boxes of much area do not fit.
    # Only boxes that fit no draw are the whole image, of the image's own ratio.
    assert float(ratio.min()) > 0.72 and float(ratio.max()) < 1.4


def test_a_crop_is_its_box_enlarged_and_nothing_beside_it() -> None:
    boxes, crops = drawn_boxes(KEYS, 3, 0.2, 64, 64), resized_crops(X, KEYS, 3, 0.2)
    for image, row in ((0, 0), (3, 2)):
        top, left, tall, wide = boxes[image, row].int().tolist()
        own = X[image : image + 1, :, top : top + tall, left : left + wide]
        wanted = F.interpolate(own, (64, 64), mode="bilinear", align_corners=False)
        assert torch.allclose(crops[image, row], wanted[0], atol=1e-4)


def test_half_of_them_are_mirrored_and_draws_are_keyed() -> None:
    plain, flipped = resized_crops(X, KEYS, 8, 0.3), resized_crops(X, KEYS, 8, 0.3, flip=True)
    mirrored = (plain.flip(-1) - flipped).abs().amax((2, 3, 4)) < 1e-4
    same = (plain - flipped).abs().amax((2, 3, 4)) < 1e-4
    assert bool((mirrored ^ same).all()) and 16 < int(mirrored.sum()) < 48
    assert torch.equal(resized_crops(X[5:6], KEYS[5:6], 8, 0.3, flip=True)[0], flipped[5])
