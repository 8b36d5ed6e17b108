"""Grounding: texts and their boxes, what a text is looked for by, and the attack on the map."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from secondlook.attacks.pairs import Pairs
from secondlook.attacks.pgd import PGD
from secondlook.data import load as load_data
from secondlook.data.images import write_png
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.metrics.pointing import pointed
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.objectives.base import ThroughViews
from secondlook.objectives.grounding import LowerCosine, MoveMap
from secondlook.scenes.sampling import sample
from secondlook.scenes.world import COLOR_RGB
from secondlook.tasks.base import AttackOptions
from secondlook.tasks.grounding import GroundingTask, OpenGrounding
from secondlook.threat import Threat
from tests import tiny
from tests.models.spots import Window, spot


def test_a_scene_is_asked_for_a_thing_that_no_other_is_named_like() -> None:
    task = GroundingTask(samples=200).open()
    for row, query in zip(task.rows, task.queries, strict=True):
        things = [t for t in sample(0, "test", row).objects if f"a {t.color} {t.shape}" == query.text]
        (thing,) = things
        left, top, right, bottom = (
            64 * side for side in (query.box[0], query.box[1], query.box[0] + query.box[2], query.box[1] + query.box[3])
        )
        assert (left, top, right, bottom) == pytest.approx(tuple(thing.box))
    assert 0.05 < task.chance < 0.2
    few = GroundingTask(samples=20).open()
    assert few.queries == task.queries[:20] and few.ids == task.ids[:20]


def test_the_thing_s_pixels_are_in_its_box() -> None:
    """A map that is drawn from the picture itself, its color's share, points at the thing."""
    batch = GroundingTask(samples=30).open().read(range(30), (64, 64))
    hits = 0
    for x, (text,), box in zip(batch.pairs.images, batch.pairs.captions, batch.boxes, strict=True):
        rgb = torch.tensor(COLOR_RGB[text.split()[1]])  # type: ignore[index]
        near = (-8 * (x - rgb[:, None, None]).abs().sum(0)).exp()
        smooth = F.avg_pool2d(near[None], 7, 1, 3)
        hits += int(pointed(smooth, box[None]).hit)
    assert hits > 20


def test_a_photograph_s_sentence_has_its_box(tmp_path: Path) -> None:
    entries = []
    for number in range(3):
        write_png(tmp_path / f"{number}.png", spot(number, 1)[0])
        entries.append({"image": f"{number}.png", "sentence": "the spot in red", "bbox": [4, 4 * number, 4, 4]})
    (tmp_path / "all.json").write_text(json.dumps(entries))
    task = GroundingTask(data=f"refcoco:{tmp_path / 'all.json'}", samples=0, contrast=False).open()
    batch = task.read(range(3), None)
    found = task.pointed(task.maps(batch.pairs, Window()), batch.boxes)
    assert found.hit.all() and task.chance == pytest.approx(1 / 16)


def test_contrast_is_to_the_mean_of_the_task_s_texts() -> None:
    batch = (plain := GroundingTask(samples=6, contrast=False).open()).read(range(6), (64, 64))
    model, apart = load("scenes:clip"), GroundingTask(samples=6).open()
    assert isinstance(model, Embedder)
    vectors = model.embed_text([query.text for query in plain.queries])
    assert torch.equal(plain.directions(batch.pairs, model), vectors)
    unique = model.embed_text(sorted({query.text for query in plain.queries}))
    assert torch.allclose(apart.directions(batch.pairs, model), vectors - unique.mean(0))


def test_a_text_of_another_thing_points_elsewhere() -> None:
    """Two things a scene: to ask for the other one moves the finger from the first."""
    task, model = GroundingTask(samples=120).open(), load("scenes:clip")
    assert isinstance(model, Embedder)
    batch = task.read(range(120), (64, 64))
    right = task.pointed(task.maps(batch.pairs, model), batch.boxes).hit.float().mean()
    wrong = Pairs(batch.pairs.images, batch.pairs.captions[1:] + batch.pairs.captions[:1])
    other = task.pointed(task.maps(wrong, model), batch.boxes).hit.float().mean()
    assert right > 0.5 > other + 0.15


def test_a_source_without_boxes_is_told(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path, 3)
    with pytest.raises(InvalidInput, match="knows no boxes"):
        GroundingTask(data=f"folder:{tmp_path}").open()
    with pytest.raises(InvalidInput, match="samples=-2"):
        GroundingTask(samples=-2)
    opened = OpenGrounding(GroundingTask(samples=2), load_data("scenes:val"))
    assert opened.name == "grounding scenes:test" and opened.ids[0].startswith("val")


@pytest.mark.parametrize(("objective", "kind"), [("map", MoveMap), ("cosine", LowerCosine)])
def test_an_attacker_looks_through_the_views(objective: str, kind: type) -> None:
    task, guarded = GroundingTask(samples=2).open(), Guarded(load("scenes:clip"))
    batch = task.batch(range(2), guarded)
    options = AttackOptions(objective=objective, draws=3, gradient="bpda")
    made = task.objective(batch, guarded, options).objective
    assert isinstance(made, ThroughViews) and isinstance(made.objective, kind)
    assert (made.draws, made.gradient, made.victim) == (3, "bpda", guarded)


def test_an_attack_on_the_map_moves_the_peak() -> None:
    task, model = GroundingTask(samples=24).open(), load("scenes:clip")
    assert isinstance(model, Embedder)
    batch = task.read(range(24), (64, 64))
    clean = task.pointed(task.maps(batch.pairs, model), batch.boxes).hit.sum()
    attack, threat = PGD(steps=12), Threat.parse("linf", "8/255")
    found = attack(task.map_objective(batch, model, "map"), batch.pairs.images, threat, batch.keys)
    altered = Pairs(found.x, batch.pairs.captions)
    moved = task.pointed(task.maps(altered, model), batch.boxes).hit.sum()
    assert int(moved) <= int(clean) - 8


def test_of_several_views_the_mean_of_the_maps_is_taken() -> None:
    task = GroundingTask(samples=2, contrast=False).open()
    batch, model = task.read(range(2), (64, 64)), load("scenes:clip")
    assert isinstance(model, Embedder)
    views = torch.stack([batch.pairs.images, batch.pairs.images.flip(3)], 1).flatten(0, 1)
    found = task.maps(Pairs(views, batch.pairs.captions), model)
    each = [task.maps(Pairs(x, batch.pairs.captions), model) for x in (batch.pairs.images, batch.pairs.images.flip(3))]
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=1e-5)


def test_images_are_brought_to_the_task_s_side() -> None:
    task = GroundingTask(samples=2, side=32).open()
    assert task.read(range(2), None).pairs.images.shape == (2, 3, 32, 32)
    with pytest.raises(InvalidInput, match="side=-3"):
        GroundingTask(side=-3)
