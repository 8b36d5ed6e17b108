"""JPEG: Pillow's bytes where it decides, and a soft codec that is near them and has a gradient."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from secondlook import data
from secondlook.data import images
from secondlook.errors import InvalidInput
from secondlook.models.purifiers import jpeg
from secondlook.models.purifiers.jpeg import JpegPurifier, Subsampling, compress, soft_jpeg
from secondlook.randomness import Keys
from tests.held import matches_differences

KEYS = Keys.of(0, range(3))
BOTH: Any = pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
LEVEL = 1 / 255


def smooth(height: int, width: int, channels: int = 3, count: int = 3) -> Tensor:
    """Images on the 8-bit grid that are nearly smooth: soft colors with a little grain."""
    keys = Keys.of(2, range(count))
    coarse = keys.uniform((channels, 4, 4))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    return ((fine + 0.03 * keys.fold("grain").normal((channels, height, width))).clamp(0, 1) * 255).round() / 255


def by_pillow(image: Tensor, **settings: Any) -> Image.Image:
    pixels = (image * 255).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format="JPEG", **settings)
    return Image.open(held)


def as_tensor(image: Image.Image) -> Tensor:
    read = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return read.view(image.height, image.width, -1).permute(2, 0, 1) / 255


# --- what decides --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("channels", [1, 3])
def test_what_decides_is_pillow_s_own_codec(subsampling: Subsampling, channels: int) -> None:
    x = smooth(19, 24, channels)
    purifier = JpegPurifier(50, subsampling)
    assert not purifier.stochastic
    settings: dict[str, Any] = {"subsampling": subsampling} if channels == 3 else {}
    wanted = torch.stack([as_tensor(by_pillow(image, quality=50, **settings)) for image in x])
    assert torch.equal(purifier.purify(x, KEYS), wanted)
    # The value is the same to the bit where a gradient is asked for.
    assert torch.equal(purifier.purify(x.requires_grad_(), KEYS.fold("again")), wanted)


def test_the_default_is_pillow_s() -> None:
    assert torch.equal(JpegPurifier().purify(smooth(16, 16), KEYS)[1], as_tensor(by_pillow(smooth(16, 16)[1])))
    assert JpegPurifier().name == "jpeg:75"
    assert JpegPurifier(75, "4:4:4").name == "jpeg:75:4:4:4"


def test_lower_quality_moves_pixels_further() -> None:
    x = smooth(32, 32)
    moved = [float((compress(x, quality) - x).abs().mean()) for quality in (95, 75, 30, 5)]
    assert moved == sorted(moved)


@pytest.mark.parametrize("quality", [-1, 0, 96, 101])
def test_a_quality_that_pillow_does_not_have_is_refused(quality: int) -> None:
    with pytest.raises(InvalidInput, match=f"quality={quality} is outside 1 to 95"):
        JpegPurifier(quality)


def test_what_is_no_jpeg_is_refused() -> None:
    with pytest.raises(InvalidInput, match="subsampling='4:1:1' is none of 4:2:0 and 4:4:4"):
        JpegPurifier(75, "4:1:1")  # type: ignore[arg-type]
    for channels in (2, 4):
        with pytest.raises(InvalidInput, match=f"JPEG was handed {channels} channels; it holds 3, or 1 for gray"):
            JpegPurifier().purify(smooth(8, 8, channels), KEYS)
    with pytest.raises(InvalidInput, match="no noise to tune"):
        JpegPurifier().with_noise(0.5)


def test_no_image_is_no_image() -> None:
    assert JpegPurifier().purify(torch.zeros(0, 3, 8, 8), KEYS[:0]).shape == (0, 3, 8, 8)


# --- the soft codec ------------------------------------------------------------------------------


def test_its_tables_are_those_that_pillow_writes() -> None:
    for quality in range(1, 96):
        written = by_pillow(smooth(8, 8)[0], quality=quality).quantization  # type: ignore[attr-defined]
        for at, table in enumerate((jpeg._LUMA, jpeg._CHROMA)):
            assert jpeg.quantization(table, quality).flatten().tolist() == list(written[at]), quality


def difference(x: Tensor, quality: int, subsampling: Subsampling) -> Tensor:
    """Mean absolute difference of the soft codec from Pillow, per image, in levels of 255."""
    return (soft_jpeg(x, quality, subsampling) - compress(x, quality, subsampling)).abs().flatten(1).mean(1) / LEVEL


@BOTH
def test_scenes_come_out_within_one_level_of_pillow(subsampling: Subsampling) -> None:
    x = data.load("scenes:test").labeled().read(range(16), None).images
    for quality in (50, 75, 85, 95):
        assert float(difference(x, quality, subsampling).mean()) <= 1, quality


@pytest.fixture(scope="module")
def photographs(shared: Path) -> Tensor:
    """The middle of a hundred photographs, ``[100, 3, 96, 96]``."""
    files = sorted((shared / "data" / "imagenet-samples" / "images").glob("*.jpg"))[:100]
    return torch.stack([images.read(file, (224, 224))[:, 64:160, 64:160] for file in files])


@BOTH
def test_photographs_come_out_within_one_level_of_pillow(photographs: Tensor, subsampling: Subsampling) -> None:
    assert len(photographs) == 100
    for quality in (50, 75, 85, 95):
        assert float(difference(photographs, quality, subsampling).mean()) <= 1, quality


@BOTH
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (9, 4), (17, 5), (23, 33)])
def test_edges_are_filled_as_libjpeg_fills_them(size: tuple[int, int], subsampling: Subsampling) -> None:
    """Pillow's blocks at the edge are full of repeated pixels, which changes what is inside.

    In so small an image a single coefficient that falls the other way moves every pixel: the
    median is that of images without.
    """
    for channels in (1, 3):
        x = smooth(*size, channels, count=45)
        for quality in (50, 75):
            assert float(difference(x, quality, subsampling).median()) <= 0.8, (quality, channels)


@BOTH
@pytest.mark.parametrize(("size", "channels"), [((21, 13), 3), ((8, 16), 1), ((3, 2), 3)])
def test_its_gradient_is_that_of_finite_differences(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], channels: int, subsampling: Subsampling
) -> None:
    x = smooth(*size, channels, count=2).double() * 0.8 + 0.1
    matches_differences(monkeypatch, lambda x: soft_jpeg(x, 60, subsampling), x)


@pytest.mark.parametrize("quality", [20, 75])
def test_its_gradient_foretells_what_pillow_does_to_a_change(quality: int) -> None:
    """Better than that of the identity does."""
    x = smooth(32, 32)
    change = 4 * LEVEL * (Keys.of(3, range(3)).normal(x.shape[1:])).sign()
    moved = compress((x + change).clamp(0, 1), quality) - compress(x, quality)
    _, foretold = torch.autograd.functional.jvp(lambda x: soft_jpeg(x, quality), x, change)
    assert likeness(foretold, moved) > likeness(change, moved) + 0.1


def likeness(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("quality", [50, 95])
def test_what_was_compressed_before_still_has_a_gradient(quality: int) -> None:
    """Its coefficients are whole numbers, or nearly, where cubes are flat."""
    x = compress(smooth(32, 32), quality)
    gradients = []
    for at in (x, smooth(32, 32)):
        at.requires_grad_()
        gradients.append(torch.autograd.grad(JpegPurifier(quality).purify(at, KEYS).square().sum(), at)[0].norm())
    assert float(gradients[0] / gradients[1]) > 0.5


@BOTH
def test_an_image_does_not_feel_its_neighbors(subsampling: Subsampling) -> None:
    x = smooth(20, 20)
    assert torch.allclose(soft_jpeg(x, 60, subsampling)[1:2], soft_jpeg(x[1:2], 60, subsampling), atol=1e-5)
