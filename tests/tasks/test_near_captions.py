"""Near misses and insertions: held against the truth, and stated where there is none."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secondlook.data import load as load_data
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.mirrorcheck import MirrorCheck
from secondlook.errors import InvalidInput
from secondlook.metrics.ngrams import words
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.heatmap import find_site
from secondlook.models.maskedlm import MaskedLM
from secondlook.objectives.candidates import AnsweredGoal, CandidateObjectives
from secondlook.objectives.caption import GreedyCaption
from secondlook.objectives.evasion import DetectorEvasion
from secondlook.objectives.grounding import MoveMap, nearest_places
from secondlook.randomness import Keys
from secondlook.tasks.base import AttackOptions
from secondlook.tasks.captioning import CaptioningTask, OpenCaptioning
from secondlook.tasks.grounding import GroundingTask
from secondlook.tasks.near_captions import substituted
from tests.models.spots import RED, Window, spot
from tests.tasks.test_captioning import ALBUM, Parrot


def scenes(n: int = 6) -> tuple[OpenCaptioning, Guarded]:
    task = OpenCaptioning(CaptioningTask(samples=n), load_data("scenes:test", n=60).captioned())
    return task, task.guarded(load("scenes:captioner"), Guarded(load("scenes:captioner")).defense)


def sentences(goal: AnsweredGoal) -> list[tuple[str, ...]]:
    """The captions in turn; an image that has fewer starts again with its first."""
    contest = goal.manners(False, Keys.of(0, goal.rows))[goal.candidates.name]
    assert isinstance(contest, CandidateObjectives) and all(contest.counts)
    chosen = [[turn % count for count in contest.counts] for turn in range(max(contest.counts))]
    inner = [contest.choosing(each).objective for each in chosen]  # type: ignore[attr-defined]
    return [each.texts for each in inner if isinstance(each, GreedyCaption)]


def test_a_near_miss_is_what_is_said_with_one_word_false() -> None:
    task, guarded = scenes()
    batch = task.batch(range(6), guarded)
    goal = task.objective(batch, guarded, AttackOptions(objective="near-miss"))
    said = guarded.decide(batch.images, batch.keys).texts
    assert task.facts is not None and isinstance(goal, AnsweredGoal)
    tried = sentences(goal)
    assert len(tried) == 8 and len({texts[0] for texts in tried}) == 8
    for texts in tried:
        for row, (text, clean) in enumerate(zip(texts, said, strict=True)):
            assert not task.facts.judge(text, task.rows[row]).main
            if task.facts.judge(clean, task.rows[row]).main:
                pairs = zip(words(text), words(clean), strict=True)
                assert sum(one != other for one, other in pairs) == 1


def test_where_a_detector_paints_what_is_said_the_wording_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    task, guarded = scenes(2)
    seeing = MirrorCheck(encoders="scenes:clip", painters="scenes:painter-grammar", false_rejection=0, threshold=0.1)
    guarded = task.guarded(guarded.model, seeing)
    batch = task.batch(range(2), guarded)

    def suspicion(wordings: int) -> Tensor:
        monkeypatch.setattr("secondlook.tasks.captioning.WORDINGS", wordings)
        goal = task.objective(batch, guarded, AttackOptions(objective="near-miss"))
        assert isinstance(goal, AnsweredGoal) and isinstance(goal.objective, DetectorEvasion)
        texts = goal.objective.captions
        assert task.facts is not None
        assert not any(task.facts.judge(text, row).main for text, row in zip(texts, task.rows, strict=True))
        with torch.no_grad():
            return guarded.suspicion(batch.images, batch.keys, texts)

    several, lone = suspicion(4), suspicion(0)
    assert bool((several <= lone + 1e-6).all()) and float((several - lone).sum()) < -0.01


def test_an_insertion_is_what_is_said_with_the_wanted_thing_in_it() -> None:
    task, guarded = scenes()
    batch = task.batch(range(6), guarded)
    goal = task.objective(batch, guarded, AttackOptions(objective="insertion"))
    assert isinstance(goal, AnsweredGoal)
    for texts in sentences(goal):
        assert all(task.fulfills(text, wanted) for text, wanted in zip(texts, batch.targets, strict=True))
    assert not goal(batch.images, batch.keys).success.any()


def test_untargeted_also_tries_near_misses_and_knows_what_is_said() -> None:
    task, guarded = scenes(4)
    batch = task.batch(range(4), guarded)
    goal = task.objective(batch, guarded, AttackOptions(objective="untargeted"))
    assert isinstance(goal, AnsweredGoal)
    assert [*goal.manners(False, batch.keys)] == ["near miss", "as-is"]
    right = [
        row["original_top1"] for row in task.records(batch, guarded, [guarded.decide(batch.images, batch.keys)], "")
    ]
    assert goal(batch.images, batch.keys).success.tolist() == [each == 0 for each in right]


def test_of_photographs_words_go_until_the_score_says_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def others(text: str, lm: MaskedLM) -> tuple[list[str], list[list[str]]]:
        named = text.split()
        return named, [["car", "hat"] if word in ("dog", "lawn") else [] for word in named]

    monkeypatch.setattr("secondlook.tasks.near_captions._others", others)

    def lead(text: str) -> float:
        return sum(word in text.split() for word in ("dog", "lawn")) - 1.0

    assert substituted("a dog on a lawn", load("scenes:mlm"), lead) == ["a car on a lawn", "a hat on a lawn"]
    assert substituted("a dog on a lawn", load("scenes:mlm"), lambda text: 1.0) == []
    assert substituted(" ", load("scenes:mlm"), lead) == []


def test_a_language_model_names_other_words_in_place_of_each() -> None:
    text = "a large red circle in the centre"
    (first, *_) = substituted(text, load("scenes:mlm"), lambda each: float("circle" in each.split()))
    assert len(first.split()) == 7 and sum(a != b for a, b in zip(first.split(), text.split(), strict=True)) == 1


def test_captions_alone_name_no_near_miss_without_substitutes() -> None:
    task = OpenCaptioning(CaptioningTask(data="album", samples=0), ALBUM)
    guarded = Guarded(Parrot("a dog"))
    batch = task.batch([0], guarded)
    with pytest.raises(InvalidInput, match="write substitutes"):
        task.objective(batch, guarded, AttackOptions(objective="near-miss"))
    with pytest.raises(InvalidInput, match="candidates=0"):
        CaptioningTask(candidates=0)
    with pytest.raises(InvalidInput, match="candidates=0"):
        GroundingTask(candidates=0)


class Echoing(Parrot):
    """Writes every text as it is."""

    def round_trip(self, texts: Sequence[str], prompt: str = "") -> list[str]:
        return list(texts)


def test_where_every_candidate_is_refused_it_is_stated() -> None:
    """No word of these captions can be another so that the score calls them wrong."""
    task = OpenCaptioning(CaptioningTask(data="album", samples=0, substitutes="scenes:mlm"), ALBUM)
    task._lead = lambda at, text: 1.0  # type: ignore[method-assign]
    guarded = Guarded(Echoing("a dog", "a bus", "birds", "a man"))
    batch = task.batch(range(4), guarded)
    goal = task.objective(batch, guarded, AttackOptions(objective="near-miss"))
    assert isinstance(goal, AnsweredGoal)
    says = "4 of 4 images have no near miss, and are left as they are"
    assert goal.notices == (says,) and goal.manners(False, batch.keys)["no near miss"] == says
    assert not goal(batch.images, batch.keys).success.any()


def test_the_nearest_wrong_places_are_the_hottest_outside() -> None:
    heat = torch.tensor([[[9.0, 1, 2], [3, 8, 0], [5, 4, 7]]]).repeat(2, 1, 1)
    boxes = torch.tensor([[0, 0, 2 / 3, 2 / 3], [0, 0, 1, 1]])
    some, none = nearest_places(heat, boxes, 2)
    assert torch.allclose(some, torch.tensor([[2, 2, 1, 1], [0, 2, 1, 1]]) / 3)
    assert none.shape == (0, 4)


def test_a_box_of_the_whole_image_leaves_no_place() -> None:
    model, x = Window(), spot(0, 0)
    whole, site = torch.tensor([[0.0, 0, 1, 1]]), find_site(model, x[0])
    goal = MoveMap(model=model, vectors=RED, boxes=whole, site=site, places=torch.zeros(1, 4))
    wide = x.clone().requires_grad_()
    found = goal(wide, Keys.of(0, "a"))
    (gradient,) = torch.autograd.grad(found.loss.sum(), wide)
    assert not found.success.any() and not gradient.any() and not gradient.isnan().any()


def test_a_map_is_drawn_to_the_places_in_turn() -> None:
    task, model = GroundingTask(samples=3).open(), load("scenes:clip")
    assert isinstance(model, Embedder)
    guarded = Guarded(model)
    batch = task.batch(range(3), guarded)
    goal = task.objective(batch, guarded, AttackOptions(objective="near-miss"))
    manners = goal.manners(False, batch.keys)
    assert [*manners] == ["near miss"]
    hit = task.pointed(task.maps(batch.pairs, model), batch.boxes).hit
    assert torch.equal(goal(batch.pairs.images, batch.keys).success, ~hit)
