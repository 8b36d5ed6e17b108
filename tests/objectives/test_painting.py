"""A detector with a gradient through its painting: its value, its slope, and an attack on it."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secondlook.attacks.base import input_gradient
from secondlook.attacks.pgd import PGD
from secondlook.defenses.mirrorcheck import RegenerationDetector, regeneration_detector
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.objectives.caption import TargetedCaption, UntargetedCaption
from secondlook.objectives.evasion import DetectorEvasion
from secondlook.objectives.painting import ThroughPainting
from secondlook.randomness import Keys
from secondlook.scenes.models.captioner import CaptionerNetwork, SceneCaptioner
from secondlook.scenes.models.grammar_painter import GrammarPainter
from secondlook.scenes.models.painter import PainterNetwork, ScenePainter
from secondlook.scenes.tokenizer import BOS, PAD, UNK, Tokenizer
from secondlook.threat import Threat
from tests.models.test_captioner import Colors

KEYS = Keys.of(0, range(3))
SAID = ("a red circle", "a large blue star on the left by itself", "ring")


class Left(Embedder):
    """What is on the left half, through a random matrix; a color by its name."""

    def __init__(self, seed: int) -> None:
        self.name = f"left {seed}"
        draws = Keys.of(seed, ["left"]).normal((3 * 8 * 8, 5))[0]
        self.layer = nn.Linear(3 * 8 * 8, 5, bias=False).requires_grad_(False)
        self.layer.weight.copy_(draws.T / 10)
        self.modules = (self.layer,)

    def encode_image(self, x: Tensor) -> Tensor:
        tiles = x[..., :32].unflatten(-1, (8, 4)).unflatten(-3, (8, 8)).mean((-1, -3))
        out: Tensor = self.layer(tiles.flatten(1) - 0.5)
        return out

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        raise NotImplementedError


def scene_models() -> tuple[SceneCaptioner, ScenePainter]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teller = CaptionerNetwork(vocabulary=Tokenizer().size, width=16)
        nn.init.normal_(teller.head.weight)
        teller.head.bias.data[[PAD, BOS, UNK]] = -100
        hand = PainterNetwork(vocabulary=Tokenizer().size, width=16, words=16, depth=2)
        nn.init.normal_(hand.leave.weight)
        nn.init.normal_(hand.words.weight)
    frozen = [net.eval().requires_grad_(False) for net in (teller, hand)]
    return SceneCaptioner("c", frozen[0]), ScenePainter("p", frozen[1])


def through(**settings: Any) -> ThroughPainting:
    captioner, painter = scene_models()
    plain = {"captioner": captioner, "painter": painter, "encoders": (Left(0), Left(1)), "steps": 2}
    return ThroughPainting(**{**plain, **settings})


def painted_by(detector: ThroughPainting) -> RegenerationDetector:
    return regeneration_detector(
        encoders=detector.encoders,
        painters=detector.painter,
        steps=detector.steps,
        paintings=detector.paintings,
        seed=detector.seed,
        guidance=detector.guidance,
    )


def images(n: int = 3) -> Tensor:
    return Keys.of(1, range(n)).uniform((3, 64, 64)) * 0.8 + 0.1


@pytest.mark.parametrize("settings", [{}, {"paintings": 2, "seed": 4}, {"guidance": 1.0}])
def test_a_sharp_one_is_as_suspicious_as_the_detector(settings: dict[str, Any]) -> None:
    """To the 8 bits of its paintings: the same noise, the same words, the same encoders."""
    detector, x = through(sharp=True, **settings), images()
    own = painted_by(detector)
    assert torch.allclose(detector.suspicion(x, KEYS, SAID), own.suspicion(x, KEYS, SAID), atol=1e-2)
    now = detector.captioner.caption(x, KEYS, length=40)
    heard = detector.suspicion(x, KEYS)
    assert torch.allclose(heard, own.suspicion(x, KEYS, now), atol=1e-2)
    assert not torch.allclose(heard, detector.suspicion(x, KEYS, SAID), atol=5e-2)


def test_what_is_wanted_is_painted_as_the_captioner_would_write_it() -> None:
    detector, x = through(sharp=True), images(1)
    loud = detector.suspicion(x, KEYS[:1], ["A red circle; on the left!"])
    assert torch.equal(loud, detector.suspicion(x, KEYS[:1], ["a red circle on the left"]))


def test_a_soft_one_paints_what_is_likely() -> None:
    """Certain chances are the sharp caption; others are another painting."""
    soft, sharp, x = through(), through(sharp=True), images()
    assert not torch.allclose(*(each.suspicion(x, KEYS, SAID) for each in (soft, sharp)), atol=1e-3)
    now = soft.captioner.caption(x, KEYS, length=40)
    ended = soft.captioner.score_texts(x, [(text,) for text in now]).greedy[:, 0]
    assert bool(ended.any())
    for part in soft.captioner.network.head.parameters():  # type: ignore[attr-defined]
        part.mul_(1e4)
    certain = [each.suspicion(x, KEYS, now)[ended] for each in (soft, sharp)]
    assert torch.allclose(*certain, atol=1e-4)


def test_the_gradient_through_the_painting_is_the_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Central differences in fp64 on the half that the encoders do not see."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    detector = through()
    for module in detector.modules:
        module.double()
    x = images(2).double().requires_grad_()
    away = Keys.of(2, range(2)).normal((3, 64, 64), like=x)
    away[..., :32] = 0
    (slope,) = torch.autograd.grad(detector.suspicion(x, KEYS[:2], SAID[:2]).sum(), x)
    with torch.no_grad():
        rise, fall = (detector.suspicion(x + h * away, KEYS[:2], SAID[:2]) for h in (1e-5, -1e-5))
    wanted = (rise - fall) / 2e-5
    assert float(wanted.abs().min()) > 0
    assert torch.allclose((slope * away).flatten(1).sum(1), wanted, rtol=1e-4)


@pytest.mark.parametrize("sharp", [False, True])
def test_it_sees_where_the_precomputed_painting_is_blind(sharp: bool) -> None:
    """Half of the image is in no encoder's sight: only what is said feels it."""
    detector = through(sharp=sharp)
    known = {
        "goal": TargetedCaption(captioner=detector.captioner, texts=tuple((t,) for t in SAID)),
        "captions": SAID,
        "threshold": 0.0,
    }
    both = [
        input_gradient(DetectorEvasion(detector=each, weight=weight, **known), images(), KEYS)[0]
        for each in (painted_by(detector), detector)
        for weight in (0.0, 1.0)
    ]
    fixed, followed = both[1] - both[0], both[3] - both[2]
    assert not bool(fixed[..., 32:].any()) and bool(fixed[..., :32].any())
    assert bool(followed[..., 32:].flatten(1).any(1).all())


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize("said", [SAID, ()])
def test_a_sample_is_judged_alone_as_among_others(sharp: bool, said: tuple[str, ...]) -> None:
    detector, x = through(sharp=sharp, paintings=2), images()
    goal = UntargetedCaption(captioner=detector.captioner, texts=tuple((text,) for text in SAID))
    goal = DetectorEvasion(goal=goal, detector=detector, captions=said, threshold=0.1, weight=2.0)
    gradient, whole = input_gradient(goal, x, KEYS)
    for row in range(3):
        rows = torch.tensor([row])
        alone, evaluation = input_gradient(goal.take(rows), x[rows], KEYS[rows])
        assert torch.allclose(evaluation.loss, whole.loss[rows], atol=1e-4)
        assert torch.allclose(alone, gradient[rows], atol=1e-3 * float(gradient.abs().max()))


@pytest.mark.parametrize("said", [SAID, ()])
def test_an_attack_lowers_the_suspicion(said: tuple[str, ...]) -> None:
    detector, x, threat = through(sharp=True), images(), Threat.parse("linf", "16/255")
    kind, aims = (TargetedCaption, SAID) if said else (UntargetedCaption, ("a",) * 3)
    goal = kind(captioner=detector.captioner, texts=tuple((text,) for text in aims))
    goal = DetectorEvasion(
        goal=goal, detector=detector, captions=said, threshold=0.0, weight=100.0, networks=detector.modules
    )
    found = PGD(steps=6, random_start=False, keep_best=False)(goal, x, threat, KEYS).x
    own = painted_by(detector)
    before, after = (
        own.suspicion(each, KEYS, said or detector.captioner.caption(each, KEYS, length=40)) for each in (x, found)
    )
    assert float((after - before).max()) < 0


def test_an_image_of_which_nothing_is_said_is_as_suspicious_as_can_be() -> None:
    detector = through()
    found = detector.suspicion(images(), KEYS, ["ring", " ", "ring"])
    assert found[1] == 2 and bool((found[[0, 2]] < 2).all())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"painter": GrammarPainter("grammar")}, "grammar passes no gradient.*scenes:painter"),
        ({"captioner": Colors()}, "colors and p number their words differently"),
        ({"encoders": ()}, "0 encoder"),
        ({"paintings": 0}, "paintings=0"),
        ({"steps": -1}, "-1"),
    ],
)
def test_what_does_not_fit_is_told(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        through(**settings)


def test_captions_are_one_for_each_image() -> None:
    for captions in (SAID[:2], "a red circle"):
        with pytest.raises(InvalidInput, match="3 image"):
            through().suspicion(images(), KEYS, captions)
