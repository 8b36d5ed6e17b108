"""The layouts as they were published, on real photographs."""

from pathlib import Path

import pytest

from secondlook import data


@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [
        ("flickr8k:{}/data/flickr8k", 950, 950),
        ("flickr8k:{}/data/flickr8k#test", 50, 50),
        ("imagenet:{}/data/imagenet-samples", 748, 748),
        ("cifar10:{}/data/cifar10/cifar10_test_jpeg.npz", 10_000, 10),
        ("folder:{}/data/rsscn7", 560, 7),
    ],
)
def test_published_layouts(shared: Path, name: str, rows: int, classes: int) -> None:
    source = data.load(name.format(shared))
    assert (len(source), len(source.classes)) == (rows, classes)
    assert len(set(source.ids)) == rows
    assert len(set(source.classes)) == classes
    samples = source.read([0, rows // 2, rows - 1], (64, 48))
    assert samples.images.shape == (3, 3, 64, 48)
    assert 0 <= float(samples.images.min()) < 0.3 < 0.7 < float(samples.images.max()) <= 1
    assert samples.truth[0] == 0
    assert samples.truth[-1] == classes - 1


def test_names_of_imagenet_stay_with_their_numbers(shared: Path) -> None:
    source = data.load(f"imagenet:{shared}/data/imagenet-samples")
    assert source.indices is not None
    known = dict(zip(source.indices, source.classes, strict=True))
    assert known[1] == "goldfish"
    assert known[134] == "crane"
    assert 517 not in known
