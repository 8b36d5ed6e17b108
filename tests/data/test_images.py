"""Every kind of image file a user may have, good and bad, and writing pixels back."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secondlook.data import decoding, images
from secondlook.errors import InvalidInput

GRADIENT = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def save(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_bytes(x: torch.Tensor) -> np.ndarray:
    return (x * 255).round().byte().permute(1, 2, 0).numpy()


# --- what is read, and how ---------------------------------------------------------------------


def test_rgb_is_read_pixel_by_pixel(tmp_path: Path) -> None:
    x = images.read(save(tmp_path / "a.png", Image.fromarray(GRADIENT)), None)
    assert x.shape == (3, 6, 8)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.from_numpy(GRADIENT).permute(2, 0, 1).float() / 255)


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    gray = np.array([[0, 255, 256], [32768, 65279, 65535]], dtype=np.uint16)
    x = images.read(save(tmp_path / "a.png", Image.fromarray(gray)), None)
    expected = (gray / 257).round().astype(np.uint8)
    assert (as_bytes(x) == expected[..., None]).all()


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bit_tiff_of_either_byte_order(tmp_path: Path, order: str) -> None:
    gray = np.array([[0, 257], [25700, 65535]], dtype=order)
    mode = "I;16" if order == "<u2" else "I;16B"
    path = save(tmp_path / "a.tif", Image.frombytes(mode, (2, 2), gray.tobytes()))
    assert (as_bytes(images.read(path, None))[..., 0] == [[0, 1], [100, 255]]).all()


def test_16_bit_pgm_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n2 1\n65535\n" + np.array([25700, 65535], dtype=">u2").tobytes())
    assert as_bytes(images.read(path, None))[0, :, 0].tolist() == [100, 255]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_numbers_are_refused(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.tif", Image.new(mode, (4, 4), 70_000))
    with pytest.raises(InvalidInput, match=r"a\.tif .*32-bit.*replace"):
        images.read(path, None)


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 255, 51)
    x = as_bytes(images.read(save(tmp_path / "a.png", Image.fromarray(rgba)), None))
    assert x[0].tolist() == [[255, 255, 255], [200, 0, 0], [244, 204, 204]]


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("LA", (2, 2), (10, 0)))
    assert (as_bytes(images.read(path, None)) == 255).all()


def test_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path: Path) -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    plain = images.read(save(tmp_path / "a.png", picture), None)
    clear = images.read(save(tmp_path / "b.png", picture, transparency=1), None)
    assert as_bytes(plain)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert as_bytes(clear)[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize(("mode", "value"), [("L", 99), ("1", 1), ("CMYK", (0, 255, 255, 0))])
def test_other_modes_become_rgb(tmp_path: Path, mode: str, value: object) -> None:
    picture = Image.new(mode, (2, 2), value)  # type: ignore[arg-type]
    x = as_bytes(images.read(save(tmp_path / "a.tif", picture), None))
    expected = {"L": [99] * 3, "1": [255] * 3, "CMYK": [255, 0, 0]}[mode]
    assert x[0, 0].tolist() == expected


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn clockwise
    path = save(tmp_path / "a.png", Image.fromarray(GRADIENT), exif=exif)
    assert (as_bytes(images.read(path, None)) == np.rot90(GRADIENT, -1)).all()


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert as_bytes(images.read(path, None))[0, 0].tolist() == [255, 0, 0]


def test_one_pixel_is_resized(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (1, 1), (10, 20, 30)))
    x = images.read(path, (5, 7), keep=0.9)
    assert x.shape == (3, 5, 7)
    assert (as_bytes(x) == [10, 20, 30]).all()


# --- crop and size -----------------------------------------------------------------------------


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    x = decoding.fit(Image.fromarray(GRADIENT), (6, 8))
    assert (as_bytes(x) == GRADIENT).all()


@pytest.mark.parametrize(("height", "width"), [(100, 160), (160, 100)])
def test_the_crop_is_central_and_keeps_a_share_of_the_short_side(height: int, width: int) -> None:
    pixels = noise(height, width)
    top, left = (height - 80) // 2, (width - 80) // 2
    x = decoding.fit(Image.fromarray(pixels), (80, 80), keep=0.8)
    assert (as_bytes(x) == pixels[top : top + 80, left : left + 80]).all()


def test_the_crop_has_the_aspect_ratio_of_the_size() -> None:
    pixels = noise(60, 100)
    x = decoding.fit(Image.fromarray(pixels), (25, 50))
    box = Image.fromarray(pixels[5:55]).resize((50, 25), Image.Resampling.BICUBIC)
    # The outermost rows also see a little of what lies beyond the box.
    assert (as_bytes(x)[2:-2] == np.asarray(box)[2:-2]).all()


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.1, float("nan")])
def test_keep_outside_its_range(keep: float) -> None:
    with pytest.raises(InvalidInput, match=r"keep=.* is outside \(0, 1\]"):
        decoding.fit(Image.fromarray(GRADIENT), (4, 4), keep)


def test_a_size_of_nothing() -> None:
    with pytest.raises(InvalidInput, match=r"size=\(0, 4\) must be 1 or more"):
        decoding.fit(Image.fromarray(GRADIENT), (0, 4))


# --- bad files ---------------------------------------------------------------------------------


def test_truncated_files(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.gif", "a.webp"):
        path = save(tmp_path / name, Image.fromarray(noise(64, 64)))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(InvalidInput, match=rf"{name} cannot be read as an image.*replace"):
            images.read(path, None)


@pytest.mark.parametrize("content", [b"", b"\n", b"not a picture\n" * 100, b"\x89PNG\r\n\x1a\n"])
def test_no_image_behind_the_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"notes\.png cannot be read as an image.*replace"):
        images.read(path, None)


def test_formats_that_start_outside_programs_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(InvalidInput, match="no image of a known kind"):
        images.read(path, None)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_bytes_broken_anywhere_give_an_image_or_one_kind_of_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP"):
        held = io.BytesIO()
        Image.fromarray(GRADIENT).save(held, kind)
        for _ in range(40):
            broken = bytearray(held.getvalue())
            for spot in rng.integers(0, len(broken), 4):
                broken[spot] = rng.integers(256)
            try:
                assert decoding.decode(io.BytesIO(broken), "a", (4, 4)).shape == (3, 4, 4)
            except InvalidInput as error:
                assert str(error).startswith("a ")


def test_missing_file_and_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"b\.png cannot be opened \(No such file"):
        images.read(tmp_path / "b.png", None)
    (tmp_path / "c.png").mkdir()
    with pytest.raises(InvalidInput, match=r"c\.png cannot be opened \(Is a directory"):
        images.read(tmp_path / "c.png", None)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_closed_to_reading(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(GRADIENT))
    path.chmod(0)
    with pytest.raises(InvalidInput, match=r"a\.png cannot be opened \(Permission denied"):
        images.read(path, None)


def test_a_picture_above_the_cap_is_refused_by_its_header(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("1", (10_001, 5_000)))
    with pytest.raises(InvalidInput, match=r"a\.png is 10001x5000, 50\.0 megapixels; shrink"):
        images.read(path, (4, 4))


def test_a_picture_far_above_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    Image.new("1", (8, 8)).save(path)
    header = bytearray(path.read_bytes())
    header[18:26] = (30_000).to_bytes(4, "little") * 2
    path.write_bytes(header)
    with pytest.raises(InvalidInput, match=r"a\.bmp is too large: .*900000000 pixels.*shrink"):
        images.read(path, (4, 4))


# --- folders -----------------------------------------------------------------------------------


def test_find_is_sorted_and_goes_by_the_extension(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.txt", ".d.png"):
        (tmp_path / name).touch()
    (tmp_path / "e.png").mkdir()
    assert [path.name for path in images.find(tmp_path)] == ["a.jpg", "b.PNG"]


def test_find_without_images(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it holds no files"):
        images.find(tmp_path)
    for name in "dcba":
        (tmp_path / "deep" / name).mkdir(parents=True)
    with pytest.raises(InvalidInput, match=r"it holds folders alone \(a, b, c, …\)"):
        images.find(tmp_path / "deep")
    (tmp_path / "a.txt").touch()
    with pytest.raises(InvalidInput, match=r"none of its 1 files is an image.*\.jpeg, \.jpg"):
        images.find(tmp_path)
    with pytest.raises(InvalidInput, match="nowhere cannot be read as a folder"):
        images.find(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"a\.txt cannot be read as a folder"):
        images.find(tmp_path / "a.txt")


# --- batches -----------------------------------------------------------------------------------


def test_stack_wants_one_size() -> None:
    small, wide = torch.zeros(3, 4, 4), torch.zeros(3, 4, 6)
    assert images.stack([small, small], ["a", "b"]).shape == (2, 3, 4, 4)
    with pytest.raises(InvalidInput, match="b is 4x6 and a is 4x4.*give a size"):
        images.stack([small, wide], ["a", "b"])
    with pytest.raises(InvalidInput, match="no rows"):
        images.stack([], [])


# --- writing -----------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    x = torch.from_numpy(noise(9, 5)).permute(2, 0, 1).float() / 255
    images.write_png(tmp_path / "a.png", x)
    assert torch.equal(images.read(tmp_path / "a.png", None), x)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_writing_rounds_to_the_nearest_level(tmp_path: Path) -> None:
    images.write_png(tmp_path / "a.png", torch.full((3, 1, 1), 99.6 / 255))
    assert as_bytes(images.read(tmp_path / "a.png", None))[0, 0].tolist() == [100] * 3


@pytest.mark.parametrize(
    ("x", "mend"),
    [
        (torch.full((3, 2, 2), 255.0), "divide by 255"),
        (torch.full((3, 2, 2), float("nan")), "NaN"),
        (torch.zeros(1, 2, 2), r"images are \[B, 3, H, W\]"),
    ],
)
def test_writing_refuses_what_is_no_image(tmp_path: Path, x: torch.Tensor, mend: str) -> None:
    with pytest.raises(InvalidInput, match=mend):
        images.write_png(tmp_path / "a.png", x)
    assert not list(tmp_path.iterdir())


def test_writing_refuses_formats_that_lose_pixels(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"a\.jpg must end in \.png"):
        images.write_png(tmp_path / "a.jpg", torch.zeros(3, 2, 2))


def test_writing_where_no_folder_is(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(InvalidInput, match=r"a\.png cannot be written \(Not a directory"):
        images.write_png(tmp_path / "notes" / "a.png", torch.zeros(3, 2, 2))
    with pytest.raises(InvalidInput, match=r"a\.png cannot be written \(No such file"):
        images.write_png(tmp_path / "nowhere" / "a.png", torch.zeros(3, 2, 2))


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    images.write_png(path, torch.ones(3, 2, 2))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InvalidInput, match=r"a\.png cannot be written \(No space left.*space"):
        images.write_png(path, torch.zeros(3, 2, 2))
    assert bool((images.read(path, None) == 1).all())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_broken_exif_is_refused_in_one_line_and_warns_of_nothing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Its orientation cannot be read, and Pillow goes on as if there were none."""
    path = tmp_path / "x.jpg"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    Image.new("RGB", (8, 4)).save(path, exif=exif)
    recwarn.clear()
    with pytest.raises(InvalidInput, match="(?i)x.jpg cannot be read as an image .*(corrupt|truncated)"):
        images.read(path, None)
    assert [str(each.message) for each in recwarn] == []


@pytest.mark.parametrize("error", [KeyError(101), EOFError(), OSError(), ValueError("")])
def test_a_reason_is_never_a_bare_key_or_nothing(error: Exception) -> None:
    assert "it ends early or is no such file" in decoding.reason(error)
