"""TAPT: prompts of both towers, trained against attacks, and tuned to an image's views and to stored statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from secondlook.bounds import Share, Weight
from secondlook.defenses.adaptation import slope, zero_shot
from secondlook.defenses.base import Adaptation, Adapted, Gradient
from secondlook.defenses.test_time.crops import resized_crops
from secondlook.defenses.test_time.dbd import entropy
from secondlook.defenses.test_time.image_tokens import OpenTower
from secondlook.defenses.test_time.learned import Learned, learned
from secondlook.defenses.test_time.prompts import OpenPrompt, PromptTuning, template_of
from secondlook.defenses.test_time.tpt import shared_entropy
from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register

DEPTH: Final = 9
"""Blocks of the image tower that are shown tokens, where there are so many."""
TOKENS: Final = 2
"""Further tokens of each of them."""


class Prompts(nn.Module):
    """Prompts of both towers, and what layers say of images that they were trained on.

    Args:
        context: the token vectors of the text's context, ``[m, W]``.
        tokens: the further tokens of the image tower's blocks, ``[L, n, V]``.

    Attributes:
        clean: mean and variance of each block's channels over clean images, ``[L, 2, V]``.
        attacked: the same of attacked ones.
    """

    def __init__(self, context: Tensor, tokens: Tensor) -> None:
        super().__init__()
        self.context, self.tokens = (nn.Parameter(each.clone()) for each in (context, tokens))
        self.clean: Tensor
        self.attacked: Tensor
        for name in ("clean", "attacked"):
            self.register_buffer(name, torch.zeros(len(tokens), 2, tokens.shape[-1]))


class _Tuned(NamedTuple):
    """Prompts of some images.

    Attributes:
        context: ``[B, m, W]``.
        tokens: ``[B, L, n, V]``.
    """

    context: Tensor
    tokens: Tensor


class AlignedPrompts(Adaptation):
    """One step of AdamW on the prompts of both towers, down entropy and distance to stored statistics.

    The first step of Adam is the learning rate times a sign, whose derivative is 0: the tuned prompts
    are constants in every manner, and the gradient is that of the towers behind them.

    Args:
        model: who answers.
        settings: of the defense.
        prompts: what it begins with.
        name: of the prompts, in a report.
    """

    def __init__(self, model: ZeroShot, settings: TAPT, prompts: Prompts, name: str) -> None:
        self.model, self.settings = model, settings
        self.learned = Learned(name, prompts)
        self.start = prompts
        template = template_of(model, settings.prompt)
        self.prompt = OpenPrompt(model.embedder, model.classes, template, settings.registered_name)
        self.tower = OpenTower(model.embedder, len(prompts.tokens), settings.registered_name)
        found, wanted = (self.prompt.start.shape, self.tower.depth), (prompts.context.shape, len(prompts.tokens))
        if found != wanted or self.tower.width != prompts.tokens.shape[-1]:
            raise InvalidInput(
                f"the prompts of {name} have {len(prompts.context)} tokens before the class and "
                f"{len(prompts.tokens)} blocks, and prompt={template!r} of {model.name} has {len(self.prompt.start)} "
                f"and {self.tower.depth}; write the prompt that they were trained in"
            )

    @property
    def parts(self) -> tuple[Model, ...]:
        """The prompts that it begins with."""
        return (self.learned,)

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """The scores of the image itself under its own prompts."""
        with torch.no_grad():
            tuned = self.tuned(x.detach(), keys)
            classes = self.prompt.vectors(tuned.context)
        with self.tower.shown(tuned.tokens):
            features = self.model.embedder.embed(x)
        return Adapted(features, (classes.to(features) @ features[..., None])[..., 0])

    def tuned(self, x: Tensor, keys: Keys) -> _Tuned:
        """The prompts after the step; those before it where there is no rate."""
        start = torch.cat([self.start.context.flatten(), self.start.tokens.flatten()]).to(x)
        if not self.settings.rate:
            return self._parts(start.expand(len(x), -1))
        crops = resized_crops(x, keys.fold("crops"), self.settings.crops, self.settings.least, flip=True)
        steps = [self._step(start[None], views) for views in torch.cat([x[:, None], crops], 1)]
        return self._parts(torch.cat(steps))

    def _step(self, start: Tensor, views: Tensor) -> Tensor:
        """One image's, of its views ``[V, C, H, W]``."""
        down = slope(lambda at: self.loss(self._parts(at), views), start)
        rate, decay = self.settings.rate, self.settings.decay
        return start * (1 - rate * decay) - rate * down.sign()

    def loss(self, prompts: _Tuned, views: Tensor) -> Tensor:
        """What the step descends for one image, ``[1]``."""
        with self.tower.shown(prompts.tokens) as layers:
            vectors = self.model.embedder.embed(views)
        logits = vectors @ self.prompt.vectors(prompts.context)[0].T / self.settings.temperature
        clearest = entropy(logits.detach()).topk(self.settings.kept, largest=False).indices
        doubt = shared_entropy(logits[clearest][None])
        return doubt + self.settings.weight * self.misfit(statistics(layers)) if self.settings.weight else doubt

    def misfit(self, found: Tensor) -> Tensor:
        """How far statistics ``[L, 2, V]`` are from the stored ones, those of attacked images and of clean ones."""
        share = self.settings.attacked
        return share * distance(found, self.start.attacked) + (1 - share) * distance(found, self.start.clean)

    def _parts(self, flat: Tensor) -> _Tuned:
        size = self.start.context.numel()
        context = flat[:, :size].unflatten(1, self.start.context.shape)
        return _Tuned(context, flat[:, size:].unflatten(1, self.start.tokens.shape))


def statistics(layers: list[Tensor]) -> Tensor:
    """Mean and variance of each channel over images and tokens, ``[N, T, V]`` each, ``[L, 2, V]``."""
    flat = [layer.flatten(0, 1) for layer in layers]
    return torch.stack([torch.stack([each.mean(0), each.var(0, correction=0)]) for each in flat])


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """The L1 distance of statistics ``[L, 2, V]``, half of means and half of variances, summed over layers.

    Example:
        >>> float(distance(torch.tensor([[[1.0, 3.0], [0.0, 2.0]]]), torch.zeros(1, 2, 2)))
        1.5
    """
    return (found - wanted.to(found)).abs().mean((1, 2)).sum()


@register("defense", "tapt")
@dataclass(frozen=True, kw_only=True)
class TAPT(PromptTuning):
    """Tunes trained prompts of both towers to an image's views and to stored statistics (*after* TAPT, CVPR 2025).

    The prompts were trained against attacks, on a few images of each class. One step of AdamW descends
    the entropy of what the clearest views say together, and the distance of the layers' statistics over
    all views to those of clean and of attacked images. The image itself is then answered for. It costs
    ``crops + 2`` forwards of the image tower and ``crops + 1`` backwards, which end at the tokens, and of
    the text tower two forwards and a backward for each class.

    What the prompts alone do is no merit of the tuning: with ``rate=0`` it is the model under the same
    prompts, and a figure is read beside that row. From the publication it departs in its prompts: of the
    text tower the words before the class are tuned, in the first layer alone, and for ``scenes:`` they
    are trained on scenes. Towers without blocks of tokens are refused.

    Attributes:
        crops, share, least, rate, decay, temperature: see ``PromptTuning``.
        prompt: the template that the prompts were trained in; empty takes the model's own.
        weight: of the distance, summed over the layers.
        attacked: how much the statistics of attacked images count in it; the others are of clean ones.
        prompts: what ``secondlook train prompts:MODEL`` wrote, without its ends; empty takes what the
            package has, which is for ``scenes:clip-vit``.

    Raises:
        InvalidInput: a number out of range, too few views, or, in front of a model, no embedder with
            classes, towers that cannot be tuned, or no prompts for it.
    """

    rate: Weight = 5e-4
    weight: Weight = 100 / 9
    attacked: Share = 0.5
    prompts: str = ""

    @property
    def stochastic(self) -> bool:
        """Without a rate nothing is drawn."""
        return self.rate > 0

    def adaptation(self, model: Model) -> AlignedPrompts:
        """The tuned prompts of a zero-shot classifier."""
        named = zero_shot(model, "tapt")
        OpenTower(named.embedder, DEPTH, "tapt")
        found = learned("prompts", named.embedder, self.prompts)
        prompts = Prompts(found.state["context"], found.state["tokens"])
        prompts.load_state_dict(found.state)
        return AlignedPrompts(named, self, prompts, found.name)
