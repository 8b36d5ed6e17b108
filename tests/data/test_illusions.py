"""Bundles of the adversarial illusions: read back to pixels, measured, and checked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from secondlook import data
from secondlook.data.base import Source
from secondlook.data.illusions import Bundle
from secondlook.errors import InvalidInput
from secondlook.models.io.preprocessing import DEVIATION, MEAN

RNG = np.random.default_rng(0)
CLEAN = RNG.integers(20, 236, (3, 3, 8, 8)) / 255
EPS = np.array([4, 8, 16]) / 255
CHANGED = CLEAN + EPS[:, None, None, None] * RNG.choice([-1, 1], CLEAN.shape)

Save = Callable[..., str]


def normalized(pixels: np.ndarray) -> np.ndarray:
    mean, deviation = (np.array(v)[:, None, None] for v in (MEAN, DEVIATION))
    return ((pixels - mean) / deviation).astype(np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Save:
    """Saves a bundle with some arrays changed, or taken away by None."""

    def save(**changes: np.ndarray | None) -> str:
        arrays = {
            "x_advs_300": normalized(CHANGED),
            "x_inits": normalized(CLEAN),
            "y_ids": np.array([2, 0, 1]),
            "y_origs": np.array([0, 1, 1]),
            **changes,
        }
        for name, array in arrays.items():
            if array is not None:
                np.save(tmp_path / f"{name}.npy", array)
        (tmp_path / "labels.txt").write_text("tench, Tinca tinca\ngoldfish\nwhite shark, man-eater\n")
        return f"illusions:{tmp_path}#300"

    return save


def test_a_bundle_is_read_back_to_pixels(bundle: Save) -> None:
    source = data.load(bundle())
    assert isinstance(source, Bundle)
    assert source.ids == ("x_advs_300-0", "x_advs_300-1", "x_advs_300-2")
    assert source.classes == ("tench", "goldfish", "white shark")
    assert source.indices == (0, 1, 2)
    assert source.targets == (2, 0, 1)
    samples = source.read([2, 0], None)
    assert samples.truth.tolist() == [1, 0]
    expected = torch.from_numpy(CHANGED[[2, 0]]).float()
    assert torch.allclose(samples.images, expected, atol=1e-6)
    assert torch.allclose(source.originals([1], (8, 8)), torch.from_numpy(CLEAN[[1]]).float(), atol=1e-6)


def test_what_is_not_known_is_said_and_the_eps_measured(bundle: Save) -> None:
    source = data.load(bundle())
    assert isinstance(source, Bundle)
    assert source.provenance == ("imported adversarial images: their attack is unknown, their threat unchecked")
    assert Source.provenance == ""
    assert (source.distance([0, 1, 2]) * 255).tolist() == pytest.approx([4, 8, 16], abs=1e-3)


def test_a_bundle_of_a_query_attack_has_no_number(bundle: Save) -> None:
    name = bundle(x_advs=normalized(CLEAN), x_advs_300=None).removesuffix("#300")
    assert data.load(name).ids[0] == "x_advs-0"


def test_another_size_would_be_another_attack(bundle: Save) -> None:
    source = data.load(bundle())
    with pytest.raises(InvalidInput, match="are 8x8; at 224x224 the attack would be another one"):
        source.read([0], (224, 224))


def test_pixels_that_are_pixels_already(bundle: Save) -> None:
    unit = {"x_advs_300": CHANGED.astype(np.float32), "x_inits": CLEAN.astype(np.float32)}
    name = bundle(**unit)
    with pytest.raises(InvalidInput, match="no value below 0.*pixels='unit'"):
        data.load(name)
    source = data.load(name, pixels="unit")
    assert torch.equal(source.read([0], None).images[0], torch.from_numpy(unit["x_advs_300"][0]))
    wrong = data.load(bundle(), pixels="unit")
    with pytest.raises(InvalidInput, match=r"must lie in \[0, 1\]; is pixels='normalized' meant"):
        wrong.read([0], None)


def test_names_as_published(bundle: Save, tmp_path: Path) -> None:
    name = bundle()
    published = tmp_path / "imagenet1000_clsidx_to_labels.txt"
    published.write_text("{0: 'tench, Tinca tinca',\n 1: 'goldfish',\n 2: \"cat's paw\"}")
    assert data.load(name).classes == ("tench", "goldfish", "cat's paw")
    for content in ("{1: 'a'}", "__import__('os').getpid()", "[", "{0: "):
        published.write_text(content)
        with pytest.raises(InvalidInput, match=r"clsidx_to_labels\.txt must be {0: 'tench'"):
            data.load(name)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_ids": None}, r"y_ids\.npy cannot be opened \(No such file"),
        ({"x_advs_300": None}, r"x_advs_300\.npy cannot be opened"),
        ({"x_inits": normalized(CLEAN)[:2]}, r"adversarial images are \[3, 3, 8, 8\], x_inits \[2"),
        ({"y_ids": np.array([0, 1])}, "3 images, 2 y_ids and 3 y_origs; take the files of one run"),
        ({"y_ids": np.array([0, 1, 3])}, r"y_ids\.npy holds 3, and 3 classes have names"),
        ({"y_origs": np.array([-1, 0, 1])}, r"y_origs\.npy holds -1, and 3"),
        ({"y_ids": np.array([0.0, 1.0, 2.0])}, r"y_ids\.npy is float64 \[3\]; it must be whole"),
        ({"x_advs_300": CHANGED[0]}, r"must be numbers \[n, 3, H, W\]"),
        ({"y_ids": np.array([0, "a", 2], dtype=object)}, r"y_ids\.npy is broken or no plain array"),
    ],
)
def test_broken_bundles(bundle: Save, changes: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        data.load(bundle(**changes))


def test_truncated_bundles(bundle: Save, tmp_path: Path) -> None:
    name = bundle()
    path = tmp_path / "x_advs_300.npy"
    for length in (0, 50, 1000):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(InvalidInput, match=r"x_advs_300\.npy is broken or no plain array"):
            data.load(name)
        bundle()
    (tmp_path / "labels.txt").unlink()
    with pytest.raises(InvalidInput, match=r"labels\.txt cannot be read .*the names of all cla"):
        data.load(name)
