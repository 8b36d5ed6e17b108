"""One guarded model for any defense and any model: transform, aggregation, detector, together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.attacks.apgd import APGD
from secondlook.data.images import write_png
from secondlook.decision import Outcome
from secondlook.defenses.base import Answer, Defense, Detector, DetectorDefense, Suspicion
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.consistency import Consistency, Consistent
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.multishield import MultiShield
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.metrics.ngrams import medoid
from secondlook.models import load
from secondlook.models.base import Classifier, Model
from secondlook.models.purifiers.filters import Blur
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Dimmer, LinearClassifier, directions, images
from tests.defenses.mirror_models import Prism, colors_behind
from tests.models.test_captioner import Colors
from tests.tiny import eye, shift

# --- one transform in front of every kind of model ------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Dimmed(Defense):
    """Views at half of the brightness, and below."""

    count = 3
    stochastic = True

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        return x * (0.25 + 0.25 * keys.uniform((1, 1, 1)))


def views(x: Tensor, keys: Keys) -> Tensor:
    """The three views of each of x, ``[B, 3, C, H, W]``, by hand."""
    return Dimmed().transform(x.repeat_interleave(3, 0), keys.repeat(3)).unflatten(0, (-1, 3))


KEYS = Keys.of(0, range(6))
X = images(6)


def test_a_classifier_votes_over_the_views() -> None:
    model = LinearClassifier(directions(3))
    seen = Guarded(model, Dimmed()).decide(X, KEYS)
    scores = torch.stack([model(view) for view in views(X, KEYS).unbind(1)], 1)
    assert torch.equal(seen.votes, F.one_hot(scores.argmax(-1), 3).sum(1))
    assert seen.draws.tolist() == [3] * 6
    assert bool(seen.accepted.all())


def test_an_embedder_answers_with_the_mean_of_the_views() -> None:
    guarded = Guarded(eye(), Dimmed())
    each = torch.stack([eye().embed(view) for view in views(X, KEYS).unbind(1)], 1)
    wanted = F.normalize(each.mean(1), dim=-1)
    assert torch.allclose(guarded.decide(X, KEYS).scores, wanted, atol=1e-6)
    assert guarded.decide(X, KEYS).votes.shape == (6, 0)
    assert guarded.classes == ()
    # Whoever needs an embedder gets one, whose draws are those of its own steps.
    through = guarded.embedder(draws=2)
    assert not torch.equal(through.embed(X), through.embed(X))
    assert torch.equal(through.embed_text(["red"]), eye().embed_text(["red"]))
    assert Guarded(eye()).embedder().name == "tiny:eye"


def test_a_captioner_says_the_medoid_of_what_it_says_of_the_views() -> None:
    captioner = Colors()
    guarded = Guarded(captioner, Dimmed())
    seen = guarded.shown(X, KEYS)
    assert torch.equal(seen.unflatten(0, (-1, 3)), views(X, KEYS))
    texts = captioner.caption(seen, KEYS.repeat(3).fold("caption"), length=40)
    several = [texts[at : at + 3] for at in range(0, 18, 3)]
    assert guarded.texts(X, KEYS) == [some[medoid(some)] for some in several]
    with pytest.raises(InvalidInput, match="take an objective on captions"):
        guarded.surrogate(X, KEYS)


def test_a_model_of_another_kind_is_told() -> None:
    with pytest.raises(InvalidInput, match="no classifier, embedder or captioner"):
        Guarded(shift(), Dimmed())
    with pytest.raises(InvalidInput, match="nothing in front of linear is suspicious"):
        Guarded(LinearClassifier(directions(2)), Dimmed()).suspicion(X, KEYS)


def test_views_do_not_depend_on_the_batch() -> None:
    guarded, rows = Guarded(LinearClassifier(directions(3)), Dimmed()), torch.tensor([4, 0])
    whole, part = guarded.decide(X, KEYS), guarded.decide(X[rows], KEYS[rows])
    assert torch.equal(part.votes, whole.votes[rows])
    assert torch.equal(part.features, whole.features[rows])


def test_keys_may_be_left_away_and_must_fit() -> None:
    guarded = Guarded(LinearClassifier(directions(3)), Dimmed())
    assert torch.equal(guarded(X).features, guarded(X).features)
    assert torch.equal(guarded(X, KEYS).features, guarded.decide(X, KEYS).features)
    with pytest.raises(InvalidInput, match="5 keys for 6 samples"):
        guarded.decide(X, KEYS[:5])


# --- a transform and a detector -------------------------------------------------------------------


class Brightness(Detector):
    """As suspicious as the image is bright."""

    @property
    def parts(self) -> tuple[Model, ...]:
        return ()

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        return x.flatten(1).mean(1)


@dataclass(frozen=True, kw_only=True)
class DimmedAndWatched(Dimmed):
    """Votes over dim views; what is bright itself is rejected."""

    threshold = 0.5

    def detector(self, model: Model) -> Brightness:
        return Brightness()


def test_votes_and_rejection_compose() -> None:
    model = LinearClassifier(directions(3))
    seen = Guarded(model, DimmedAndWatched()).decide(X, KEYS)
    free = Guarded(model, Dimmed()).decide(X, KEYS)
    assert torch.equal(seen.votes, free.votes) and torch.equal(seen.scores, free.scores)
    bright = X.flatten(1).mean(1)
    assert torch.equal(seen.suspicion, bright)
    assert torch.equal(seen.accepted, bright <= 0.5)
    assert 0 < int(seen.accepted.sum()) < 6
    rejected = [outcome is Outcome.REJECTED for outcome in seen.outcomes(free.answer)]
    assert rejected == (~seen.accepted).tolist()


def test_their_surrogate_has_an_acceptance_of_each_draw() -> None:
    x = X.clone().requires_grad_()
    guarded = Guarded(LinearClassifier(directions(3)), DimmedAndWatched())
    assert guarded.rejects and guarded.stochastic
    seen = guarded.surrogate(x, KEYS, draws=4)
    assert seen.scores.shape == (6, 4, 3) and seen.features.shape[:2] == (6, 4)
    assert seen.acceptance is not None and seen.acceptance.shape == (6, 4)
    assert torch.allclose(seen.acceptance, (0.5 - X.flatten(1).mean(1))[:, None].expand(-1, 4))
    assert all(len(row.unique()) == 4 for row in seen.scores[..., 0])
    (gradient,) = torch.autograd.grad(seen.acceptance.mean(1).sum(), x)
    assert torch.allclose(gradient, torch.full_like(x, -1 / 48))
    one = UntargetedObjective(goal=Untargeted(truth=torch.zeros(6).long()), victim=guarded, draws=4)
    assert one.logits(X, KEYS).scores.shape == (6, 4, 4)


def test_they_compose_in_front_of_an_embedder_and_a_captioner() -> None:
    bright = X.flatten(1).mean(1) <= 0.5
    vectors = Guarded(eye(), DimmedAndWatched()).decide(X, KEYS)
    assert torch.equal(vectors.accepted, bright)
    captioner = Guarded(Colors(), DimmedAndWatched())
    free = Guarded(Colors(), Dimmed()).texts(X, KEYS)
    wanted = [text if ok else "" for text, ok in zip(free, bright.tolist(), strict=True)]
    assert captioner.texts(X, KEYS) == wanted and "" in wanted


class Sure(Detector):
    """Suspicious of low scores."""

    reads_answers = True

    @property
    def parts(self) -> tuple[Model, ...]:
        return ()

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        raise NotImplementedError

    def inspect(self, x: Tensor, keys: Keys, answer: Answer) -> Suspicion:
        assert answer.scores is not None
        return Suspicion(-answer.scores.amax(1))


@dataclass(frozen=True, kw_only=True)
class Confident(Consensus):
    """Votes that a detector reads the outcome of."""

    threshold = -2.5

    def detector(self, model: Model) -> Sure:
        return Sure()


def test_a_detector_is_given_what_the_votes_came_to() -> None:
    model = LinearClassifier(directions(3))
    guarded = Guarded(model, Confident(purifier=Dimmer(), samples=3, early_stop=False))
    seen = guarded.decide(X, KEYS)
    assert torch.equal(seen.suspicion, -seen.scores.amax(1))
    assert torch.equal(seen.accepted, seen.votes.amax(1) == 3)


# --- what an objective must know ------------------------------------------------------------------


def test_an_attack_on_a_model_that_rejects_counts_no_rejection_as_success() -> None:
    """Nobody tells the objective that answers are rejected, or how many classes there are."""
    x, keys = images(40), Keys.of(0, range(40))
    model = LinearClassifier(directions(4))
    other = LinearClassifier(directions(4) + 0.7 * directions(4, 1), "other")
    guarded = Guarded(model, MultiShield(auxiliary=other, threshold=0.5))
    truth = model(x).argmax(1)
    objective = UntargetedObjective(goal=Untargeted(truth=truth), victim=guarded)
    assert objective.rejects and objective.classes == 4
    found = APGD(steps=20)(objective, x, Threat(eps=8 / 255), keys)
    outcomes = guarded.decide(found.x, keys).outcomes(truth)
    wrong = [outcome is Outcome.WRONG for outcome in outcomes]
    assert objective(found.x, keys).success.tolist() == wrong
    assert 0 < sum(wrong) < 40 and Outcome.REJECTED in outcomes
    bare = replace(objective, victim=Guarded(model))
    assert not bare.rejects and bare.losing.shape == (40, 1)


class Broken(LinearClassifier):
    """Answers NaN to whatever it is shown."""

    def scores(self, features: Tensor) -> Tensor:
        return super().scores(features) * float("nan")


@pytest.mark.parametrize("defense", [None, Dimmed(), DimmedAndWatched()])
def test_what_is_no_number_is_never_correct_and_no_success(defense: Defense | None) -> None:
    model: Classifier = Broken(directions(3))
    guarded = Guarded(model, defense)
    for truth in range(3):
        classes = torch.full((6,), truth)
        seen = guarded.decide(X, KEYS)
        assert Outcome.CORRECT not in seen.outcomes(classes)
        assert not bool(seen.in_top(1, classes).any())
        objective = UntargetedObjective(goal=Untargeted(truth=classes), victim=guarded)
        assert not bool(objective(X, KEYS).success.any())


def test_a_suspicion_that_is_no_number_is_rejected() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Lost(DimmedAndWatched):
        threshold = float("nan")

    guarded = Guarded(LinearClassifier(directions(3)), Lost())
    assert not bool(guarded.decide(X, KEYS).accepted.any())


# --- a captioner behind a detector of what it says ------------------------------------------------

COLOR = torch.tensor([[0.8, 0.4, 0.4], [0.4, 0.8, 0.4], [0.4, 0.4, 0.8]])


def plain(rows: int) -> tuple[Tensor, Keys]:
    """Images of red, green and blue, each with a grain of its own, on the 8-bit grid."""
    keys = Keys.of(0, range(rows))
    grain = 0.2 * keys.uniform((3, 1, 1))
    x = COLOR[torch.arange(rows) % 3][:, :, None, None] - grain
    return ((x * 255).round() / 255).expand(-1, -1, 8, 8).contiguous(), keys


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("held out")
    for row, image in enumerate(plain(40)[0]):
        (folder / "rgb"[row % 3]).mkdir(exist_ok=True)
        write_png(folder / "rgb"[row % 3] / f"{row:02d}.png", image)
    return f"folder:{folder}"


def test_what_was_said_is_what_is_painted() -> None:
    x, keys = plain(9)
    guarded = colors_behind()
    answered = guarded.decide(x, keys)
    assert answered.texts == Colors().caption(x, keys.fold("caption"), length=40)
    given = guarded.suspicion(x, keys, answered.texts)
    assert torch.equal(answered.suspicion, given)
    assert torch.equal(guarded.suspicion(x, keys), given)
    wrong = guarded.suspicion(x, keys, [*answered.texts[1:], answered.texts[0]])
    assert float(wrong.min()) > float(given.max())


def test_the_threshold_is_calibrated_and_holds(held_out: str) -> None:
    guarded = colors_behind(false_rejection=0.1, calibrate_on=held_out, calibrate_samples=29)
    scores = guarded.clean_suspicion
    assert len(scores) == 29
    assert guarded.threshold == pytest.approx(float(scores.sort().values[26]))
    assert guarded.thresholds["0.1"] == guarded.threshold
    x, keys = plain(9)
    assert bool(guarded.decide(x, keys).accepted.any())
    red = torch.full_like(x, 0.1)
    red[:, 0] = 0.9
    assert bool((guarded.suspicion(red, keys, ["blue again"] * 9) > guarded.threshold).all())


def test_too_few_clean_images_say_how_many_are_needed(held_out: str) -> None:
    with pytest.raises(InvalidInput, match="needs 99 clean samples or more.*gives 40"):
        colors_behind(false_rejection=0.01, calibrate_on=held_out)
    with pytest.raises(InvalidInput, match="needs 19 clean samples or more.*gives 12"):
        colors_behind(false_rejection=0.05, calibrate_on=held_out, calibrate_samples=12)


def consistent() -> Consistent:
    return Consistent(encoders=Prism("eye"), augmentations="blur:1", false_rejection=0, threshold=2.0)


def test_a_detector_that_does_not_read_captions_is_asked_alone() -> None:
    x, keys = plain(4)
    guarded = Guarded(Colors(), consistent())
    alone = Consistency(encoders=(Prism("eye"),), views=(Blur(1.0),))
    assert torch.equal(guarded.suspicion(x, keys), alone.suspicion(x, keys.fold("detect")))
    assert guarded.decide(x, keys).texts == Colors().caption(x, keys.fold("caption"), length=40)


def strict() -> Guarded:
    """It holds back about half."""
    usual = colors_behind().decide(*plain(9)).suspicion
    return colors_behind(threshold=float(usual.median()) + 1e-6)


def test_what_is_held_back_is_silence_and_each_question_is_counted() -> None:
    x, keys = plain(9)
    guarded = strict()
    with counting() as ledger:
        said = guarded.texts(x.requires_grad_(), keys)
    assert ledger.by_model["colors"] == [9, 0]
    found = guarded.decide(x, keys)
    wanted = [t if ok else "" for t, ok in zip(found.texts, found.accepted, strict=True)]
    assert said == wanted and "" in said and any(said)
    brief = Guarded(Colors(), guarded.defense, caption={"length": 1}).texts(x, keys)
    assert all(len(text.split()) <= 1 for text in brief)


class Mute(Colors):
    """Says nothing."""

    def detokenize(self, ids: Tensor) -> str:
        return ""


def test_silence_is_never_given_out_however_loose_the_threshold() -> None:
    x, keys = plain(6)
    mute = colors_behind(Mute(), threshold=2.0)
    assert not mute.decide(x, keys).accepted.any()
    assert Guarded(Mute(), consistent()).decide(x, keys).accepted.all()


def test_the_parts_are_all_that_is_asked() -> None:
    guarded = colors_behind()
    assert [part.name for part in guarded.parts] == ["colors", "prism 0", "prism 1", "prism 2", "brush"]
    assert isinstance(guarded.defense, DetectorDefense)
    assert len(guarded.modules) == 3


@pytest.mark.parametrize("name", registry.names("defense"))
def test_of_no_images_nothing_is_said(name: str) -> None:
    """By a transformer, by purifiers, and by whatever looks at an answer: nothing fails on an empty batch."""
    model = ZeroShot(load("scenes:clip-vit"), ("red circle", "blue star", "green square"))
    wanted = {
        "threshold": 0.5,
        "false_rejection": 0.0,
        "samples": 2,
        "purifier": "scenes:diffusion",
        "auxiliary": "scenes:clip-narrow",
        "encoders": "scenes:clip-narrow",
    }
    own = registry.settings(registry.find("defense", name))
    guarded = Guarded(model, registry.build("defense", name, {key: wanted[key] for key in wanted if key in own}))
    found = guarded(torch.zeros(0, 3, 64, 64))
    assert len(found.outputs) == len(found.accepted) == 0
