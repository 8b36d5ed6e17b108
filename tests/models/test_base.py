"""What every model shares: pixel checks, zero-shot scores, modes, counts and sizes."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.base import Embedder, check_pixels, evaluating, resized
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.randomness import Keys

AXES = {"red": (2.0, 0.0, 0.0), "green": (0.0, 3.0, 0.0), "yellow": (1.0, 1.0, 0.0)}


class MeanColor(Embedder):
    """The mean color of an image, in one space with three words for colors."""

    name = "mean color"

    def encode_image(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([AXES[text.split()[-1]] for text in texts])


def one_color(*rgb: float) -> Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(3, 4, 4), r"shape \(3, 4, 4\)"),
        (torch.zeros(1, 1, 4, 4), r"\[B, 3, H, W\]"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "torch.uint8; divide"),
        (torch.full((1, 3, 4, 4), float("nan")), "NaN"),
        (torch.linspace(0, 255, 48).view(1, 3, 4, 4), "up to 255; divide by 255"),
        (torch.linspace(-2, 2, 48).view(1, 3, 4, 4), r"\[-2, 2\], not \[0, 1\]"),
        (torch.full((1, 3, 4, 4), 1.01), r"not \[0, 1\]"),
        (torch.full((1, 3, 4, 4), float("-inf")), r"\[-inf, -inf\]"),
    ],
)
def test_what_is_no_pixel_is_refused_with_a_mend(x: Tensor, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_pixels(x, "the model")


@pytest.mark.parametrize("x", [torch.rand(2, 3, 4, 5), torch.ones(1, 3, 1, 1), torch.rand(0, 3, 4, 4)])
def test_pixels_pass(x: Tensor) -> None:
    check_pixels(x, "the model")


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_pass_where_any_number_will_do(channels: int) -> None:
    check_pixels(torch.rand(2, channels, 4, 5), "the model", channels=None)
    with pytest.raises(InvalidInput, match=r"\[B, 3, H, W\]"):
        check_pixels(torch.rand(2, channels, 4, 5), "the model")


def test_a_model_may_work_in_place_on_what_it_is_handed() -> None:
    class InPlace(MeanColor):
        def encode_image(self, x: Tensor) -> Tensor:
            return super().encode_image(x.mul_(0.5))

    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    before = x.detach().clone()
    assert torch.allclose(InPlace().embed(x), MeanColor().embed(x))
    torch.autograd.grad(InPlace().embed(x).sum(), x)
    with torch.no_grad(), counting():
        InPlace().embed(x)
    assert torch.equal(x, before)


def test_one_nan_among_many_pixels_is_found() -> None:
    x = torch.rand(2, 3, 8, 8)
    x[1, 2, 7, 7] = float("nan")
    with pytest.raises(InvalidInput, match="NaN"):
        MeanColor().embed(x)


@pytest.mark.parametrize("texts", [[], ["red", "  "]])
def test_texts_without_words_are_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidInput, match="none of them empty"):
        MeanColor().embed_text(texts)


def test_texts_are_embedded_alike_in_any_batch() -> None:
    texts = ["red", "green", "yellow", "green", "red"]
    assert torch.equal(MeanColor().embed_text(texts, batch=2), MeanColor().embed_text(texts))


def test_passes_are_counted_per_sample_where_they_happen() -> None:
    model, x = MeanColor(), torch.rand(5, 3, 4, 4, requires_grad=True)
    with counting() as outer:
        model.embed(x[:2].detach())
        with counting() as inner:
            scores = model.embed(x)[:, 0].sum()
            assert (inner.forwards, inner.backwards) == (5, 0)
            torch.autograd.grad(scores, x)
            with torch.no_grad():
                model.embed(x)
    assert (inner.forwards, inner.backwards) == (10, 5)
    assert (outer.forwards, outer.backwards) == (12, 5)
    assert outer.by_model == {"mean color": [12, 5]}


def test_a_purified_look_counts_both_models_forwards_and_backwards() -> None:
    x, keys = torch.rand(3, 3, 4, 4, requires_grad=True), Keys.of(0, range(3))
    purifier, model = NoisePurifier(0.1), MeanColor()
    with counting() as ledger:
        torch.autograd.grad(model.embed(purifier.purify(x, keys)).sum(), x)
    assert ledger.by_model == {"noise:0.1": [3, 3], "mean color": [3, 3]}


def mixed_modes() -> nn.Sequential:
    network = nn.Sequential(nn.Sequential(nn.Dropout(), nn.Linear(2, 2)), nn.Dropout())
    network.train()
    network[0][0].eval()
    return network


def test_every_part_has_its_own_mode_back_even_after_an_error() -> None:
    network = mixed_modes()
    before = [part.training for part in network.modules()]
    with pytest.raises(ZeroDivisionError), evaluating([network]):
        assert not any(part.training for part in network.modules())
        raise ZeroDivisionError
    assert [part.training for part in network.modules()] == before
    assert True in before
    assert False in before


def test_the_hash_knows_one_changed_weight() -> None:
    model, network = MeanColor(), nn.Linear(3, 2)
    model.modules = (network,)
    before = model.hash
    assert model.hash == before
    with torch.no_grad():
        network.bias[1] += 1e-3
    assert model.hash != before


def test_resizing_leaves_a_fitting_size_alone_and_means_equal_areas() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert resized(x, 8, 8) is x
    flat = resized(one_color(0.2, 0.5, 0.7), 9, 3)
    assert torch.allclose(flat, flat[..., :1, :1].expand_as(flat), atol=1e-6)
