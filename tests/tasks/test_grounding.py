"""Grounding: the map, the boxes held against it, the task, and the attack that knows the map."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.pairs import Pairs
from secondlook.attacks.pgd import PGD
from secondlook.data import load as load_data
from secondlook.data.images import write_png
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.scenes.networks.layers import Block
from secondlook.scenes.sampling import sample
from secondlook.scenes.world import COLOUR_RGB
from secondlook.tasks.grounding import GroundingTask, OpenGrounding
from secondlook.tasks.grounding_goal import Estrange, Misdirect
from secondlook.tasks.grounding_maps import Weights, find_site, heat
from secondlook.tasks.grounding_metrics import pointed
from secondlook.threat import Threat
from tests import tiny


class Window(Embedder):
    """Averages 4×4 pixels at each of its places, and then all places: colours, seen linearly."""

    name = "window"

    def __init__(self) -> None:
        self.look = nn.Conv2d(3, 3, 4, 4, bias=False)
        with torch.no_grad():
            self.look.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) / 16)
        self.modules = (self.look.requires_grad_(False),)

    def encode_image(self, x: Tensor) -> Tensor:
        return self.look(x).mean((2, 3))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([tiny.AXES[text.split()[-1]] for text in texts], dtype=torch.float32)


class Tokens(Window):
    """A transformer over 16 patches, behind a mark that is all it reads in the end."""

    name = "tokens"

    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.rise = nn.Linear(3, 16)
            self.blocks, self.norm = (
                nn.ModuleList([Block(16, 2) for _ in range(2)]),
                nn.LayerNorm(16),
            )
            self.head = nn.Linear(16, 3)
        self.modules = (*self.modules, self.rise, self.blocks, self.norm, self.head)

    def encode_image(self, x: Tensor) -> Tensor:
        patches = self.rise(self.look(x).flatten(2).transpose(1, 2))
        tokens = torch.cat([torch.zeros_like(patches[:, :1]), patches], 1)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.head(self.norm(tokens[:, 0]))
        return out


def spot(row: int, column: int, side: int = 16, n: int = 1) -> Tensor:
    """A dark image with one bright red place of 4×4 pixels."""
    x = torch.full((n, 3, side, side), 0.02)
    x[:, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
    return x


RED = torch.tensor([[1.0, 0, 0]])


@pytest.mark.parametrize("weights", ["each", "mean"])
def test_the_map_of_a_linear_model_is_where_the_colour_is(weights: Weights) -> None:
    """Features are colours, the gradient of the dot product with red is the same everywhere."""
    for row, column in ((0, 0), (1, 3), (3, 2)):
        found = heat(Window(), spot(row, column), RED, weights=weights)
        place = int(found[0].argmax())
        assert (place // 16 // 4, place % 16 // 4) == (row, column)
        assert found.max() == 1 and found.min() >= 0 and found.shape == (1, 16, 16)


def test_what_speaks_against_a_text_is_no_heat() -> None:
    model = Window()
    x = (spot(1, 1) + spot(2, 3).roll(2, 1)).clamp(0, 1)
    found = heat(model, x, RED.roll(2, 1))[0]
    assert int(found.argmax()) // 64 == 2 and not found[5:7, 5:7].any()
    with pytest.raises(InvalidInput, match="window does not run the site"):
        heat(model, spot(1, 1), RED, find_site(Window(), spot(1, 1)[0]))


def test_an_image_s_map_does_not_feel_its_neighbours() -> None:
    model = load("scenes:clip-vit")
    assert isinstance(model, Embedder)
    batch = GroundingTask(samples=5).open().batch(range(5), (64, 64))
    vectors = model.embed_text([text for (text,) in batch.pairs.captions])
    whole = heat(model, batch.pairs.images, vectors)
    alone = heat(model, batch.pairs.images[3:4], vectors[3:4])
    assert torch.allclose(whole[3], alone[0], atol=1e-4)
    assert not torch.is_grad_enabled() or batch.pairs.images.grad is None


def test_the_site_is_the_last_with_places_that_the_vector_hangs_on() -> None:
    window, tokens = Window(), Tokens()
    assert find_site(window, spot(0, 0)[0]).module is window.look
    site = find_site(tokens, spot(0, 0)[0])
    # Behind the last attention only the mark is read: the last patches that count are before it.
    assert site.module is tokens.blocks[1].norm1 and site.tokens
    assert site.plane(torch.zeros(5, 17, 16)).shape == (5, 16, 4, 4)
    for name, tower in (("scenes:clip", False), ("scenes:clip-vit", True)):
        model = load(name)
        assert isinstance(model, Embedder)
        assert find_site(model, torch.rand(3, 64, 64)).tokens is tower


def test_patches_are_laid_out_row_by_row() -> None:
    site = find_site(Tokens(), spot(0, 0)[0])
    plane = site.plane(torch.arange(17.0).view(1, 17, 1))
    assert torch.equal(plane[0, 0], torch.arange(1.0, 17).view(4, 4))


@pytest.mark.parametrize(
    ("kind", "place"),
    [("clip", "layers.1.layer_norm1"), ("siglip", "post_layernorm"), ("align", "blocks.1")],
)
def test_towers_of_the_hub_are_looked_into(kind: str, place: str, tmp_path: Path) -> None:
    """A tower that reads one token, one that pools all patches, and one of convolutions."""
    pytest.importorskip("transformers")
    from tests.models import hub_models

    model = load(f"hf:{hub_models.save(tmp_path, kind)}")
    assert isinstance(model, Embedder)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    site = find_site(model, x[0])
    names = [name for part in model.modules for name, m in part.named_modules() if m is site.module]
    assert names[0].endswith(place)
    vectors = model.embed_text(["a red cat", "the two small dog"])
    assert heat(model, x, vectors, site).amax((1, 2)).tolist() == [1, 1]
    goal = Misdirect(
        model=model, vectors=vectors, boxes=torch.tensor([[0.0, 0, 0.5, 0.5]] * 2), site=site
    )  # fmt: skip
    seen = x.requires_grad_()
    (gradient,) = torch.autograd.grad(goal(seen, Keys.of(0, "ab")).loss.sum(), seen)
    assert bool(gradient.flatten(1).any(1).all())


def test_a_model_without_places_is_told() -> None:
    with pytest.raises(InvalidInput, match="tiny:eye has no spatial features to weigh"):
        heat(tiny.eye(), spot(0, 0), RED)
    with pytest.raises(InvalidInput, match=r"2 text\(s\) for 1 image\(s\)"):
        heat(Window(), spot(0, 0), RED.expand(2, -1))


def test_finger_overlap_and_share_by_hand() -> None:
    maps = torch.zeros(3, 10, 10)
    maps[0, 2:4, 2:6] = 1.0
    maps[0, 8, 8] = 0.9
    maps[1, 0, 9] = 2.0
    boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]])
    found = pointed(maps, boxes)
    assert found.hit.tolist() == [True, False, False]
    # The larger region is 4 wide and 2 high; 2×2 of it is in the box.
    assert found.overlap.tolist() == pytest.approx([4 / 8, 0, 0])
    assert found.inside.tolist() == pytest.approx([4 / 8.9, 0, 0])
    assert pointed(maps[:1], boxes[:1], 1.0).overlap.tolist() == pytest.approx([0.5])


def test_a_lower_threshold_takes_in_more() -> None:
    maps = torch.tensor([[[0.2, 0.6, 1.0, 0.6, 0.2]]])
    widths = [
        pointed(maps, torch.tensor([[0.0, 0, 1, 1]]), t).overlap.item() for t in (0.1, 0.5, 1)
    ]
    assert widths == pytest.approx([1.0, 0.6, 0.2])


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_threshold_that_is_no_share_is_told(threshold: float) -> None:
    with pytest.raises(InvalidInput, match="outside"):
        pointed(torch.ones(1, 2, 2), torch.ones(1, 4), threshold)
    with pytest.raises(InvalidInput, match="boxes are"):
        pointed(torch.ones(1, 2, 2), torch.ones(2, 4))


def test_a_scene_is_asked_for_a_thing_that_no_other_is_named_like() -> None:
    task = GroundingTask(samples=200).open()
    for row, query in zip(task.rows, task.queries, strict=True):
        things = [
            t for t in sample(0, "test", row).things if f"a {t.colour} {t.shape}" == query.text
        ]
        (thing,) = things
        left, top, right, bottom = (64 * side for side in (
            query.box[0], query.box[1], query.box[0] + query.box[2], query.box[1] + query.box[3]
        ))  # fmt: skip
        assert (left, top, right, bottom) == pytest.approx(tuple(thing.box))
    assert 0.05 < task.chance < 0.2
    few = GroundingTask(samples=20).open()
    assert few.queries == task.queries[:20] and few.ids == task.ids[:20]


def test_the_thing_s_pixels_are_in_its_box() -> None:
    """A map that is drawn from the picture itself, its colour's share, points at the thing."""
    batch = GroundingTask(samples=30).open().batch(range(30), (64, 64))
    hits = 0
    for x, (text,), box in zip(batch.pairs.images, batch.pairs.captions, batch.boxes, strict=True):
        rgb = torch.tensor(COLOUR_RGB[text.split()[1]])  # type: ignore[index]
        near = (-8 * (x - rgb[:, None, None]).abs().sum(0)).exp()
        smooth = F.avg_pool2d(near[None], 7, 1, 3)
        hits += int(pointed(smooth, box[None]).hit)
    assert hits > 20


def test_a_photograph_s_sentence_has_its_box(tmp_path: Path) -> None:
    entries = []
    for number in range(3):
        write_png(tmp_path / f"{number}.png", spot(number, 1)[0])
        entries.append({"image": f"{number}.png", "sentence": "the spot in red",
                        "bbox": [4, 4 * number, 4, 4]})  # fmt: skip
    (tmp_path / "all.json").write_text(json.dumps(entries))
    task = GroundingTask(
        data=f"refcoco:{tmp_path / 'all.json'}", samples=0, contrast=False
    ).open()  # fmt: skip
    batch = task.batch(range(3), None)
    found = task.pointed(task.maps(batch.pairs, Window()), batch.boxes)
    assert found.hit.all() and task.chance == pytest.approx(1 / 16)


def test_contrast_is_to_the_mean_of_the_task_s_texts() -> None:
    batch = (plain := GroundingTask(samples=6, contrast=False).open()).batch(range(6), (64, 64))
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
    batch = task.batch(range(120), (64, 64))
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


def test_the_loss_of_a_misdirection_is_the_lead_of_the_hottest_pixel_outside() -> None:
    model, x = Window(), spot(0, 0, n=2)
    home, away = [0, 0, 0.25, 0.25], [0.5, 0.5, 0.25, 0.25]
    goal = Misdirect(
        model=model, vectors=RED.expand(2, -1), boxes=torch.tensor([home, away]),
        site=find_site(model, x[0]),
    )  # fmt: skip
    judged = goal(x, Keys.of(0, "ab"))
    assert judged.reached.tolist() == [False, True]
    assert -2 <= judged.loss[0] < 0 < judged.loss[1] <= 2
    single = goal.take(torch.tensor([1]))(x[1:], Keys.of(0, "b"))
    assert torch.allclose(single.loss, judged.loss[1:]) and bool(single.reached)


@pytest.mark.parametrize("name", ["scenes:clip", "scenes:clip-vit"])
def test_the_misdirection_s_gradient_is_its_slope(name: str) -> None:
    model, task = load(name), GroundingTask(samples=3).open()
    assert isinstance(model, Embedder)
    batch = task.batch(range(3), (64, 64))
    goal = task.objective(batch, model)
    x = batch.pairs.images.clamp(0.02, 0.98).double().float().requires_grad_()
    (gradient,) = torch.autograd.grad(goal(x, batch.keys).loss.sum(), x)
    step = 2e-3 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    ahead, back = (goal((x + way * step).detach(), batch.keys).loss.sum() for way in (1, -1))
    rise = ahead - back
    wanted = 4e-3 * gradient.flatten(1).norm(dim=1).sum()
    assert float(rise.detach()) > 0.4 * float(wanted) > 0


def test_an_attack_on_the_map_moves_the_finger() -> None:
    task, model = GroundingTask(samples=24).open(), load("scenes:clip")
    assert isinstance(model, Embedder)
    batch = task.batch(range(24), (64, 64))
    clean = task.pointed(task.maps(batch.pairs, model), batch.boxes).hit.sum()
    attack, threat = PGD(steps=12), Threat.parse("linf", "8/255")
    found = attack(task.objective(batch, model), batch.pairs.images, threat, batch.keys)
    altered = Pairs(found.x, batch.pairs.captions)
    moved = task.pointed(task.maps(altered, model), batch.boxes).hit.sum()
    assert int(moved) <= int(clean) - 8


def test_of_several_looks_the_mean_of_the_maps_is_taken() -> None:
    task = GroundingTask(samples=2, contrast=False).open()
    batch, model = task.batch(range(2), (64, 64)), load("scenes:clip")
    assert isinstance(model, Embedder)
    views = torch.stack([batch.pairs.images, batch.pairs.images.flip(3)], 1).flatten(0, 1)
    found = task.maps(Pairs(views, batch.pairs.captions), model)
    each = [
        task.maps(Pairs(x, batch.pairs.captions), model)
        for x in (batch.pairs.images, batch.pairs.images.flip(3))
    ]
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=1e-5)


def test_the_cosine_is_climbed_down() -> None:
    """Of colours seen linearly: the loss is minus the cosine, and the optimum a corner."""
    goal = Estrange(model=Window(), vectors=RED.expand(2, -1))
    x = torch.tensor([[0.5, 0.2, 0.1], [0.1, 0.2, 0.5]])[:, :, None, None].expand(2, 3, 4, 4)
    judged, keys = goal(x, Keys.of(0, "ab")), Keys.of(0, "ab")
    wanted = [-c[0] / sum(v * v for v in c) ** 0.5 for c in ((0.5, 0.2, 0.1), (0.1, 0.2, 0.5))]
    assert judged.loss.tolist() == pytest.approx(wanted, abs=1e-6) and not judged.reached.any()
    assert goal.take(torch.tensor([1]))(x[1:], keys[1:]).loss.tolist() == pytest.approx(wanted[1:])
    found = PGD(steps=8)(goal, x.contiguous(), Threat.parse("linf", "8/255"), keys).x
    step = torch.tensor([-8.0, 8, 8]).view(1, 3, 1, 1) / 255
    assert torch.allclose(found, ((x + step) * 255).round() / 255, atol=1.1 / 255)


def test_images_are_brought_to_the_task_s_side() -> None:
    task = GroundingTask(samples=2, side=32).open()
    assert task.batch(range(2), None).pairs.images.shape == (2, 3, 32, 32)
    with pytest.raises(InvalidInput, match="side=-3"):
        GroundingTask(side=-3)
