"""Adaptations: each of the three forms has both gradients, feels no neighbor, and hands the model back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import differentiate
from secondlook.attacks.synthesis import Synthesis
from secondlook.data import load as load_data
from secondlook.defenses.adaptation import (
    LatentAdaptation,
    PixelAdaptation,
    ViewAdaptation,
    Weighed,
    answering,
    embedder_of,
    slope,
    zero_shot,
)
from secondlook.defenses.base import Adaptation, Adapted, Defense, Gradient
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Classifier, Model
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import LinearClassifier, MoodyClassifier, directions, images
from tests.closeness import same
from tests.models.test_captioner import Colors
from tests.tiny import COLORS, eye

X = images(6)
KEYS = Keys.of(0, range(6))
GRADIENTS: tuple[Gradient, ...] = ("full", "bpda")


def zero() -> ZeroShot:
    return ZeroShot(eye(), COLORS)


class Up(PixelAdaptation):
    """One signed step away from where the image lies."""

    unrolls = False

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        assert isinstance(self.model, Classifier)
        model = self.model
        ascent = slope(lambda seen: model(seen).logsumexp(1), x)
        return (x + ascent.sign() * (1 + keys.uniform((1, 1, 1))) / 255).clamp(0, 1)


class Nearer(LatentAdaptation):
    """Half a normalized step towards the color red, which has a derivative of its own."""

    def purified(self, vectors: Tensor, keys: Keys) -> Tensor:
        red = torch.tensor([1.0, 0.0, 0.0])
        return F.normalize(vectors + 0.5 * F.normalize(slope(lambda z: (z * red).sum(1) ** 3, vectors), dim=-1), dim=-1)


class Brighter(ViewAdaptation):
    """Three views, weighted by their lead, with the classes turned for each image."""

    def views(self, x: Tensor, keys: Keys) -> Tensor:
        return torch.stack([x, x.flip(-1) * 0.9, x.roll(1, 1) * 0.5], 1)

    def weighed(self, vectors: Tensor, keys: Keys) -> Weighed:
        scores = vectors @ zero().texts.T
        turned = zero().texts + 0.1 * vectors[:, :1]
        return Weighed((3 * scores.amax(-1)).softmax(1), F.normalize(turned, dim=-1))


@dataclass(frozen=True, kw_only=True)
class Adapting(Defense):
    """Puts a form in front of a model."""

    form: Callable[[Model], Adaptation]
    stochastic = False

    def adaptation(self, model: Model) -> Adaptation:
        return self.form(answering(model, "adapting"))


def guarded(form: Callable[..., Adaptation]) -> Guarded:
    return Guarded(LinearClassifier(directions(3)) if form is Up else zero(), Adapting(form=form))


def gradient(victim: Guarded, manner: Gradient) -> Tensor:
    x = X.clone().requires_grad_()
    return differentiate(victim.surrogate(x, KEYS, gradient=manner).scores[:, 0, 0], x)


@pytest.mark.parametrize("form", [Up, Nearer, Brighter])
def test_the_surrogate_says_what_is_decided_in_either_manner(form: type[Adaptation]) -> None:
    victim = guarded(form)
    decided = victim.decide(X, KEYS)
    for manner in GRADIENTS:
        seen = victim.surrogate(X, KEYS, gradient=manner)
        assert same(seen.scores[:, 0], decided.scores)
        assert same(seen.features[:, 0], decided.features)
    assert not same(decided.scores, victim.undefended.decide(X, KEYS).scores)
    assert not victim.bare and victim.adapts and victim.undefended.bare


@pytest.mark.parametrize("form", [Up, Nearer, Brighter])
def test_nobody_feels_a_neighbor(form: type[Adaptation]) -> None:
    victim, rows = guarded(form), torch.tensor([4, 0])
    assert same(victim.decide(X[rows], KEYS[rows]).scores, victim.decide(X, KEYS).scores[rows])
    alone = gradient(victim, "full")[rows]
    x = X[rows].clone().requires_grad_()
    assert same(alone, differentiate(victim.surrogate(x, KEYS[rows]).scores[:, 0, 0], x))


@pytest.mark.parametrize("form", [Nearer, Brighter])
def test_the_full_gradient_is_that_of_the_whole_and_the_other_is_not(form: type[Adaptation]) -> None:
    victim = guarded(form)
    x, towards = X.clone(), directions(6)
    step = 1e-3 * towards

    def score(at: Tensor) -> Tensor:
        return victim.surrogate(at, KEYS).scores[:, 0, 0]

    change = (score(x + step) - score(x - step)).detach() / 2e-3
    x.requires_grad_()
    full = differentiate(score(x), x)
    assert torch.allclose((full * towards).flatten(1).sum(1), change, rtol=1e-2, atol=1e-3)
    past = gradient(victim, "bpda")
    assert not torch.allclose((past * towards).flatten(1).sum(1), change, rtol=3e-2, atol=3e-3)


def test_a_sign_step_has_no_derivative_of_its_own() -> None:
    victim = guarded(Up)
    x = X.clone().requires_grad_()
    assert isinstance(victim.model, Classifier) and isinstance(victim.adaptation, Up)
    unrolled = differentiate(victim.model(victim.adaptation.counter(x, KEYS))[:, 0], x)
    assert same(gradient(victim, "full"), unrolled)
    assert torch.equal(gradient(victim, "full"), gradient(victim, "bpda"))


class Sharper(PixelAdaptation):
    """One step of a normalized gradient, whose derivative goes twice through the attention of a transformer."""

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        embedder = embedder_of(self.model, "sharper")
        down = slope(lambda seen: embedder.embed(seen).pow(4).sum(1), x)
        return x + down / down.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def test_a_loop_is_unrolled_through_a_transformer() -> None:
    victim = Guarded(load("scenes:clip-vit"), Adapting(form=Sharper))
    x = 0.8 * load_data("scenes:test").read([0], None).images + 0.1
    towards, keys = Keys.of(1, [0]).normal(x.shape[1:]), KEYS[:1]

    def score(at: Tensor, manner: Gradient = "full") -> Tensor:
        return victim.surrogate(at, keys, gradient=manner).scores[:, 0, :8].sum(1)

    change = float((score(x + 2e-3 * towards) - score(x - 2e-3 * towards)).detach()) / 4e-3
    x.requires_grad_()
    full, past = (float((differentiate(score(x, manner), x) * towards).sum()) for manner in GRADIENTS)
    assert full == pytest.approx(change, rel=0.1)
    assert past != pytest.approx(change, rel=0.2)


def test_an_embedder_s_vectors_are_adapted_as_well() -> None:
    victim = Guarded(eye(), Adapting(form=Nearer))
    named = guarded(Nearer)
    assert same(victim.decide(X, KEYS).scores, named.decide(X, KEYS).features)
    through = victim.embedder()
    assert same(through.embed(X), victim.decide(X, KEYS).scores)
    assert through.name == "tiny:eye"


@dataclass(frozen=True, kw_only=True)
class Drawn(Adapting):
    """Votes of dim views, each of which is adapted to on its own."""

    stochastic = True
    count = 3

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        return x * (0.5 + 0.5 * keys.uniform((1, 1, 1)))


def test_every_view_of_a_transform_is_adapted_to_with_draws_of_its_own() -> None:
    victim = Guarded(LinearClassifier(directions(3)), Drawn(form=Up))
    seen = victim.decide(X, KEYS)
    assert seen.votes.sum(1).tolist() == [3] * 6
    four = victim.surrogate(X, KEYS, draws=4)
    assert all(len(row.unique()) == 4 for row in four.scores[..., 0])
    first = victim.surrogate(X, KEYS, draws=1)
    assert same(first.scores, four.scores[:, :1])


def test_the_manners_of_an_attacker_are_those_of_any_defense() -> None:
    objective = UntargetedObjective(goal=Untargeted(truth=torch.zeros(6).long()), victim=guarded(Nearer))
    assert list(objective.manners(False, KEYS)) == ["bare", "as-is", "straight-through"]
    assert list(replace(objective, gradient="bpda").manners(False, KEYS)) == ["bare", "as-is"]


class Restored(PixelAdaptation):
    """Shows a gray image in place of one that is darker than it; what is bright passes as it is."""

    unrolls = False
    jitter = 0.02

    def gate(self, x: Tensor, keys: Keys) -> Tensor:
        return x.flatten(1).mean(1) - 0.5 + self.jitter * (keys.uniform((1,))[:, 0] - 0.5)

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        return torch.where(self.gate(x, keys).view(-1, 1, 1, 1) < 0, 0.5, x)


class Still(Restored):
    """Its gate draws nothing."""

    jitter = 0.0


@dataclass(frozen=True, kw_only=True)
class Restoring(Adapting):
    """Puts it in front of a model; the gate draws."""

    stochastic = True


def test_a_gate_is_climbed_past_as_a_rejection_of_the_bare_model() -> None:
    model = LinearClassifier(directions(3))
    victim = Guarded(model, Restoring(form=Restored))
    objective = UntargetedObjective(goal=Untargeted(truth=model(X).argmax(1)), victim=victim)
    assert list(objective.manners(False, KEYS)) == ["bare", "as-is", "straight-through", "past the gate"]
    assert not guarded(Up).gated and victim.gated
    x = X.clone().requires_grad_()
    seen = victim.past_gate.surrogate(x, KEYS, draws=3)
    assert seen.acceptance is not None and seen.acceptance.shape == (6, 3)
    assert all(len(row.unique()) == 3 for row in seen.acceptance)
    told = torch.stack([Restored(model).gate(X, KEYS.repeat(3, 0)[at::3].fold("adapt")) for at in range(3)], 1)
    assert same(seen.acceptance, told)
    assert same(seen.scores[:, 0], model(X))
    assert torch.allclose(differentiate(seen.acceptance.mean(1), x), torch.full_like(x, 1 / 48))


def test_synthesis_takes_by_the_gate_what_no_other_gradient_sees() -> None:
    """Red has to go down, which shuts the gate; blue, of which the classes know nothing, opens it again."""
    clean = torch.tensor([0.505, 1.0, 0.0]).view(1, 3, 1, 1).expand(4, 3, 4, 4).contiguous()
    lead = torch.stack([torch.full((4, 4), -1.75), torch.full((4, 4), 0.86), torch.zeros(4, 4)])
    model = LinearClassifier(torch.stack([torch.zeros_like(lead), lead]))
    objective = UntargetedObjective(
        goal=Untargeted(truth=torch.zeros(4).long()), victim=Guarded(model, Adapting(form=Still))
    )
    found = Synthesis(steps=15)(objective, clean, Threat(eps=8 / 255), KEYS[:4])
    assert found.by is not None
    by = [found.members[at] for at in found.by.tolist() if at >= 0]
    assert len(by) == 4 and by.count("past the gate") >= 2, by


# --- what may not be left behind ------------------------------------------------------------------


def shifted(network: nn.Module) -> None:
    next(network.parameters()).data.add_(0.1)


def tuned(network: nn.Module) -> None:
    with torch.no_grad():
        next(network.parameters()).add_(0.1)


def backward(network: nn.Module) -> None:
    with torch.enable_grad():
        network(X).sum().backward()


def training(network: nn.Module) -> None:
    network.train()


def hooked(network: nn.Module) -> None:
    network.register_forward_hook(lambda *_: None)


def frozen(network: nn.Module) -> None:
    network.requires_grad_(False)


def put_back(network: nn.Module) -> None:
    weight = next(network.parameters())
    kept = weight.detach().clone()
    shifted(network)
    weight.data.copy_(kept)


class Careless(Adaptation):
    """Does something to the model, and answers zeros."""

    def __init__(self, model: Model, does: Callable[[nn.Module], object], fill: float = 0.0) -> None:
        self.model, self.does, self.fill = model, does, fill

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        self.does(self.model.modules[0])
        return Adapted(x.new_zeros(len(x), 3), x.new_full((len(x), 3), self.fill))


def careless(does: Callable[[nn.Module], object], fill: float = 0.0) -> Guarded:
    return Guarded(MoodyClassifier(), Adapting(form=lambda model: Careless(model, does, fill)))


@pytest.mark.parametrize("does", [shifted, tuned, backward, training, hooked, frozen])
def test_a_model_that_is_handed_back_changed_is_noticed(does: Callable[[nn.Module], object]) -> None:
    with pytest.raises(InvalidInput, match=r"the defense Adapting leaves .* of the model changed; work on a copy"):
        careless(does).decide(X, KEYS)


def test_what_is_put_back_is_nobody_s_business() -> None:
    assert careless(put_back).decide(X, KEYS).scores.shape == (6, 3)


def test_draws_of_the_global_generator_and_what_is_no_number_are_refused() -> None:
    with pytest.raises(InvalidInput, match="draws from torch's global generator"):
        careless(lambda _: torch.rand(1)).decide(X, KEYS)
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        careless(lambda _: None, float("nan")).decide(X, KEYS)


def test_losses_must_be_one_for_each_sample_and_depend_on_what_is_moved() -> None:
    with pytest.raises(InvalidInput, match=r"the loss of an adaptation is \(\) for 6 samples"):
        slope(lambda x: x.sum(), X)
    with pytest.raises(InvalidInput, match="has no gradient"):
        slope(lambda x: x.detach().flatten(1).sum(1), X)


def test_models_that_do_not_fit_are_told() -> None:
    linear = LinearClassifier(directions(3))
    with pytest.raises(InvalidInput, match="ttc works with the vectors of an embedder, and linear has none"):
        embedder_of(linear, "ttc")
    with pytest.raises(InvalidInput, match="rtpt works with the vectors of classes, and tiny:eye has none"):
        zero_shot(eye(), "rtpt")
    with pytest.raises(InvalidInput, match="adapting works with scores or vectors, and colors has neither"):
        Guarded(Colors(), Adapting(form=Nearer))
