"""Adversarial lists that somebody else made: as good as our own set, measured, and held to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from secondlook.audit.replay import Rescored
from secondlook.audit.retrieval.rescore import rescored
from secondlook.audit.retrieval.sets import AlteredSet
from secondlook.data.images import write_png
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.tasks.retrieval import RetrievalTask
from secondlook.threat import Threat
from tests.audit.retrieval import dials
from tests.audit.retrieval.conftest import Run
from tests.audit.retrieval.test_sets import TASK, stored

Lists = tuple[RetrievalTask, str, Path]


def write(folder: Path, name: str, ids: Any, images: Any, captions: Any) -> str:
    """A list as SGA has it, with a PNG file for each image."""
    (folder / name).mkdir(parents=True)
    for own, image in zip(ids, images, strict=True):
        write_png(folder / name / f"{own}.png", image)
    entries = [
        {"image": f"{own}.png", "caption": list(texts)}
        for own, texts in zip(ids, captions, strict=True)
    ]
    (folder / f"{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    return f"sga:{folder / name}.json@{folder / name}"


@pytest.fixture
def lists(audited: Run, tmp_path: Path) -> Lists:
    """Clean and adversarial list of a run of our own, and where its own set lies."""
    folder, _ = audited()
    own, task = AlteredSet(stored(folder)), TASK.open()
    clean = task.batch(range(10), None)
    data = write(tmp_path / "lists", "clean", clean.ids, clean.pairs.images, task.captions)
    # In another order, as lists of others may be.
    back = tuple(reversed(own.ids))
    altered = write(
        tmp_path / "lists", "altered", back, own.images(back), tuple(reversed(own.captions))
    )
    return RetrievalTask(data=data, samples=0), altered, stored(folder)


def values(found: Rescored) -> dict[str, float]:
    return {name: metric.value for name, metric in found.metrics.items()}


def test_an_imported_list_scores_as_our_own_set_does(lists: Lists) -> None:
    task, altered, own = lists
    for setting in ("query", "gallery", "both"):
        ours = rescored(own, dials.dial(), TASK, setting)  # type: ignore[arg-type]
        theirs = rescored(altered, dials.dial(), task, setting)  # type: ignore[arg-type]
        assert values(theirs) == pytest.approx(values(ours))
        assert theirs.denominators == ours.denominators
    assert rescored(own, dials.dial(), TASK).about["attack"]["name"] == "swap"


def test_what_is_not_known_is_said_and_what_was_done_is_measured(lists: Lists) -> None:
    task, altered, _ = lists
    about = rescored(altered, dials.dial(), task).about
    assert about["attack"] == "imported; threat not recorded, measured linf eps = 40.00/255"
    assert about["words"] == "1 changed in a caption at most" and about["images"] == [4, 4]
    assert about["data"] == task.open().source.hash and "caveat" not in about
    length = rescored(altered, dials.dial(), task, threat=Threat(norm="l2", eps=9.0)).about
    assert length["attack"].endswith(f"l2 eps = {40 / 255 * 48**0.5:.4g}")


def test_it_is_held_to_a_threat(lists: Lists) -> None:
    task, altered, own = lists
    rescored(altered, dials.dial(), task, threat=Threat(eps=39.6 / 255), words=1)
    with pytest.raises(BrokenThreat, match=r"is 40.00/255 away in linf, and L∞ 39/255 was allowed"):
        rescored(altered, dials.dial(), task, threat=Threat(eps=39 / 255))
    with pytest.raises(BrokenThreat, match="1 words of a caption of .* 0 may be; write words=1"):
        rescored(altered, dials.dial(), task, words=0)
    with pytest.raises(InvalidInput, match="says itself what it was made with"):
        rescored(own, dials.dial(), TASK, threat=Threat(eps=40 / 255))


def change(altered: str, edit: Callable[[list[Any]], Any]) -> None:
    """Writes the list anew, with its entries edited."""
    path = Path(altered.removeprefix("sga:").partition("@")[0])
    entries = json.loads(path.read_text())
    edit(entries)
    path.write_text(json.dumps(entries))


def test_partners_go_by_name_with_any_ending(lists: Lists) -> None:
    task, altered, _ = lists
    before = values(rescored(altered, dials.dial(), task))
    folder = Path(altered.partition("@")[2])
    for path in list(folder.iterdir()):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()

    def rename(entries: list[Any]) -> None:
        for entry in entries:
            entry["image"] = entry["image"].replace(".png", ".bmp")

    change(altered, rename)
    assert values(rescored(altered, dials.dial(), task)) == before


def test_jpeg_files_are_told(lists: Lists) -> None:
    task, altered, _ = lists
    folder = Path(altered.partition("@")[2])
    path = sorted(folder.iterdir())[0]
    Image.open(path).save(path.with_suffix(".jpg"))

    def rename(entries: list[Any]) -> None:
        for entry in entries:
            if entry["image"] == path.name:
                entry["image"] = f"{path.stem}.jpg"

    change(altered, rename)
    assert "JPEG" in rescored(altered, dials.dial(), task).about["caveat"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda entries: entries.pop(), r"has no image\(s\) called .*png"),
        (lambda entries: entries[0]["caption"].pop(), "one is wanted for each, in the same order"),
        (lambda entries: entries[0].update(caption=["..."]), "has . captions of|has no word"),
        (lambda entries: entries[0].update(caption=[]), "must be a list of one text or more"),
        (lambda entries: entries.append(dict(entries[0])), "names .* again"),
    ],
)
def test_lists_that_do_not_fit(lists: Lists, edit: Callable[[list[Any]], Any], said: str) -> None:
    task, altered, _ = lists
    change(altered, edit)
    with pytest.raises(InvalidInput, match=said):
        rescored(altered, dials.dial(), task)


def test_images_of_several_sizes_are_of_no_one_attack(lists: Lists) -> None:
    task, altered, _ = lists
    path = sorted(Path(altered.partition("@")[2]).iterdir())[0]
    Image.open(path).resize((6, 6)).save(path)
    with pytest.raises(InvalidInput, match=r"6x6 .* 4x4|4x4 .* 6x6"):
        rescored(altered, dials.dial(), task)
