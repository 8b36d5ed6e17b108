"""MAT and MAT+: both sides are attacked, in the order that was asked for, and learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.attacks.joint.base import JointAttack
from secondlook.attacks.pairs import Pairs
from secondlook.attacks.words.words import Words
from secondlook.errors import InvalidInput
from secondlook.hardening.base import Moment
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.course import Course
from secondlook.hardening.methods.mat import MAT
from secondlook.hardening.probe import Glance
from secondlook.hardening.schedule import Schedule
from secondlook.hardening.student import Student
from secondlook.hardening.trainer import Training
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.hardening.gaps import Thesaurus
from tests.hardening.school import Pupil, Yard, away, pupil

EPS = 4 / 255
YARD = Yard(16)
MOMENT = Moment(Keys.of(0, YARD.ids), 1.0)
OTHER = {"dark": "dim", "bright": "pale"}
Seen = tuple[list[Tensor], list[list[str]]]


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def made(name: str = "mat", **settings: Any) -> MAT:
    method: MAT = registry.build("method", name, {"eps": EPS, "mlm": Thesaurus(), **settings})
    return method


def seen_in_training(student: Student) -> Seen:
    """What both towers are shown while they are in training mode."""
    images, texts = list[Tensor](), list[list[str]]()
    look, read = student.embedder.encode_image, student.embedder.encode_text

    def shown(x: Tensor) -> Tensor:
        if student.embedder.network.training:
            images.append(x.detach().clone())
        return look(x)

    def told(given: Any) -> Tensor:
        if student.embedder.network.training:
            texts.append(list(given))
        return read(given)

    student.embedder.encode_image = shown  # type: ignore[method-assign]
    student.embedder.encode_text = told  # type: ignore[method-assign]
    return images, texts


@pytest.mark.parametrize("name", ["mat", "mat+"])
@pytest.mark.parametrize("order", ["t-i", "i-t", "simultaneous"])
def test_it_learns_from_images_and_captions_that_were_attacked(name: str, order: str) -> None:
    student = Student(pupil(), "all")
    lesson = made(name, order=order).bind(student, YARD)
    images, texts = seen_in_training(student)
    student.network.train()
    lesson(YARD.read(range(16)), MOMENT).backward()
    (shown,), (told,) = images, texts
    changed = away(shown, YARD.images)
    assert float(changed.min()) > EPS / 2 and float(changed.max()) <= EPS + 1e-6
    for row, text in enumerate(told):
        first, word, last = text.split()
        own = YARD.classes[int(YARD.truth[row])]
        assert word in (own, OTHER[own]) and (word != own or order == "i-t")
        assert first in ("one", "two") and last == "thing"
    if name == "mat":
        assert {text.split()[0] for text in told} == {"one"}
    else:
        assert {text.split()[0] for text in told} == {"one", "two"}
    assert all(p.grad is not None for p in student.parameters.values())


@pytest.mark.parametrize("order", ["t-i", "i-t", "simultaneous"])
def test_the_order_says_what_each_side_is_taken_from(
    order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captions are those that a search against clean or attacked images finds; images likewise."""
    clean = Pairs(YARD.images, tuple((own[0],) for own in YARD.read(range(16)).captions))
    given, climb = list[Tensor](), JointAttack.from_captions

    def noted(self: JointAttack, victims: Any, vectors: Any, *rest: Any) -> Any:
        given.extend(vectors)
        return climb(self, victims, vectors, *rest)

    monkeypatch.setattr(Schedule, "from_captions", noted)
    found = made(order=order).schedule(pupil(), clean, Threat(eps=EPS), MOMENT.keys)
    words = Words(mlm=Thesaurus())
    guide = clean._replace(images=found.images) if order == "i-t" else clean
    assert found.captions == words(pupil(), guide, Threat(eps=EPS), MOMENT.keys).captions
    fled = found.captions if order == "t-i" else clean.captions
    assert torch.equal(given[0], pupil().embed_text([text for (text,) in fled]))


def test_the_step_is_in_pixels_or_two_and_a_half_radii_in_all() -> None:
    assert made().schedule.pace == 2.5
    assert made(attack_step=1 / 255, attack_steps=2).schedule.pace == pytest.approx(0.5)


def steady() -> Pupil:
    """A pupil who looks at the large signal alone, and has dim and pale the wrong way round."""
    fresh = pupil()
    with torch.no_grad():
        fresh.network.image.weight[0] = torch.tensor([4.0, 0.0, 0.0])
    return fresh


def matched(student: Student, words: tuple[str, str]) -> float:
    """How often an attacked image is nearer to the word for its side than to the other's."""
    yard = Yard(100, first=300)
    texts = tuple(f"one {words[int(t)]} thing" for t in yard.truth)
    schedule = made(mlm="scenes:mlm").schedule
    keys = Keys.of(1, yard.ids)
    pairs = Pairs(yard.images, tuple((text,) for text in texts))
    side = schedule.from_captions(
        [student.embedder], [student.embedder.embed_text(texts)], torch.arange(100), pairs.images,
        Threat(eps=EPS), keys,
    )  # fmt: skip
    both = student.embedder.embed_text([f"one {word} thing" for word in words])
    with torch.no_grad():
        answer = (student.embedder.embed(side.x) @ both.T).argmax(1)
    return float((answer == yard.truth).float().mean())


def test_mat_teaches_the_words_that_an_attack_would_take_and_image_training_does_not(
    tmp_path: Path,
) -> None:
    shares = {}
    for name in ("mat", "tecoa-itr"):
        settings: dict[str, Any] = {"attack_steps": 3}
        if name == "mat":
            settings["mlm"] = Thesaurus()
        method = registry.build("method", name, {"eps": EPS, **settings})
        student, yard = Student(steady(), "all"), Yard(200)
        training = Training(
            student=student, lesson=method.bind(student, yard), lessons=yard,
            course=Course(steps=60, batch=20, rate=0.05),
            checkpoint=Checkpoint(path=tmp_path / f"{name}.checkpoint", identity={}),
        )  # fmt: skip
        training.run(lambda: Glance(0, 0), silent)
        student.network.eval()
        shares[name] = (matched(student, ("dark", "bright")), matched(student, ("dim", "pale")))
    assert min(shares["mat"]) > 0.8
    assert shares["tecoa-itr"][0] > 0.8 and shares["tecoa-itr"][1] < 0.2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"friendly": True}, "friendly"),
        ({"original": 0.0, "human": 0.0}, "all 0"),
        ({"eda": -1.0}, "eda=-1"),
        ({"looks": 1.5}, "1 - looks"),
        ({"kind": "shapes"}, "kind"),
        ({"captions": "any"}, "captions=any"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        made("mat+", **settings)


def test_one_to_many_draws_by_weight_and_key() -> None:
    batch = Yard(400).read(range(400))
    moment = Moment(Keys.of(0, batch.ids), 0.0)
    plus = made("mat+", original=1.0, human=3.0)
    assert isinstance(plus, registry.find("method", "mat+"))
    told = plus.told(batch, moment)
    share = sum(text.startswith("two") for text in told) / 400
    assert share == pytest.approx(0.75, abs=0.07)
    rows = [7, 3, 311]
    again = plus.told(batch.take(rows), moment._replace(keys=moment.keys[torch.tensor(rows)]))
    assert again == [told[row] for row in rows]


def test_many_to_one_repaints_a_share_of_the_images() -> None:
    batch = Yard(200).read(range(200))
    moment = Moment(Keys.of(0, batch.ids), 0.0)
    assert torch.equal(made("mat+").shown(batch, moment), batch.images)
    shown = made("mat+", looks=0.5, strength=0.5).shown(batch, moment)
    changed = (away(shown, batch.images) > 0).float().mean()
    assert 0.3 < float(changed) < 0.6


def test_the_augmentation_is_described_to_the_card() -> None:
    student = Student(pupil(), "all")
    assert made().diagnose(student, YARD) == {}
    found = made("mat+", human=0.0).diagnose(student, YARD)
    assert set(found) == {"captions"}
    assert found["captions"].diversity == pytest.approx(0, abs=1e-6)
    assert found["captions"].frechet == pytest.approx(0, abs=1e-6)
    both = made("mat+", looks=1.0, strength=0.5).diagnose(student, YARD)
    assert both["captions"].diversity > 0 and both["images"].diversity > 0
    assert student.network.training
