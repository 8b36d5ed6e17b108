"""MirrorCheck: the score in closed form, draws of each input alone, and what it refuses."""

import logging

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.mirrorcheck import MOST, MirrorCheck, RegenerationDetector, regeneration_detector
from secondlook.defenses.regeneration import EncoderEnsemble, ImageCache, RegeneratedImages
from secondlook.defenses.stack import Stack
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from tests.analytic import global_generators
from tests.defenses.mirror_models import Brush, Prism, captions, painted, prisms
from tests.tiny import COLORS, GREY, paint

N = 9
KEYS = Keys.of(0, range(N))
X = torch.stack([image for _, image in paint(N)])


def made(**settings: object) -> RegenerationDetector:
    given = {"encoders": prisms(), "painters": Brush(), **settings}
    return regeneration_detector(**given)  # type: ignore[arg-type]


def cosine(one: Tensor, other: Tensor, tilt: float) -> Tensor:
    turn = torch.eye(3) + tilt * torch.eye(3).roll(1, 1)
    seen = [(each.flatten(2).mean(2) - GREY) @ turn.T for each in (one, other)]
    return F.cosine_similarity(*seen, dim=1)


def test_suspicion_is_one_less_the_mean_cosine_over_encoders_and_paintings() -> None:
    exact = made(painters=Brush(grain=0.0), paintings=2)
    wanted = painted([text.split()[-1] for text in captions(N)])
    wanted = (wanted * 255).round() / 255
    mean = sum(cosine(X, wanted, tilt) for tilt in (0.0, 0.3, 0.6)) / 3
    assert torch.allclose(exact.suspicion(X, KEYS, captions(N)), 1 - mean, atol=1e-5)


def test_several_paintings_are_different_ones_and_their_cosines_are_averaged() -> None:
    one, three = made(painters=Brush(grain=0.4)), made(painters=Brush(grain=0.4), paintings=3)
    made_of = three.cache.regenerate(captions(N), KEYS).pictures
    assert made_of.shape[:2] == (N, 3)
    assert not torch.equal(made_of[:, 0], made_of[:, 1])
    assert torch.equal(made_of[:, :1], one.cache.regenerate(captions(N), KEYS).pictures)
    each = [one.ensemble.similarity(X, RegeneratedImages(made_of[:, copy, None]), KEYS) for copy in range(3)]
    mean = 1 - torch.stack(each).mean(0)
    assert torch.allclose(three.suspicion(X, KEYS, captions(N)), mean, atol=1e-6)


def test_a_caption_is_painted_once_and_embedded_once_by_each_encoder() -> None:
    brush = Brush()
    detector = made(painters=brush)
    first = detector.suspicion(X, KEYS, captions(N))
    assert sorted(brush.asked) == sorted(set(captions(N)))
    with counting() as ledger:
        again = detector.suspicion(X, KEYS, captions(N))
    assert len(brush.asked) == len(set(captions(N)))
    assert ledger.by_model == {f"prism {number}": [N, 0] for number in range(3)}
    assert torch.equal(first, again)


def test_what_is_forgotten_is_painted_the_same_again() -> None:
    brush = Brush(grain=0.3)
    small = ImageCache(painters=(brush,), kept=2)
    first = small.regenerate(captions(N), KEYS).pictures
    assert torch.equal(small.regenerate(captions(N)[:1], KEYS[:1]).pictures, first[:1])
    assert len(brush.asked) == len(set(captions(N))) + 1


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"choose": 2},
        {"sigma": 0.1},
        {"choose": 1, "sigma": 0.05},
        {"painters": [Brush("one", 0.3), Brush("two", 0.3)]},
    ],
)
def test_draws_belong_to_their_input(settings: dict[str, object]) -> None:
    detector, before = made(**settings), global_generators()
    whole = detector.suspicion(X, KEYS, captions(N))
    order = torch.tensor([5, 0, 7])
    texts = [captions(N)[row] for row in order]
    fresh = made(**settings).suspicion(X[order], KEYS[order], texts)
    alone = [made(**settings).suspicion(X[r : r + 1], KEYS[r : r + 1], captions(N)[r : r + 1]) for r in range(N)]
    assert torch.equal(whole[order], fresh)
    assert torch.equal(whole, torch.cat(alone))
    assert global_generators() == before
    other = detector.suspicion(X, KEYS.fold("again"), captions(N))
    assert torch.equal(whole, other) == (not detector.stochastic)
    assert detector.stochastic == bool(settings)


def test_a_subset_has_its_size_and_every_encoder_its_turn() -> None:
    ensemble = EncoderEnsemble(encoders=prisms(5), choose=2)
    drawn = ensemble._drawn(Keys.of(0, range(4000)))
    assert drawn.sum(1).unique().tolist() == [2]
    assert torch.allclose(drawn.float().mean(0), torch.full((5,), 0.4), atol=0.03)


def test_the_noise_is_the_same_for_an_input_and_its_painting() -> None:
    """An input that is its own painting stays so, whatever noise is on the encoders."""
    detector = made(painters=Brush(grain=0.0), sigma=0.3)
    own = (painted(["red", "cyan"]) * 255).round() / 255
    found = detector.suspicion(own, KEYS[:2], ["red", "cyan"])
    assert torch.allclose(found, torch.zeros(2), atol=1e-5)


def test_legacy_draws_once_for_all_inputs() -> None:
    legacy = made(encoders=prisms(5), choose=2, sigma=0.2, legacy=True)
    assert not legacy.stochastic
    same = X[:1].expand(N, -1, -1, -1)
    found = legacy.suspicion(same, KEYS, ["a plain red"] * N)
    assert torch.allclose(found, found[:1].expand(N), atol=1e-6)
    honest = made(encoders=prisms(5), choose=2, sigma=0.2)
    assert len(honest.suspicion(same, KEYS, ["a plain red"] * N).unique()) > N // 2


def test_encoders_are_as_they_were_after_a_noisy_draw() -> None:
    encoders = prisms()
    bits = [encoder.layer.weight.clone() for encoder in encoders]
    made(encoders=encoders, sigma=0.2).suspicion(X, KEYS, captions(N))
    assert all(torch.equal(encoder.layer.weight, bit) for encoder, bit in zip(encoders, bits, strict=True))


def test_an_empty_caption_is_as_suspicious_as_can_be() -> None:
    texts = [*captions(N - 1), "  "]
    found = made().suspicion(X, KEYS, texts)
    assert float(found[-1]) == MOST
    assert torch.equal(found[:-1], made().suspicion(X[:-1], KEYS[:-1], texts[:-1]))
    assert made().suspicion(X, KEYS, [""] * N).tolist() == [MOST] * N


def test_a_caption_beyond_the_context_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made().suspicion(X[:2], KEYS[:2], ["red", "one two three four five six blue"])
    assert "a part of 1 of 2 captions; the longest has 7 words" in caplog.text


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ("red", "painted NaN or infinite pixels of 'a plain red'"),
        ("crash", "failed to paint .*out of paint"),
        ("short", r"painted \(5, 3, 8, 8\) of 6 text"),
    ],
)
def test_a_painter_that_fails_is_named(spoilt: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"brush {said}"):
        made(painters=Brush(spoilt=spoilt)).suspicion(X, KEYS, captions(N))


def test_lists_of_unequal_length_are_refused() -> None:
    for texts in (captions(N - 1), captions(N + 1), "red"):
        with pytest.raises(InvalidInput, match=f"{N} image.* as many captions"):
            made().suspicion(X, KEYS, texts)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"choose": 4}, "choose=4 of 3 encoder"),
        ({"sigma": -1.0}, "sigma=-1"),
        ({"paintings": 0}, "paintings=0"),
        ({"encoders": []}, "one or more"),
        ({"encoders": (Prism("a"), Prism("a"))}, "each once"),
        ({"encoders": Brush()}, "no embedder"),
        ({"painters": Prism("a")}, "no painter"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        made(**settings)


def zeroshot() -> ZeroShot:
    return ZeroShot(Prism("victim"), COLORS, "a {}")


def defense(**settings: object) -> Guarded:
    given = {"encoders": prisms(), "painters": Brush(), "false_rejection": 0.0, **settings}
    return Guarded(zeroshot(), MirrorCheck(**given))  # type: ignore[arg-type]


def test_the_answer_is_painted_and_rejected_where_the_painting_differs() -> None:
    guarded = defense(threshold=0.5)
    wrong = X.clone()
    decision = guarded.decide(X, KEYS)
    texts = [f"a {COLORS[answer]}" for answer in decision.answer]
    assert guarded.detector is not None
    assert torch.equal(decision.suspicion, guarded.detector.suspicion(X, KEYS, texts))
    assert torch.equal(decision.accepted, decision.suspicion <= 0.5)
    strict = defense(threshold=float(decision.suspicion.median()))
    assert 0 < int(strict.decide(wrong, KEYS).accepted.sum()) < N


def test_the_threshold_is_conformal_on_the_clean_scores() -> None:
    guarded = defense(false_rejection=0.2, calibrate_on="scenes:calibration", calibrate_samples=24)
    source = guarded.calibration
    assert source is not None
    keys = Keys.of(0, source.ids).fold("calibrate")
    rows = torch.tensor(keys.order()[:24])
    x = source.read(rows.tolist(), None).images
    scores = guarded.suspicion(x, keys[rows])
    assert guarded.threshold == pytest.approx(float(scores.sort().values[19]), abs=1e-6)


def test_too_few_clean_images_say_how_many_are_needed() -> None:
    with pytest.raises(InvalidInput, match="needs 99 clean samples or more.*gives 40"):
        defense(false_rejection=0.01, calibrate_samples=40)


def test_the_gradient_climbs_acceptance() -> None:
    """The slope of the acceptance along its gradient is the gradient's length."""
    guarded = defense(threshold=0.3)
    x = X.clone().requires_grad_()
    seen = guarded.surrogate(x, KEYS)
    assert seen.acceptance is not None
    (grad,) = torch.autograd.grad(seen.acceptance.sum(), x)
    step = 1e-3 * grad / grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    with torch.no_grad():
        ahead, behind = (guarded.surrogate(X + way * step, KEYS).acceptance for way in (1, -1))
    rise = (ahead - behind)[:, 0] / 2e-3  # type: ignore[operator]
    assert torch.allclose(rise, grad.flatten(1).norm(dim=1), rtol=0.05)


def test_draws_of_a_surrogate_are_fresh_ones() -> None:
    seen = defense(sigma=0.3).surrogate(X, KEYS, draws=4)
    assert seen.acceptance is not None
    assert seen.acceptance.shape == (N, 4)
    assert all(len(row.unique()) > 1 for row in seen.acceptance)
    assert defense().surrogate(X, KEYS, draws=4).acceptance.shape == (N, 1)  # type: ignore[union-attr]


def test_an_untargeted_attack_meets_its_rejection() -> None:
    usual = defense().decide(X, KEYS).suspicion
    guarded = defense(threshold=float(usual.median()) + 1e-5)
    truth = torch.tensor([COLORS.index(name) for name, _ in paint(N)])
    objective = UntargetedObjective(goal=Untargeted(truth=(truth + 1) % 6), victim=guarded)
    accepted = guarded.decide(X, KEYS).accepted
    assert 0 < int(accepted.sum()) < N
    assert torch.equal(objective(X, KEYS).success, accepted)


def test_it_is_a_defense_like_the_others() -> None:
    settings = {
        "encoders": "scenes:clip,scenes:clip-vit",
        "painters": "scenes:painter-grammar",
        "calibrate_samples": "30",
        "choose": "1",
    }
    guarded = Guarded(zeroshot(), registry.build("defense", "mirrorcheck", settings))
    assert [part.name for part in guarded.parts] == [
        "victim",
        "scenes:clip",
        "scenes:clip-vit",
        "scenes:painter-grammar",
    ]
    assert guarded.stochastic
    with pytest.raises(InvalidInput, match="no {} where the class goes"):
        defense(prompt="a color")


def test_what_says_nothing_is_refused_before_anything_is_calibrated() -> None:
    embedder = load("scenes:clip")
    for made in (MirrorCheck(calibrate_samples=30), Stack(stack=["jpeg", "mirrorcheck"], calibrate_samples=100)):
        with pytest.raises(InvalidInput, match="scenes:clip says nothing"):
            Guarded(embedder, made)
