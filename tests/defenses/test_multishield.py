"""Multi-Shield: the published decisions, calibration, label sets, and honest gradients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.attacks.pgd import PGD
from secondlook.data.files import Files
from secondlook.data.images import write_png
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.multishield import MultiShield, appended
from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import counting
from secondlook.models.base import Classifier, Embedder
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective, with_rejection
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests import tiny
from tests.analytic import LinearClassifier, MoodyClassifier, directions, images
from tests.published import HERE, card

KEYS = Keys.of(0, range(6))
FIRST, SECOND = LinearClassifier(directions(4)), LinearClassifier(directions(4, 1), "second")
THIRD = LinearClassifier(directions(4, 2), "third")


class Remembered(Classifier):
    """The red level of an image is the number of a row of logits."""

    name = "remembered"

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.classes = logits, tuple(map(str, range(logits.shape[1])))

    def features(self, x: Tensor) -> Tensor:
        return self.logits[numbers(self.checked_input(x))]

    def scores(self, features: Tensor) -> Tensor:
        return features


class RememberedPair(Embedder):
    """The same of two tables of vectors; a text is the number of its row."""

    name = "remembered pair"

    def __init__(self, pictures: Tensor, texts: Tensor) -> None:
        self.pictures, self.words = pictures, texts

    def encode_image(self, x: Tensor) -> Tensor:
        return self.pictures[numbers(x)]

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.words[[int(text) for text in texts]]


def numbers(x: Tensor) -> Tensor:
    return (x[:, 0, 0, 0] * 255).round().long()


def numbered(count: int) -> Tensor:
    return (torch.arange(count) / 255).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


class Golden:
    """What the published code makes of its own inputs, and the same through this defense."""

    def __init__(self, classes: int) -> None:
        held = load_file(HERE / "multishield_rule.safetensors")
        stats = card("multishield_rule")["stats"]
        self.stats = stats[f"K={classes}"]
        self.of = {name.replace(f"k{classes}.", ""): value for name, value in held.items()}
        self.classifier = Remembered(self.of["inputs.logits"])
        pair = RememberedPair(self.of["inputs.image_emb"], self.of["inputs.label_emb"])
        self.defense = Guarded(self.classifier, MultiShield(auxiliary=pair, prompt="{}"))
        self.x, self.keys = numbered(96), Keys.of(0, range(96))


@pytest.fixture(params=[10, 37])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


def test_the_decisions_are_those_of_the_published_code(golden: Golden) -> None:
    decided = golden.defense.decide(golden.x, golden.keys)
    assert (~decided.accepted).tolist() == golden.of["outputs.rejected"].bool().tolist()
    assert decided.answer.tolist() == golden.of["outputs.dnn_pred"].tolist()
    assert int((~decided.accepted).sum()) == golden.stats["rejected"]


def test_near_ties_and_logits_that_absorb_the_gap_are_decided_alike(golden: Golden) -> None:
    decided = golden.defense.decide(golden.x, golden.keys)
    rejected = (~decided.accepted).long().tolist()
    assert rejected[:8] == golden.stats["near_tie_rows_0_7_rejected"]
    assert rejected[8] == golden.stats["row8_absorption"]["rejected"] == 0
    assert float(decided.suspicion[8]) > 0.001, "models disagree, and the logits absorb it"
    assert rejected[9] == golden.stats["row9_equal_logits"]["rejected"]
    assert int(decided.answer[9]) == 0
    expected = [0, 2e-4, 5e-4, 9e-4, 1.1e-3, 1.5e-3, 3e-3, 1e-2]
    assert decided.suspicion[:8].tolist() == pytest.approx(expected, abs=2e-6)


def test_the_appended_logits_and_the_cosines_are_those_of_the_published_code(golden: Golden) -> None:
    seen = golden.defense.surrogate(golden.x, golden.keys)
    assert seen.auxiliary is not None
    assert torch.allclose(seen.auxiliary[:, 0, 0], golden.of["outputs.cosine"], atol=1e-6)
    gap = golden.defense.decide(golden.x, golden.keys).suspicion
    columns = appended(golden.of["inputs.logits"], gap, 0.001)
    rows = torch.arange(96) != 8
    published = golden.of["outputs.augmented_logits"]
    assert torch.allclose(columns[rows], published[rows], rtol=1e-6, atol=1e-6)
    assert columns.argmax(1).tolist() == golden.of["outputs.prediction"].tolist()


def test_the_appended_score_of_a_surrogate_leads_where_the_decision_rejects(golden: Golden) -> None:
    decided = golden.defense.decide(golden.x, golden.keys)
    view = with_rejection(golden.defense.surrogate(golden.x, golden.keys))
    assert view.scores.shape[1:] == (1, golden.classifier.logits.shape[1] + 1)
    leads = view.scores[:, 0].argmax(1) == len(golden.classifier.classes)
    assert torch.equal(leads, ~decided.accepted)


def test_a_tie_with_the_rejection_is_accepted() -> None:
    scores, gap = torch.tensor([[2.0, 4.0], [2.0, 4.0]]), torch.tensor([0.25, 0.5])
    assert appended(scores, gap, 0.25).argmax(1).tolist() == [1, 2]


def shield(**changes: Any) -> Guarded:
    return Guarded(FIRST, MultiShield(**{"auxiliary": SECOND, "threshold": 0.5, **changes}))


def own_gaps(x: Tensor, other: Classifier) -> Tensor:
    scores, answer = other(x), FIRST(x).argmax(1)
    return scores.amax(1) - scores.gather(1, answer[:, None])[:, 0]


def test_a_decision_is_the_classifiers_and_suspicion_is_the_gap() -> None:
    x, keys = images(40), Keys.of(0, range(40))
    with counting() as ledger:
        decided = shield().decide(x, keys)
    assert ledger.by_model == {"linear": [40, 0], "second": [40, 0]}
    assert torch.equal(decided.scores, FIRST(x))
    assert torch.equal(decided.votes, F.one_hot(FIRST(x).argmax(1), 4))
    assert torch.equal(decided.suspicion, own_gaps(x, SECOND))
    assert torch.equal(decided.accepted, own_gaps(x, SECOND) <= 0.5)
    assert 0 < int(decided.accepted.sum()) < 40


@pytest.mark.parametrize("quorum", ["any", "all", "mean"])
def test_several_auxiliary_models_reject_as_the_quorum_says(quorum: str) -> None:
    x, keys = images(40), Keys.of(0, range(40))
    both = torch.stack([own_gaps(x, SECOND), own_gaps(x, THIRD)])
    expected = {"any": both.amax(0), "all": both.amin(0), "mean": both.mean(0)}[quorum]
    defense = shield(auxiliary=[SECOND, THIRD], quorum=quorum)
    decided = defense.decide(x, keys)
    assert torch.allclose(decided.suspicion, expected)
    assert torch.equal(decided.accepted, expected <= 0.5)
    seen = defense.surrogate(x, keys)
    assert seen.auxiliary is not None
    assert torch.equal(seen.auxiliary, torch.stack([SECOND(x), THIRD(x)], 1)[:, None])
    assert defense.parts == (FIRST, SECOND, THIRD)


def test_a_sample_does_not_feel_its_batch() -> None:
    x, keys = images(24), Keys.of(0, range(24))
    defense = shield(auxiliary=(SECOND, THIRD))
    whole = defense.decide(x, keys)
    order = torch.tensor([7, 3, 11, 23, 0])
    for rows in (order, order[:1], torch.arange(24).flip(0)):
        part = defense.decide(x[rows], keys[rows])
        assert torch.equal(part.suspicion, whole.suspicion[rows])
        assert torch.equal(part.accepted, whole.accepted[rows])
    assert defense.decide(x[:0], keys[:0]).accepted.shape == (0,)


def test_the_gradient_reaches_both_models() -> None:
    x = images(6).requires_grad_()
    with counting() as ledger:
        seen = shield().surrogate(x, KEYS, draws=5)
        assert seen.acceptance is not None
        (of_scores,) = torch.autograd.grad(seen.scores[..., 2].sum(), x, retain_graph=True)
        (of_acceptance,) = torch.autograd.grad(seen.acceptance.sum(), x)
    assert ledger.by_model == {"linear": [6, 6], "second": [6, 6]}
    assert torch.allclose(of_scores, FIRST.weights[2].expand(6, -1, -1, -1))
    best, answer = SECOND(x).argmax(1), FIRST(x).argmax(1)
    expected = SECOND.weights[answer] - SECOND.weights[best]
    assert bool((best != answer).any())
    assert torch.allclose(of_acceptance, expected, atol=1e-6)


class Level(Classifier):
    """Class 1 where the mean of one channel is above a half."""

    classes = ("low", "high")

    def __init__(self, channel: int) -> None:
        self.channel, self.name = channel, f"channel {channel}"

    def features(self, x: Tensor) -> Tensor:
        return self.checked_input(x)[:, self.channel].mean((1, 2))[:, None] - 0.5

    def scores(self, features: Tensor) -> Tensor:
        return torch.cat([-features, features], -1)


def test_an_attack_that_does_not_know_it_is_rejected_and_one_that_knows_is_accepted() -> None:
    defense = Guarded(Level(0), MultiShield(auxiliary=Level(1)))
    x = torch.full((6, 3, 4, 4), 115 / 255)
    goal, threat = Untargeted(truth=torch.zeros(6, dtype=torch.long)), Threat(eps=25 / 255)
    bare = UntargetedObjective(goal=goal, victim=Guarded(Level(0)))
    oblivious = PGD(steps=20, random_start=False)(bare, x, threat, KEYS)
    decided = defense.decide(oblivious.x, KEYS)
    assert decided.answer.tolist() == [1] * 6
    assert not bool(decided.accepted.any())
    known = UntargetedObjective(goal=goal, victim=defense)
    adaptive = PGD(steps=20, random_start=False)(known, x, threat, KEYS)
    decided = defense.decide(adaptive.x, KEYS)
    assert decided.answer.tolist() == [1] * 6
    assert bool(decided.accepted.all())


def test_an_attacker_sees_a_success_where_agreement_alone_is_accepted() -> None:
    """With a threshold of 0 agreement must not look like a tie with the rejection."""
    defense = shield(auxiliary=LinearClassifier(FIRST.weights, "twin"), threshold=0.0)
    x, keys = images(40), Keys.of(0, range(40))
    goal = Untargeted(truth=(FIRST(x).argmax(1) + 1) % 4)
    assert bool(defense.decide(x, keys).accepted.all())
    assert bool(UntargetedObjective(goal=goal, victim=defense)(x, keys).success.all())


def painted(folder: Path, count: int, seed: int) -> Path:
    for row, (name, image) in enumerate(tiny.paint(count, seed)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_png(folder / name / f"{row:03d}.png", image)
    return folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"folder:{painted(tmp_path_factory.mktemp('held out'), 300, seed=7)}"


def torn(**changes: Any) -> Guarded:
    """A pair that disagrees on half of the clean images, by gaps that are all different."""
    eye = ZeroShot(tiny.eye(), tiny.COLORS, "a {}")
    return Guarded(eye, MultiShield(auxiliary=tiny.Compass("tiny:torn", tilt=1.0), **changes))


def test_fresh_clean_images_are_rejected_as_often_as_was_asked(held_out: str) -> None:
    x = torch.stack([image for _, image in tiny.paint(1200, seed=8)])
    keys = Keys.of(0, range(len(x)))
    loose = torn().decide(x, keys).suspicion
    assert 0.3 < float((loose > 0).float().mean()) < 0.7
    for alpha in (0.05, 0.2):
        defense = torn(false_rejection=alpha, calibrate_on=held_out, calibrate_samples=0)
        rejected = float((~defense.decide(x, keys).accepted).float().mean())
        # The rate of one calibration is Beta(300 alpha, ...) and is counted on 1200 images.
        spread = (alpha * (1 - alpha) * (1 / 301 + 1 / 1200)) ** 0.5
        assert abs(rejected - alpha) < 3 * spread


def test_the_threshold_is_a_gap_of_the_held_out_images(held_out: str) -> None:
    held = torch.stack([image for _, image in tiny.paint(300, seed=7)])
    gaps = torn().decide(held, Keys.of(0, range(300))).suspicion.sort().values
    defense = torn(false_rejection=0.1, calibrate_on=held_out)
    assert defense.threshold == pytest.approx(float(gaps[270]), abs=1e-6)
    assert isinstance(defense.calibration, Files) and len(defense.calibration) == 300
    assert torn().calibration is None
    assert torn().threshold == 0.001


def test_calibration_happens_once_and_preparing_takes_it_out_of_the_count(held_out: str) -> None:
    x, keys = tiny.paint(1)[0][1][None], Keys.of(0, range(1))
    with counting() as ledger:
        defense = torn(false_rejection=0.1, calibrate_on=held_out, calibrate_samples=40)
        assert ledger.forwards == 0
        defense.prepare()
    assert ledger.by_model == {"tiny:eye": [40, 0], "tiny:torn": [40, 0]}
    with counting() as ledger:
        defense.decide(x, keys)
        defense.surrogate(x, keys)
    assert ledger.by_model == {"tiny:eye": [2, 0], "tiny:torn": [2, 0]}


class Watchful(tiny.Compass):
    """Notes whether a gradient could be taken of what it is asked."""

    def encode_image(self, x: Tensor) -> Tensor:
        self.graphs = [*getattr(self, "graphs", ()), torch.is_grad_enabled()]
        return super().encode_image(x)


def test_a_surrogate_that_comes_first_calibrates_without_a_gradient(held_out: str) -> None:
    x, keys = tiny.paint(8)[0][1][None].requires_grad_(), Keys.of(0, range(1))
    eye, other = ZeroShot(tiny.eye(), tiny.COLORS, "a {}"), Watchful("watchful", tilt=1.0)
    defense = Guarded(eye, MultiShield(auxiliary=other, false_rejection=0.1, calibrate_on=held_out))
    seen = defense.surrogate(x, keys)
    assert other.graphs == [True] + [False] * 5, "the image, then 300 in batches of 64"
    assert seen.acceptance is not None
    assert seen.acceptance.requires_grad
    gap = defense.decide(x, keys).suspicion
    assert defense.threshold > 0.001
    assert torch.equal(seen.acceptance[:, 0], defense.threshold - gap)


def test_calibration_asks_in_eval_mode(tmp_path: Path) -> None:
    for row, image in enumerate(images(10)):
        (tmp_path / "ab"[row % 2]).mkdir(exist_ok=True)
        write_png(tmp_path / "ab"[row % 2] / f"{row}.png", image)
    judge, moody = LinearClassifier(directions(3, 1)), MoodyClassifier()
    judge.classes = moody.classes
    found = []
    for training in (False, True):
        moody.network.train(training)
        defense = Guarded(judge, MultiShield(auxiliary=moody, false_rejection=0.2, calibrate_on=f"folder:{tmp_path}"))
        found.append(defense.threshold)
        assert all(part.training == training for part in moody.network.modules())
    assert found[0] == found[1] > 0


def cosines() -> Classifier:
    """A classifier that says that its scores are cosines."""
    model = LinearClassifier(directions(4), "cosines")
    model.cosine = True
    return model


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threshold": -0.1}, "threshold=-0.1; write 0 or more"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"false_rejection": 1.5}, r"false rejection 1.5 is outside \(0, 1\)"),
        ({"auxiliary": ()}, "auxiliary is empty"),
        ({"auxiliary": [SECOND, 3]}, "auxiliary=3 neither embeds nor classifies"),
        ({"auxiliary": "python:tests.tiny:shift"}, "neither embeds nor classifies"),
        ({"auxiliary": FIRST}, "auxiliary='linear' is the defended model itself"),
        ({"auxiliary": [SECOND, cosines()]}, "auxiliary=second, cosines score partly in cosines"),
        ({"auxiliary": LinearClassifier(directions(3), "short")}, "'class 3'; 0 of short"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        shield(**changes)


def test_names_that_are_not_there() -> None:
    with pytest.raises(InvalidInput, match="quorum='most'; write 'any', 'all' or 'mean'"):
        shield(quorum="most")
    with pytest.raises(UnknownName, match="unknown class in labels 'class 9'"):
        shield(labels={"class 9": "x"})
    with pytest.raises(UnknownName, match="did you mean scenes:clip"):
        shield(auxiliary="scenes:clipp")


def test_too_little_data_is_refused_before_anything_runs(held_out: str) -> None:
    with pytest.raises(InvalidInput, match="needs 999 clean samples or more, .* gives 300"):
        torn(false_rejection=0.001, calibrate_on=held_out)
    with pytest.raises(InvalidInput, match="calibrate_samples=18 gives 18"):
        torn(false_rejection=0.05, calibrate_on=held_out, calibrate_samples=18)


def test_auxiliary_models_are_named_with_commas_between() -> None:
    model = ZeroShot(tiny.Compass("tiny:third"), tiny.COLORS, "some {}")
    names = "python:tests.tiny:other, python:tests.tiny:eye"
    defense = Guarded(model, MultiShield(auxiliary=names))
    assert [part.name for part in defense.parts] == ["tiny:third", "tiny:other", "tiny:eye"]
    with pytest.raises(InvalidInput, match="'tiny:third' is the defended model itself"):
        Guarded(model, MultiShield(auxiliary=tiny.Compass("tiny:third", tilt=0.5)))


def test_what_a_user_may_set() -> None:
    model = ZeroShot(tiny.eye(), tiny.COLORS, "some {}")
    config = {"auxiliary": "python:tests.tiny:other", "threshold": "0.2", "labels": {"red": "blue"}}
    built = registry.build("defense", "multishield", config)
    (other,) = built.detector(model).others
    assert other.model.prompt == "some {}", "the prompt of the defended model"
    assert other.model.classes == tuple("blue" if c == "red" else c for c in tiny.COLORS)
    assert registry.describe(built) == {
        "name": "multishield",
        "auxiliary": "python:tests.tiny:other",
        "prompt": "",
        "labels": {"red": "blue"},
        "threshold": 0.2,
        "calibrated": False,
        "quorum": "any",
        "false_rejection": 0.0,
        "calibrate_on": "scenes:calibration",
        "calibrate_samples": 1000,
    }


class Sayings(tiny.Compass):
    """Remembers what it was made to read."""

    prompt = "its own {}"

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.said = list(texts)
        return super().encode_text(texts)


@pytest.mark.parametrize(("prompt", "said"), [("", "its own red"), ("a plain {}", "a plain red")])
def test_a_classifier_without_a_prompt_leaves_the_embedder_its_own(prompt: str, said: str) -> None:
    plain = LinearClassifier(directions(2))
    plain.classes = ("red", "blue")
    other = Sayings("sayings")
    Guarded(plain, MultiShield(auxiliary=other, prompt=prompt))
    assert other.said[0] == said


def test_a_classifiers_scores_are_read_in_the_order_of_the_classes() -> None:
    turned = LinearClassifier(directions(4).flip(0), "turned")
    turned.classes = ("CLASS_3", "Class 2", "last", "class 0")
    defense = shield(auxiliary=turned, labels={"class 1": "last"})
    decided = defense.decide(images(6), KEYS)
    assert decided.suspicion.tolist() == [0] * 6, "the same scores in another order agree"
    assert bool(decided.accepted.all())
