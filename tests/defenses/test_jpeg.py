"""JPEG as a defense: the codec once, and gradients straight past it."""

import pytest
import torch

from secondlook import registry
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.jpeg import Jpeg
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.purifiers.filters import compress
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images

KEYS = Keys.of(0, range(6))
MODEL = LinearClassifier(directions(3))


@pytest.mark.parametrize("quality", [75, 20])
def test_the_answer_is_that_for_the_compressed_image(quality: int) -> None:
    seen = Guarded(MODEL, Jpeg(quality=quality)).decide(images(6), KEYS)
    compressed = compress(images(6), quality)
    assert not torch.equal(compressed, images(6))
    assert torch.equal(seen.features, compressed.flatten(1))
    assert seen.answer.tolist() == MODEL(compressed).argmax(1).tolist()
    assert seen.draws.tolist() == [1] * 6
    assert bool(seen.accepted.all())


def test_gradients_are_passed_straight_on() -> None:
    x = images(6).requires_grad_()
    guarded = Guarded(MODEL, Jpeg())
    assert not guarded.stochastic
    seen = guarded.surrogate(x, KEYS, draws=4)
    (gradient,) = torch.autograd.grad(seen.scores[:, 0, 2].sum(), x)
    assert torch.allclose(seen.features[:, 0], compress(images(6), 75).flatten(1), atol=1e-6)
    assert torch.allclose(gradient, MODEL.weights[2].expand(6, -1, -1, -1))


def test_what_a_user_may_set() -> None:
    built = registry.build("defense", "jpeg", {"quality": "30"})
    assert registry.describe(built) == {"name": "jpeg", "quality": 30}
    with pytest.raises(UnknownName, match="unknown field of defense 'jpeg': 'samples'"):
        registry.build("defense", "jpeg", {"samples": 3})
    with pytest.raises(InvalidInput, match="quality=96 is outside 1 to 95"):
        Jpeg(quality=96)
