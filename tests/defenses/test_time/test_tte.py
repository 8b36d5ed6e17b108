"""TTE is the mean over fixed views, and the published slip makes all crops one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import differentiate
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.tte import TTE, MeanOfViews, shifted
from secondlook.errors import InvalidInput
from secondlook.models.captioner import Captioner
from secondlook.models.purifiers.filters import Blur
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.models.test_captioner import Colors


def views(settings: TTE, x: Tensor) -> Tensor:
    found = Guarded(LinearClassifier(directions(3)), settings).adaptation
    assert isinstance(found, MeanOfViews)
    return found.views(x)


def test_the_views_are_the_image_its_mirror_image_and_crops_of_each() -> None:
    seen = views(TTE(blur=1.0), X)
    assert seen.shape == (len(X), 1 + 1 + 4 + 4 + 1, 3, 64, 64)
    assert torch.equal(seen[:, 0], X) and torch.equal(seen[:, 1], X.flip(-1))
    assert torch.equal(seen[:, 6:10], seen[:, 2:6].flip(-1))
    assert torch.equal(seen[:, 10], Blur(1.0).reconstruct(X, KEYS))
    assert len({crop.numpy().tobytes() for crop in seen[0, 2:6]}) == 4


def test_the_slip_of_the_published_code_makes_all_crops_the_last_one() -> None:
    seen, ours = views(TTE(legacy_one_crop=True), X), views(TTE(), X)
    assert all(torch.equal(seen[:, at], ours[:, 5]) for at in range(2, 6))


def test_a_crop_is_the_image_moved_over_a_black_border() -> None:
    x = images(2)
    assert torch.equal(shifted(x, 0.25, 0.5, 0.5), x)
    down = shifted(x, 0.25, 0.99, 0.5)
    assert torch.equal(down[:, :, :3], x[:, :, 1:]) and not down[:, :, 3].any()
    right = shifted(x, 0.25, 0.5, 0.0)
    assert torch.equal(right[..., 1:], x[..., :3]) and not right[..., 0].any()


def test_the_answer_is_the_mean_of_what_is_said_of_each_view() -> None:
    guarded = Guarded(clip(), TTE())
    x, keys = X[:2], KEYS[:2]
    seen = views(TTE(), x)
    wanted = torch.stack([clip()(seen[:, at]) for at in range(seen.shape[1])]).mean(0)
    assert same(guarded.decide(x, keys).scores, wanted)
    assert not guarded.stochastic
    assert float(coupling(guarded, x, keys, kept=1).max()) < COUPLED


def test_both_gradients_are_those_of_the_mean() -> None:
    model, x = LinearClassifier(directions(3)), images(4).requires_grad_()
    guarded, keys = Guarded(model, TTE(crops=0)), Keys.of(0, range(4))
    wanted = (model.weights[0] + model.weights[0].flip(-1)) / 2
    for manner in ("full", "bpda"):
        found = differentiate(guarded.surrogate(x, keys, gradient=manner).scores[:, 0, 0], x)
        assert torch.allclose(found, wanted.expand_as(found), atol=1e-6)


def test_what_has_no_views_and_what_has_no_scores_is_refused() -> None:
    with pytest.raises(InvalidInput, match="leave the image itself alone"):
        TTE(flip=False, crops=0)
    captioner: Captioner = Colors()
    with pytest.raises(InvalidInput, match="tte works with scores or vectors"):
        Guarded(captioner, TTE())
    assert replace(TTE(), seed=1).looks[2] != TTE().looks[2]
