"""JPEG as a defense: the codec once, and gradients through it or straight past."""

import pytest
import torch

from secondlook import registry
from secondlook.defenses.base import Gradient
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.jpeg import Jpeg
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.purifiers.jpeg import Subsampling, compress, soft_jpeg
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images

KEYS = Keys.of(0, range(6))
MODEL = LinearClassifier(directions(3))


@pytest.mark.parametrize(("quality", "subsampling"), [(75, "4:2:0"), (20, "4:4:4")])
def test_the_answer_is_that_for_the_compressed_image(quality: int, subsampling: Subsampling) -> None:
    seen = Guarded(MODEL, Jpeg(quality=quality, subsampling=subsampling)).decide(images(6), KEYS)
    compressed = compress(images(6), quality, subsampling)
    assert not torch.equal(compressed, images(6))
    assert torch.equal(seen.features, compressed.flatten(1))
    assert seen.answer.tolist() == MODEL(compressed).argmax(1).tolist()
    assert seen.draws.tolist() == [1] * 6
    assert bool(seen.accepted.all())


@pytest.mark.parametrize("gradient", ["full", "bpda"])
def test_an_attacker_sees_pillow_s_bytes_and_differentiates_the_soft_codec_or_nothing(gradient: Gradient) -> None:
    x = images(6).requires_grad_()
    guarded = Guarded(MODEL, Jpeg())
    assert not guarded.stochastic
    seen = guarded.surrogate(x, KEYS, draws=4, gradient=gradient)
    assert torch.equal(seen.features[:, 0], compress(images(6), 75).flatten(1))
    (found,) = torch.autograd.grad(seen.scores[:, 0, 2].sum(), x)
    weights = MODEL.weights[2].expand(6, -1, -1, -1)
    (through,) = torch.autograd.grad((weights * soft_jpeg(x, 75)).sum(), x)
    assert torch.allclose(found, through if gradient == "full" else weights, atol=1e-6)


def test_what_a_user_may_set() -> None:
    built = registry.build("defense", "jpeg", {"quality": "30"})
    assert registry.describe(built) == {"name": "jpeg", "quality": 30, "subsampling": "4:2:0"}
    with pytest.raises(UnknownName, match="unknown field of defense 'jpeg': 'samples'"):
        registry.build("defense", "jpeg", {"samples": 3})
    with pytest.raises(InvalidInput, match="quality=96 is outside 1 to 95"):
        Jpeg(quality=96)
    with pytest.raises(InvalidInput, match="subsampling='4:2:2'"):
        registry.build("defense", "jpeg", {"subsampling": "4:2:2"})
