"""The map of a text: where a linear model has it, sites of towers, and what has none."""

from pathlib import Path

import pytest
import torch

from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.heatmap import Weights, find_site, heat
from secondlook.objectives.grounding import MoveMap
from secondlook.randomness import Keys
from secondlook.tasks.grounding import GroundingTask
from tests import tiny
from tests.models.spots import RED, Tokens, Window, spot


@pytest.mark.parametrize("weights", ["each", "mean"])
def test_the_map_of_a_linear_model_is_where_the_color_is(weights: Weights) -> None:
    """Features are colors, the gradient of the dot product with red is the same everywhere."""
    for row, column in ((0, 0), (1, 3), (3, 2)):
        found = heat(Window(), spot(row, column), RED, weights=weights)
        place = int(found[0].argmax())
        assert (place // 16 // 4, place % 16 // 4) == (row, column)
        assert found.max() == 1 and found.min() >= 0 and found.shape == (1, 16, 16)


def test_what_speaks_against_a_text_is_no_heat() -> None:
    model = Window()
    x = (spot(1, 1) + spot(2, 3).roll(2, 1)).clamp(0, 1)
    found = heat(model, x, RED.roll(2, 1))[0]
    assert int(found.argmax()) // 64 == 2 and not found[5:7, 5:7].any()
    with pytest.raises(InvalidInput, match="window does not run the site"):
        heat(model, spot(1, 1), RED, find_site(Window(), spot(1, 1)[0]))


def test_an_image_s_map_does_not_feel_its_neighbors() -> None:
    model = load("scenes:clip-vit")
    assert isinstance(model, Embedder)
    batch = GroundingTask(samples=5).open().read(range(5), (64, 64))
    vectors = model.embed_text([text for (text,) in batch.pairs.captions])
    whole = heat(model, batch.pairs.images, vectors)
    alone = heat(model, batch.pairs.images[3:4], vectors[3:4])
    assert torch.allclose(whole[3], alone[0], atol=1e-4)
    assert not torch.is_grad_enabled() or batch.pairs.images.grad is None


def test_the_site_is_the_last_with_places_that_the_vector_hangs_on() -> None:
    window, tokens = Window(), Tokens()
    assert find_site(window, spot(0, 0)[0]).module is window.look
    site = find_site(tokens, spot(0, 0)[0])
    # Behind the last attention only the mark is read: the last patches that count are before it.
    assert site.module is tokens.blocks[1].norm1 and site.tokens
    assert site.plane(torch.zeros(5, 17, 16)).shape == (5, 16, 4, 4)
    for name, tower in (("scenes:clip", False), ("scenes:clip-vit", True)):
        model = load(name)
        assert isinstance(model, Embedder)
        assert find_site(model, torch.rand(3, 64, 64)).tokens is tower


def test_patches_are_laid_out_row_by_row() -> None:
    site = find_site(Tokens(), spot(0, 0)[0])
    plane = site.plane(torch.arange(17.0).view(1, 17, 1))
    assert torch.equal(plane[0, 0], torch.arange(1.0, 17).view(4, 4))


@pytest.mark.parametrize(
    ("kind", "place"), [("clip", "layers.1.layer_norm1"), ("siglip", "post_layernorm"), ("align", "blocks.1")]
)
def test_towers_of_the_hub_are_looked_into(kind: str, place: str, tmp_path: Path) -> None:
    """A tower that reads one token, one that pools all patches, and one of convolutions."""
    pytest.importorskip("transformers")
    from tests.models import hub_models

    model = load(f"hf:{hub_models.save(tmp_path, kind)}")
    assert isinstance(model, Embedder)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    site = find_site(model, x[0])
    names = [name for part in model.modules for name, m in part.named_modules() if m is site.module]
    assert names[0].endswith(place)
    vectors = model.embed_text(["a red cat", "the two small dog"])
    assert heat(model, x, vectors, site).amax((1, 2)).tolist() == [1, 1]
    goal = MoveMap(model=model, vectors=vectors, boxes=torch.tensor([[0.0, 0, 0.5, 0.5]] * 2), site=site)
    seen = x.requires_grad_()
    (gradient,) = torch.autograd.grad(goal(seen, Keys.of(0, "ab")).loss.sum(), seen)
    assert bool(gradient.flatten(1).any(1).all())


def test_a_model_without_places_is_told() -> None:
    with pytest.raises(InvalidInput, match="tiny:eye has no spatial features to weigh"):
        heat(tiny.eye(), spot(0, 0), RED)
    with pytest.raises(InvalidInput, match=r"2 text\(s\) for 1 image\(s\)"):
        heat(Window(), spot(0, 0), RED.expand(2, -1))
