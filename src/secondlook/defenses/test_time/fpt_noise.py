"""After FPT-Noise: noise as strong as an image needs it, where its vector hardly feels a little of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.bounds import Natural, Positive, Weight
from secondlook.defenses.adaptation import answering, embedder_of, scores_of
from secondlook.defenses.base import Adaptation, Adapted, Defense, Gradient
from secondlook.defenses.test_time.gates import gated, soft_gate
from secondlook.defenses.test_time.tte import TTE
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.purifiers.soft import straight_through
from secondlook.randomness import Keys
from secondlook.registry import register


class MeasuredNoise(Adaptation):
    """The image's own vector, or the mean over views of it with noise.

    Args:
        model: who answers.
        embedder: whose vectors are looked at.
        settings: of the defense.
    """

    def __init__(self, model: Classifier | Embedder, embedder: Embedder, settings: FPTNoise) -> None:
        self.model, self.embedder, self.settings = model, embedder, settings
        self.looks = TTE(crops=settings.crops, flip=True).looks

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """What the model says of the vector; past the work, gate and noise are constants."""
        noise = drawn_noise(x, keys)
        own = self.embedder.embed(x)
        if gradient == "full":
            rate = self.rate(x, noise)
        else:
            with torch.no_grad():
                rate = self.rate(x.detach(), noise)
        shown = self.with_noise(x, noise, rate, gradient)
        views = torch.stack([look(shown) for look in self.looks], 1)
        mean = self.embedder.embed(views.flatten(0, 1)).unflatten(0, (len(x), -1)).mean(1)
        found = gated(soft_gate(self.settings.stable_below - rate), mean, own)
        return Adapted(found, scores_of(self.model, found))

    def gate(self, x: Tensor, keys: Keys) -> Tensor:
        """How much further a little noise moves the vector than what counts as attacked, ``[B]``."""
        return self.rate(x, drawn_noise(x, keys)) - self.settings.stable_below

    def rate(self, x: Tensor, noise: Tensor) -> Tensor:
        """How far a little noise moves the vector, as a share of its length, ``[B]``."""
        own = self.embedder.raw_vectors(x)
        moved = self.embedder.raw_vectors((x + self.settings.probe * noise).clamp(0, 1)) - own
        share: Tensor = (moved.square().sum(1) + 1e-20).sqrt() / own.norm(dim=1).clamp_min(1e-12)
        return share

    def with_noise(self, x: Tensor, noise: Tensor, rate: Tensor, gradient: Gradient) -> Tensor:
        """The image with noise: the most where nothing is felt, the least at the threshold."""
        settings = self.settings
        lack = (1 - rate / settings.stable_below).clamp(0, 1)
        strength = settings.weakest + (settings.strongest - settings.weakest) * lack
        found = (x + strength.view(-1, 1, 1, 1) * noise).clamp(0, 1)
        return found if gradient == "full" else straight_through(x, found.detach())


def drawn_noise(x: Tensor, keys: Keys) -> Tensor:
    """Uniform noise from -1 to 1, of the shape of ``x``."""
    return 2 * keys.fold("noise").uniform(x.shape[1:], like=x) - 1


@register("defense", "fpt-noise")
@dataclass(frozen=True, kw_only=True)
class FPTNoise(Defense):
    """Adds noise to an image whose vector hardly feels it, and averages views (after FPT-Noise, arXiv 2510.20856).

    No code was public: what the abstract says is built, and its numbers are ours. Where a little
    uniform noise moves the vector by less than a share of its length, the image counts as attacked;
    noise of a strength of its own is added, and the answer is the mean over TTE's views. Any other
    image is answered for as it is. It costs ``2 * crops + 5`` forwards.

    Attributes:
        probe: of the noise that tells attacked images, L∞ in pixel units.
        stable_below: the share of its length by which it moves a vector that is not attacked, at least.
        weakest: noise of an image at the threshold, L∞ in pixel units.
        strongest: noise of one whose vector does not move at all.
        crops: of the ensemble, each with its mirror image.

    Raises:
        InvalidInput: a number out of range, strengths the wrong way round, or, in front of a model,
            no embedder.
    """

    probe: Positive = 4 / 255
    stable_below: Positive = 0.2
    weakest: Weight = 4 / 255
    strongest: Weight = 16 / 255
    crops: Natural = 4
    stochastic = True

    def __post_init__(self) -> None:
        if self.weakest > self.strongest:
            raise InvalidInput(f"weakest={self.weakest:g} is above strongest={self.strongest:g}; exchange them")

    def adaptation(self, model: Model) -> MeasuredNoise:
        """The noise in front of the embedder of ``model``."""
        return MeasuredNoise(answering(model, "fpt-noise"), embedder_of(model, "fpt-noise"), self)
