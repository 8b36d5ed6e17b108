"""What image processors do, number for number; CLIP's photographs, and refitted positions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.families.hf.naflex import Patches
from secondlook.models.families.hf.processors import affine, kernel, preprocessing
from secondlook.models.io.preprocessing import DEVIATION, MEAN, Filter, Preprocessing, centered, resampled, squeezed
from secondlook.models.io.published import refitted

FLAT = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
# Before release 13 Pillow always took the width first, so that other pixels at hard edges of tall
# pictures are clipped between the two passes.
SAME = 1e-3
FEW = 0.0 if int(PIL.__version__.partition(".")[0]) >= 13 else 1e-3


def photographs(shared: Path) -> list[Image.Image]:
    found = [
        sorted((shared / "data" / folder).glob(pattern))[0]
        for folder, pattern in (("imagenet-samples/images", "*"), ("flickr8k/images", "*"), ("rsscn7/grass", "*"))
    ]
    pictures = [Image.open(path).convert("RGB") for path in found]
    # Upright too, and of odd sizes.
    return [*pictures, pictures[0].transpose(Image.Transpose.ROTATE_90), pictures[1].crop((0, 0, 201, 97))]


def pixels(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def given_by_transformers() -> dict[str, Any]:
    t = pytest.importorskip("transformers")
    return {
        "clip": t.CLIPImageProcessor(),
        "clip at 336": t.CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=336),
        "siglip": t.SiglipImageProcessor(resample=2),
        "siglip bicubic": t.SiglipImageProcessor(resample=3),
        "align": t.EfficientNetImageProcessor(
            do_center_crop=True,
            rescale_factor=1 / 127.5,
            rescale_offset=True,
            do_normalize=False,
            include_top=False,
            resample=2,
        ),
        "efficientnet": t.EfficientNetImageProcessor(include_top=True, resample=3),
        "blip": t.BlipImageProcessor(),
        "chinese_clip": t.ChineseCLIPImageProcessor(),
        "a crop larger than the picture": t.CLIPImageProcessor(
            size={"shortest_edge": 61}, crop_size={"height": 90, "width": 75}
        ),
    }


FAMILIES = (
    "clip",
    "clip at 336",
    "siglip",
    "siglip bicubic",
    "align",
    "efficientnet",
    "blip",
    "chinese_clip",
    "a crop larger than the picture",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_are_those_of_the_processor(shared: Path, family: str) -> None:
    processor = given_by_transformers()[family]
    ours = preprocessing(processor, family, "native")
    for picture in photographs(shared):
        theirs = torch.as_tensor(np.asarray(processor(picture, return_tensors="np")["pixel_values"])).float()
        made = ours(pixels(picture))
        assert made.shape == theirs.shape
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (ours.mean, ours.std))
        off = ((made - theirs) * std).abs() * 255
        assert float((off > SAME).float().mean()) <= FEW
        # On the steps of 8 bits, as a file would hold it.
        steps = (made * std + mean).mul(255)
        assert float((steps - steps.round()).abs().max()) < SAME


def test_patches_are_those_of_the_processor(shared: Path) -> None:
    t = pytest.importorskip("transformers")
    processor = t.Siglip2ImageProcessor()
    mean, std = affine(processor)
    ours = Patches(patch=16, budget=256, filter=kernel(processor, "x"), mean=mean, std=std)
    for picture in photographs(shared):
        theirs, made = processor(picture, return_tensors="pt"), ours(pixels(picture))
        for key in ("spatial_shapes", "pixel_attention_mask"):
            assert torch.equal(made[key].long(), theirs[key].long())
        off = (made["pixel_values"] - theirs["pixel_values"]).abs() * 0.5 * 255
        assert float((off > SAME).float().mean()) <= FEW


@given(height=st.integers(1, 900), width=st.integers(1, 900), budget=st.integers(1, 300))
def test_the_grid_is_the_largest_in_the_budget(height: int, width: int, budget: int) -> None:
    patches = Patches(patch=16, budget=budget, filter="bilinear", **FLAT)
    rows, columns = patches.grid(height, width)
    assert 1 <= rows * columns <= budget
    scales = torch.linspace(1e-3, 100, 20_000, dtype=torch.float64)
    all_of = (height * scales / 16).ceil() * (width * scales / 16).ceil()
    fitting = all_of[all_of <= budget]
    assert not len(fitting) or int(fitting.max()) <= rows * columns


@pytest.mark.parametrize("size", [(31, 17), (64, 90), (7, 7), (40, 33), (60, 66), (53, 11)])
@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic"])
def test_a_resize_is_pillows(size: tuple[int, int], name: Filter) -> None:
    noise = torch.randint(0, 256, (40, 33, 3), generator=torch.Generator().manual_seed(0)).byte()
    picture = Image.fromarray(noise.numpy())
    made = resampled(pixels(picture), *size, name)
    way = getattr(Image.Resampling, name.upper())
    theirs = pixels(picture.resize((size[1], size[0]), way))
    assert float((made - theirs).abs().max()) * 255 < SAME


def test_white_stays_white_and_keeps_its_gradient() -> None:
    x = torch.ones(1, 3, 50, 70, requires_grad=True)
    made = Preprocessing(fit="shortest", edge=(32, 32), crop=(32, 32), **FLAT)(x)
    assert torch.allclose(made, torch.ones_like(made), atol=1e-5)
    (gradient,) = torch.autograd.grad(made.sum(), x)
    # Of the 70 columns, the crop sees about 50.
    assert float(gradient.sum()) == pytest.approx(made.numel(), rel=1e-4)


def test_the_gradient_goes_straight_through_the_rounding() -> None:
    x = torch.rand(2, 3, 40, 33, generator=torch.Generator().manual_seed(0)).requires_grad_()
    steps = Preprocessing(fit="exact", edge=(17, 21), **FLAT)
    weights = torch.rand(2, 3, 17, 21, generator=torch.Generator().manual_seed(1))
    smooth = replace(steps, rounding=False)
    with torch.no_grad():
        assert torch.allclose(steps(x), steps(x.detach()), atol=1e-6)
        assert 0.4 < float((steps(x) - smooth(x)).abs().max()) * 255 < 1.5
    found = [torch.autograd.grad((made(x) * weights).sum(), x)[0] for made in (steps, smooth)]
    # Where the bicubic kernel overshoots the rounding can decide which side of the range it is.
    assert float((found[0] - found[1]).abs().gt(1e-5).float().mean()) < 0.02


def test_the_gradient_is_the_derivative() -> None:
    x = torch.rand(1, 3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (0.4 + 0.2 * x).requires_grad_(True)
    steps = Preprocessing(
        fit="shortest", edge=(5, 5), crop=(5, 5), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), rounding=False
    )
    assert torch.autograd.gradcheck(steps, (x,))


def test_what_has_the_networks_size_is_only_normalized() -> None:
    settings = {"fit": "exact", "edge": (40, 40), "crop": (32, 32), **FLAT}
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    as_input = Preprocessing(**settings, resolution="input")
    native = Preprocessing(**settings, resolution="native")
    assert torch.equal(as_input(x), x)
    assert not torch.allclose(native(x), x, atol=0.05)
    large = torch.rand(2, 3, 70, 50, generator=torch.Generator().manual_seed(1))
    assert torch.equal(as_input(large), native(large))
    assert torch.equal(as_input(native.fitted(large)), native(large))


@pytest.mark.parametrize("changes", [{"edge": (0, 4)}, {"crop": (4, -1)}, {"mean": (0.5,)}, {"std": (1.0, 1.0, 0.0)}])
def test_nonsense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="sizes must be 1 or more|write three each"):
        Preprocessing(**{"fit": "exact", "edge": (4, 4), **FLAT, **changes})


def test_processors_that_do_something_else_are_refused() -> None:
    t = pytest.importorskip("transformers")
    with pytest.raises(InvalidInput, match="resample=1; 0, 2 and 3"):
        preprocessing(t.CLIPImageProcessor(resample=1), "x", "input")
    with pytest.raises(InvalidInput, match="do_pad"):
        preprocessing(t.CLIPImageProcessor(do_pad=True), "x", "input")
    with pytest.raises(InvalidInput, match="neither resizes nor crops"):
        preprocessing(t.SiglipImageProcessor(do_resize=False), "x", "input")
    with pytest.raises(InvalidInput, match="shortest_edge=224"):
        preprocessing(t.CLIPImageProcessor(do_center_crop=False), "x", "input")


@pytest.mark.parametrize(
    ("shape", "rows", "columns"), [((8, 14), (0, 8), (3, 11)), ((13, 8), (2, 10), (0, 8)), ((8, 8), (0, 8), (0, 8))]
)
def test_the_middle_is_kept(shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    assert centered(8).fitted(x).equal(x[..., slice(*rows), slice(*columns)])


def test_all_of_a_squeezed_photograph_is_kept() -> None:
    x = torch.zeros(1, 3, 8, 16)
    x[..., 8:] = 1
    seen = squeezed(8).fitted(x)
    assert seen.shape == (1, 3, 8, 8)
    torch.testing.assert_close(seen.mean(), torch.tensor(0.5))
    assert centered(8).fitted(x).shape == (1, 3, 8, 8)


def test_the_mean_becomes_zero_and_a_deviation_one() -> None:
    mean, one = (torch.tensor(v).view(1, 3, 1, 1).expand(1, 3, 2, 2) for v in (MEAN, DEVIATION))
    for shown in (centered(2), squeezed(2)):
        torch.testing.assert_close(shown(mean), torch.zeros(1, 3, 2, 2))
        torch.testing.assert_close(shown(mean + one), torch.ones(1, 3, 2, 2))


def test_positions_are_stretched_and_the_class_tokens_stays() -> None:
    held = torch.full((1, 17, 2), 3.0)
    held[:, 0] = 7
    fitted = refitted(held, 64)
    assert fitted.shape == (1, 65, 2) and fitted[:, 0].eq(7).all()
    torch.testing.assert_close(fitted[:, 1:], torch.full((1, 64, 2), 3.0))
    assert refitted(held, 16) is held


def test_positions_of_no_square_are_refused() -> None:
    with pytest.raises(InvalidInput, match="16 patches do not fit 12"):
        refitted(torch.zeros(1, 17, 2), 12)
