"""The renderer and the sampler: same pixels every time, disjoint splits, boxes that hold."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from secondlook.errors import InvalidInput, UnknownName
from secondlook.scenes.renderer import HAZE, HAZE_TONE, coverage, render
from secondlook.scenes.sampling import SHARES, SPLITS, Split, plan_of, sample, share_of
from secondlook.scenes.shapes import SHAPES, outline, signed_distance
from secondlook.scenes.source import render_batch
from secondlook.scenes.world import COLOR_RGB, COLORS, PLACES, RADII, SIDE, Scene, relation

GOLDEN: dict[tuple[Split, int], str] = {
    ("train", 0): "5acbf6aeb7184c7e70d8f5343de35e7fee0143ce2fd1eec0016d5068a76779b8",
    ("train", 1): "ef8b266ad28ce449b344fde465ebbea188aab0bb0dfa605c0da7da8f66988cae",
    ("val", 2): "3b2e2a9b3c578e35826609aae10794f189b553deec42d57883a271587706f370",
    ("test", 3): "b259590a20a3b152131e50a4180386ab4da7a98d33e6b189219b02faf1d055cc",
    ("test", 4): "ee10faa11b7ca1a89bb4cf8135287b9a607449c53e2c2ce97941ee236d2c4319",
}
AXIS = np.arange(SIDE) + 0.5


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample(0, "test", index) for index in range(400)]


@pytest.mark.parametrize(("split", "index"), list(GOLDEN))
def test_pixels_are_golden(split: Split, index: int) -> None:
    image = render(sample(0, split, index))
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    assert hashlib.sha256(image.tobytes()).hexdigest() == GOLDEN[split, index]


@given(st.integers(0, 2**40), st.sampled_from(SPLITS), st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_the_key_alone_decides(seed: int, split: Split, index: int) -> None:
    first, again = sample(seed, split, index), sample(seed, split, index)
    assert first == again
    assert np.array_equal(render(first), render(again))
    assert share_of(plan_of(first)) == ("test" if split == "calibration" else split)


def test_neighboring_keys_give_other_scenes() -> None:
    keys = [(seed, split, index) for seed in (0, 1) for split in SPLITS for index in range(20)]
    pictures = {render(sample(seed, split, index)).tobytes() for seed, split, index in keys}
    assert len(pictures) == len(keys)


def test_no_plan_is_in_two_splits() -> None:
    plans = {split: {plan_of(sample(0, split, i)) for i in range(300)} for split in SHARES}
    assert not plans["train"] & plans["val"]
    assert not plans["train"] & plans["test"]
    assert not plans["val"] & plans["test"]


def test_labels_are_uniform_over_the_classes() -> None:
    labels = [sample(3, split, index).label for split in SPLITS for index in range(1100)]
    counts = np.bincount(labels, minlength=64)
    expected = len(labels) / 64
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert len(counts) == 64
    assert chi_squared < 104.0  # 63 degrees of freedom, p = 0.001


def test_the_label_names_the_main_thing(scenes: list[Scene]) -> None:
    for scene in scenes:
        color, shape = divmod(scene.label, len(SHAPES))
        assert (COLORS[color], SHAPES[shape]) == (scene.main.color, scene.main.shape)


def test_the_main_thing_is_clearly_the_largest(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.main.radius >= RADII["medium"].low
        assert all(other.radius <= RADII["small"].high for other in scene.others)
        main, *others = (_mask(scene, row).sum() for row in range(len(scene.objects)))
        assert all(main > other for other in others)


def test_scenes_have_one_to_three_things_of_different_colors(scenes: list[Scene]) -> None:
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3}
    for scene in scenes:
        assert len({obj.color for obj in scene.objects}) == len(scene.objects)


def test_things_hardly_overlap(scenes: list[Scene]) -> None:
    for scene in scenes:
        covered = sum(_mask(scene, row) for row in range(len(scene.objects)))
        assert (covered > 1).sum() <= 0.03 * _mask(scene, 0).sum()


def test_places_are_ninths_of_the_picture(scenes: list[Scene]) -> None:
    for obj in (obj for scene in scenes for obj in scene.objects):
        row, column = int(obj.cy / SIDE * 3), int(obj.cx / SIDE * 3)
        assert obj.place == PLACES[3 * row + column]


def test_boxes_hold_the_pixels_and_no_more(scenes: list[Scene]) -> None:
    for scene in scenes:
        for row, box in enumerate(scene.boxes):
            rows, columns = np.nonzero(_mask(scene, row))
            seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            slack = np.array(seen) - np.array(box)
            assert (slack[:2] > -0.75).all()
            assert (slack[2:] < 0.75).all()
            assert (np.abs(slack) < 3.0).all()
            assert 0 <= box.left < box.right <= SIDE
            assert 0 <= box.top < box.bottom <= SIDE


def test_the_pixels_of_the_main_thing_have_its_color(scenes: list[Scene]) -> None:
    for scene in scenes[:100]:
        inside = _mask(scene, 0) & ~_mask_of_others(scene)
        hazy = render(scene)[inside].mean(axis=0) / 255.0
        seen = (hazy - HAZE * np.array(HAZE_TONE)) / (1 - HAZE)
        nearest = min(COLORS, key=lambda name: _hue_distance(seen, COLOR_RGB[name]))
        assert nearest == scene.main.color


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_agree_with_distances(shape: str) -> None:
    grid = np.linspace(-1.3, 1.3, 521)
    x, y = np.meshgrid(grid, grid)
    inside = signed_distance(shape, x, y) <= 0
    points = outline(shape)
    assert x[inside].min() == pytest.approx(points[:, 0].min(), abs=0.012)
    assert x[inside].max() == pytest.approx(points[:, 0].max(), abs=0.012)
    assert y[inside].min() == pytest.approx(points[:, 1].min(), abs=0.012)
    assert y[inside].max() == pytest.approx(points[:, 1].max(), abs=0.012)


@pytest.mark.parametrize("shape", SHAPES)
def test_distances_grow_no_faster_than_the_way(shape: str) -> None:
    grid = np.linspace(-1.3, 1.3, 261)
    x, y = np.meshgrid(grid, grid)
    steps = np.abs(np.diff(signed_distance(shape, x, y), axis=1))
    assert steps.max() <= (grid[1] - grid[0]) * 1.001


def test_relations_follow_positions(scenes: list[Scene]) -> None:
    axes = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
    for scene in scenes:
        for other in scene.others:
            x, y = axes[relation(other, scene.main)]
            way = x * (other.cx - scene.main.cx) + y * (other.cy - scene.main.cy)
            assert way > 8.0


def test_a_finer_picture_is_the_same_scene() -> None:
    for index in range(10):
        scene = sample(0, "val", index)
        coarse, fine = render(scene).astype(float), render(scene, 128).astype(float)
        pooled = fine.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        if scene.background.pattern != "speckled":
            assert np.abs(pooled - coarse).mean() < 8.0


@pytest.mark.parametrize("size", [1, 3, 17])
def test_any_size_renders(size: int) -> None:
    assert render(sample(0, "train", 0), size).shape == (size, size, 3)


def test_bad_input_names_the_mend() -> None:
    with pytest.raises(UnknownName, match="did you mean train"):
        sample(0, "trian", 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="index=-1"):
        sample(0, "train", -1)
    with pytest.raises(InvalidInput, match="size=0"):
        render(sample(0, "train", 0), 0)


def test_a_batch_is_its_scenes_in_order() -> None:
    handed = render_batch(0, "val", [5, 2])
    assert np.array_equal(handed.images[1], render(sample(0, "val", 2)))
    assert handed.labels.tolist() == [sample(0, "val", index).label for index in (5, 2)]
    assert handed.captions == render_batch(0, "val", [5]).captions + render_batch(0, "val", [2]).captions


def test_an_empty_batch_keeps_its_form() -> None:
    handed = render_batch(0, "val", [])
    assert handed.images.shape == (0, SIDE, SIDE, 3)
    assert handed.labels.shape == (0,)


def _mask(scene: Scene, row: int) -> np.ndarray:
    return coverage(scene.objects[row], AXIS[None, :], AXIS[:, None]) > 0.5


def _mask_of_others(scene: Scene) -> np.ndarray:
    masks = [_mask(scene, row) for row in range(1, len(scene.objects))]
    return np.any([np.zeros((SIDE, SIDE), bool), *masks], axis=0)


def _hue_distance(seen: np.ndarray, named: tuple[float, ...]) -> float:
    return float(np.abs(seen / seen.max() - np.array(named) / max(named)).sum())
