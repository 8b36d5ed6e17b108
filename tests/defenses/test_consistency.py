"""Detectors that compare an input with views of it: what each sees, and one calibration."""

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.defenses.base import DetectorDefense
from secondlook.defenses.consistency import Consistency, Reconstruction, views
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Purifier
from secondlook.models.purifiers.filters import Blur
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from tests.defenses.mirror_models import Prism
from tests.tiny import COLORS, GREY, Shift, paint

N = 6
KEYS = Keys.of(0, range(N))
X = torch.stack([image for _, image in paint(N)])
NAMES = ("consistency", "squeezing", "puvae", "magnet")


class Fade(Purifier):
    """Half of the way to a color."""

    stochastic = False

    def __init__(self, name: str, red: float) -> None:
        self.name, self.red = name, red

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        return (x + torch.tensor([self.red, 0.5, 0.5]).view(1, 3, 1, 1)) / 2


def angle(one: Tensor, other: Tensor) -> Tensor:
    away = [each.flatten(2).mean(2) - GREY for each in (one, other)]
    return torch.nn.functional.cosine_similarity(*away)


def test_suspicion_is_one_less_the_cosine_to_the_view() -> None:
    fade, encoder = Fade("fade", 1.0), Prism("eye")
    found = Consistency(encoders=(encoder,), views=(fade,)).suspicion(X, KEYS)
    assert torch.allclose(found, 1 - angle(X, fade.purify(X, KEYS)), atol=1e-5)


def test_of_several_views_the_worst_or_the_mean_counts() -> None:
    encoder, both = Prism("eye"), (Fade("one", 1.0), Fade("two", 0.0))
    single = torch.stack([Consistency(encoders=(encoder,), views=(v,)).suspicion(X, KEYS) for v in both])
    worst = Consistency(encoders=(encoder,), views=both).suspicion(X, KEYS)
    mean = Consistency(encoders=(encoder,), views=both, reduction="mean").suspicion(X, KEYS)
    assert torch.equal(worst, single.amax(0))
    assert torch.allclose(mean, single.mean(0), atol=1e-6)


def test_several_encoders_are_averaged() -> None:
    encoders, fade = (Prism("a"), Prism("b", 0.6)), (Fade("fade", 1.0),)
    each = [Consistency(encoders=(encoder,), views=fade).suspicion(X, KEYS) for encoder in encoders]
    found = Consistency(encoders=encoders, views=fade).suspicion(X, KEYS)
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=1e-6)


def test_the_error_is_in_pixels() -> None:
    off = (X - Fade("fade", 0.5).purify(X, KEYS)).abs().flatten(1)
    for order, wanted in ((1, off.mean(1)), (2, off.square().mean(1).sqrt())):
        detector = Reconstruction(autoencoder=Fade("fade", 0.5), order=order)
        assert torch.allclose(detector.suspicion(X, KEYS), wanted, atol=1e-6)


def test_a_random_view_is_keyed_by_the_input() -> None:
    detector = Consistency(encoders=(Prism("eye"),), views=(Shift(0.1),))
    assert detector.stochastic
    whole, order = detector.suspicion(X, KEYS), torch.tensor([3, 1])
    assert torch.equal(whole[order], detector.suspicion(X[order], KEYS[order]))


def test_a_view_that_rounds_has_a_gradient_nevertheless() -> None:
    for name in ("jpeg:75", "bits:4"):
        x = X.clone().requires_grad_()
        detector = Consistency(encoders=(Prism("eye"),), views=views(name))
        (grad,) = torch.autograd.grad(detector.suspicion(x, KEYS).sum(), x)
        assert bool(grad.isfinite().all())
        assert float(grad.abs().max()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_all_are_defenses_with_one_calibration(name: str) -> None:
    model = ZeroShot(Prism("victim"), COLORS, "a {}")
    encoders = {} if name == "magnet" else {"encoders": Prism("eye")}
    settings = {**encoders, "false_rejection": 0.1, "calibrate_samples": 29}
    defense = registry.find("defense", name)(**settings)
    assert isinstance(defense, DetectorDefense)
    guarded = Guarded(model, defense)
    source = guarded.calibration
    assert source is not None
    keys = Keys.of(0, source.ids).fold("calibrate")
    rows = torch.tensor(keys.order()[:29])
    found = guarded.decide(source.read(rows.tolist(), None).images, keys[rows])
    assert int((~found.accepted).sum()) <= 2
    assert bool((found.suspicion >= -1e-6).all())


def test_magnet_compares_pixels_or_vectors() -> None:
    model = ZeroShot(Prism("victim"), COLORS, "a {}")
    plain = {"false_rejection": 0.0, "purifier": Fade("fade", 1.0)}
    cls = registry.find("defense", "magnet")
    assert isinstance(cls(**plain).detector(model), Reconstruction)
    assert isinstance(cls(**plain, by="divergence", encoders=Prism("eye")).detector(model), Consistency)


def test_views_are_found_by_name() -> None:
    blur, ae = views("blur:1.5, scenes:ae")
    assert isinstance(blur, Blur)
    assert (blur.sigma, ae.name) == (1.5, "scenes:ae")
    with pytest.raises(InvalidInput, match="blur:NUMBER"):
        views("blur")
    with pytest.raises(InvalidInput, match="no purifier"):
        views("scenes:clip")
    with pytest.raises(UnknownName, match="reduction"):
        registry.build("defense", "squeezing", {"encoders": "scenes:clip"}).compared("blur:1", "least")
