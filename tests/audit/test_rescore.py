"""Stored and imported sets, shown to models that are known in closed form."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from secondlook.audit.adversarial import AdversarialSet
from secondlook.audit.api import run_study
from secondlook.audit.rescore import Rescored, replayed, rescored, scored_again
from secondlook.data.images import write_png
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.models import load
from secondlook.models.io.preprocessing import DEVIATION, MEAN
from secondlook.models.zeroshot import ZeroShot
from secondlook.schema import Audit
from secondlook.tasks.retrieval import RetrievalTask
from secondlook.threat import Threat
from tests import tiny
from tests.audit import dials
from tests.audit.conftest import DIALS, EVERY, Make, Run
from tests.audit.test_adversarial import TASK, stored

COUNT, EPS = 12, 30 / 255
Save = Callable[..., str]
Lists = tuple[RetrievalTask, str, Path]


def metrics(audit: Audit, setting: str) -> dict[str, float]:
    (cell,) = (c for c in audit.cells if c.settings["attack"].get("attacked") == setting)
    return {name: each.value for name, each in cell.metrics.items()}


def test_scored_again_it_is_what_the_run_has_found(ran: Run, retrieval: Make) -> None:
    folder, audit = ran(retrieval())
    for setting in ("query", "gallery", "both"):
        again = rescored(stored(folder), dials.dial(), TASK, setting)  # type: ignore[arg-type]
        assert {k: v.value for k, v in again.metrics.items()} == pytest.approx(metrics(audit, setting))


@pytest.mark.parametrize("task", [each for each in EVERY if each != "retrieval"])
def test_a_set_of_any_task_is_scored_again_to_what_its_run_has_found(
    task: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make: Make = request.getfixturevalue(task)
    study, folder = make(task={**make().task, "samples": 4}, defenses=[{"name": "undefended"}]), tmp_path / "run"
    audit = run_study(study, folder)
    keys = ("original_top1", "success")
    wanted = sorted(tuple(cell.metrics[key].value for key in keys) for cell in audit.cells if cell.attack != "none")
    places, found = sorted((folder / "adversarial").iterdir()), []
    for place in places:
        kind, again = scored_again(place, load(study.models[0]))
        assert kind == task
        found.append(tuple(again.metrics[key].value for key in keys))
    assert sorted(found) == [pytest.approx(row) for row in wanted] and wanted
    wrong = {"captioning": "scenes:clip", "grounding": "scenes:captioner"}.get(task, "scenes:ae")
    with pytest.raises(InvalidInput, match="try |neither embeds nor classifies"):
        scored_again(places[0], load(wrong))


def test_on_another_model_it_is_the_transfer_row(ran: Run, retrieval: Make) -> None:
    """A set made on one model, scored by another: as a study with the first as surrogate."""
    folder, _ = ran(retrieval())
    tilted, dial = [f"{DIALS}:tilted"], [f"{DIALS}:dial"]
    study = retrieval(models=tilted, surrogates=dial, knowledge=["clean", "transfer"])
    _, transfer = ran(study)
    again = rescored(stored(folder), dials.tilted(), TASK)
    assert {k: v.value for k, v in again.metrics.items()} == pytest.approx(metrics(transfer, "both"))


def test_a_part_of_the_images_is_searched_by_itself(ran: Run, retrieval: Make) -> None:
    folder, _ = ran(retrieval())
    few = RetrievalTask(data="dials:10", samples=4)
    assert rescored(stored(folder), dials.dial(), few).denominators["image_to_text_r1"] == 4


def test_sets_that_do_not_fit(ran: Run, retrieval: Make) -> None:
    folder, _ = ran(retrieval())
    with pytest.raises(InvalidInput, match="was made of other data than dials:9"):
        rescored(stored(folder), dials.dial(), RetrievalTask(data="dials:9", samples=0))
    first = sorted(stored(folder).iterdir())[0]
    first.unlink()
    with pytest.raises(InvalidInput, match=r"\(4 of 10 are missing\)"):
        rescored(stored(folder), dials.dial(), TASK)


def test_a_matcher_looks_at_what_was_stored(ran: Run, retrieval: Make) -> None:
    """Whoever ranks the first anew has to be shown the altered images, too."""
    task = {"name": "retrieval", "data": "dials:10", "samples": 0, "rerank": 4}
    folder, audit = ran(retrieval(models=[f"{DIALS}:matching"], task=task))
    again = rescored(stored(folder), dials.matching(), RetrievalTask(data="dials:10", samples=0, rerank=4))
    assert {k: v.value for k, v in again.metrics.items()} == pytest.approx(metrics(audit, "both"))


def write(folder: Path, name: str, ids: Any, images: Any, captions: Any) -> str:
    """A list as SGA has it, with a PNG file for each image."""
    (folder / name).mkdir(parents=True)
    for own, image in zip(ids, images, strict=True):
        write_png(folder / name / f"{own}.png", image)
    entries = [{"image": f"{own}.png", "caption": list(texts)} for own, texts in zip(ids, captions, strict=True)]
    (folder / f"{name}.json").write_text(json.dumps(entries), encoding="utf-8")
    return f"sga:{folder / name}.json@{folder / name}"


@pytest.fixture
def lists(ran: Run, retrieval: Make, tmp_path: Path) -> Lists:
    """Clean and adversarial list of a run of our own, and where its own set lies."""
    folder, _ = ran(retrieval())
    own, task = AdversarialSet(stored(folder)), TASK.open()
    clean = task.read(range(10), None)
    data = write(tmp_path / "lists", "clean", clean.ids, clean.pairs.images, task.captions)
    # In another order, as lists of others may be.
    back = tuple(reversed(own.ids))
    altered = write(tmp_path / "lists", "altered", back, own.named(back), tuple(reversed(own.captions)))
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


class Reader(tiny.Compass):
    """Reads sentences, too."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return super().encode_text([text.rstrip(".") for text in texts])


def eye() -> Reader:
    return Reader("tiny:eye")


@pytest.fixture
def bundle(tmp_path: Path) -> Save:
    """Twelve colors, of which all but the last four were turned into the wanted one."""

    def save(**changes: np.ndarray) -> str:
        painted = tiny.paint(COUNT)
        clean = torch.stack([image for _, image in painted]).numpy()
        true = np.array([tiny.COLORS.index(name) for name, _ in painted])
        wanted = (true + 1) % len(tiny.COLORS)
        wanted[0] = true[0]
        axes = np.array([tiny.AXES[name] for name in tiny.COLORS], dtype=np.float32)
        away = EPS * np.sign(axes[wanted] - axes[true])[:, :, None, None]
        away[8:] = 0
        arrays: dict[str, Any] = {
            "x_inits": clean,
            "x_advs": (clean + away).clip(0, 1),
            "y_ids": wanted,
            "y_origs": true,
        } | changes
        mean, deviation = (np.array(v)[:, None, None] for v in (MEAN, DEVIATION))
        for name, array in arrays.items():
            pixels = (array - mean) / deviation if array.ndim == 4 else array
            np.save(tmp_path / f"{name}.npy", pixels)
        (tmp_path / "labels.txt").write_text("\n".join(tiny.COLORS))
        return f"illusions:{tmp_path}"

    return save


def test_what_the_model_sees_and_has_seen(bundle: Save) -> None:
    found = replayed(bundle(), eye())
    values = {name: metric.value for name, metric in found.metrics.items()}
    # The first image wants what it is: it counts for the originals alone.
    assert values["target_top1"] == pytest.approx(7 / 11)
    assert values["original_top1"] == pytest.approx(5 / 12)
    assert values["clean_original_top1"] == 1 and values["target_top5"] >= 7 / 11
    assert found.denominators == {"target_top1": 11, "target_top5": 11, "original_top1": 12, "clean_original_top1": 12}
    assert found.metrics["target_top1"].low < 7 / 11 < found.metrics["target_top1"].high
    assert json.loads(found.written())["metrics"]["target_top1"]["value"] == values["target_top1"]


def test_a_classifier_is_asked_by_its_own_names(bundle: Save) -> None:
    backwards = tuple(reversed(tiny.COLORS))
    judge = ZeroShot(eye(), backwards, "{}")
    turned = replayed(bundle(), judge)
    assert turned.metrics == replayed(bundle(), eye()).metrics


def test_the_threat_is_measured_and_can_be_demanded(bundle: Save) -> None:
    name = bundle()
    about = replayed(name, eye()).about
    assert about["attack"] == ("imported; threat not recorded, measured linf eps = 30.00/255 (median 30.00/255)")
    assert "unchecked" in about["caveat"] and about["set"] == name
    replayed(name, eye(), threat=Threat(eps=30 / 255))
    with pytest.raises(BrokenThreat, match=r"x_advs-\d+ is 30.00/255 .*L∞ 8/255 was allowed"):
        replayed(name, eye(), threat=Threat(eps=8 / 255))
    with pytest.raises(InvalidInput, match="norm='linf'"):
        replayed(name, eye(), threat=Threat(norm="l2", eps=1))


def test_what_is_no_bundle_or_does_not_fit_is_told(bundle: Save, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "plain", 6)
    with pytest.raises(InvalidInput, match="holds no adversarial images beside their originals"):
        replayed(f"folder:{folder}", eye())
    large = eye()
    large.size = (16, 16)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="at 16x16 the attack would be another one"):
        replayed(bundle(), large)


def test_nobody_is_aimed_at_where_all_want_what_they_are(bundle: Save) -> None:
    true = np.array([tiny.COLORS.index(name) for name, _ in tiny.paint(COUNT)])
    found = replayed(bundle(y_ids=true), eye())
    assert set(found.metrics) == {"original_top1", "clean_original_top1"}
