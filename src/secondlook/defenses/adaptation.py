"""The three forms of an adaptation: other pixels, another latent, weights of views and class vectors.

A defense writes one function of a batch, and the form gives both gradients: the *full* one, which
unrolls whatever loop the function is, and the one *past* it, which takes its outcome for a constant
added to the input (BPDA, Athalye et al. 2018). Inside the function gradients come from
:func:`slope`, which is on the graph where an attacker unrolls, and on none where nobody does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from secondlook.defenses.base import Adaptation, Adapted, Gradient
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.purifiers.soft import straight_through
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys

AT_ONCE = 256
"""Views that go through the model at once where no gradient is wanted."""


class PixelAdaptation(Adaptation):
    """Shows the model other pixels, which it has found with the model's own gradients.

    Attributes:
        unrolls: whether the loop has a derivative of its own. One of sign steps has none, almost
            everywhere: the gradient past it *is* the full one, at half the cost.
    """

    unrolls: ClassVar[bool] = True

    def __init__(self, model: Classifier | Embedder) -> None:
        self.model = model

    @abstractmethod
    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The pixels that the model is shown in place of ``x``, ``[B, C, H, W]`` in [0, 1]."""

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """What the model says of :meth:`counter`."""
        if gradient == "full" and self.unrolls:
            return said(self.model, self.counter(x, keys))
        with torch.no_grad():
            found = self.counter(x.detach(), keys)
        return said(self.model, straight_through(x, found))


class LatentAdaptation(Adaptation):
    """Puts another vector in the place of an image's own; the class vectors stay."""

    def __init__(self, model: Classifier | Embedder) -> None:
        self.model = model

    @abstractmethod
    def purified(self, vectors: Tensor, keys: Keys) -> Tensor:
        """The vectors ``[B, D]`` in place of an image's unit vectors ``[B, D]``."""

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """What the model says of :meth:`purified`."""
        vectors = embedder_of(self.model, type(self).__name__).embed(x)
        if gradient == "full":
            found = self.purified(vectors, keys)
        else:
            with torch.no_grad():
                found = self.purified(vectors.detach(), keys)
            found = straight_through(vectors, found)
        return Adapted(found, scores_of(self.model, found))


class Weighed(NamedTuple):
    """How the vectors of an image's views make its answer.

    Attributes:
        weights: ``[B, V]``; those of a mean sum to 1, those of a correction may be negative.
        classes: the class vectors of each image, ``[B, K, D]``, from prompts tuned for it, say; None
            for the model's own.
    """

    weights: Tensor
    classes: Tensor | None = None


class ViewAdaptation(Adaptation):
    """Weighs the vectors of several views of an image, and may bring class vectors for it alone."""

    def __init__(self, model: Classifier | Embedder) -> None:
        self.model = model

    @abstractmethod
    def views(self, x: Tensor, keys: Keys) -> Tensor:
        """Views of each image, ``[B, V, C, H, W]``, differentiable in ``x`` as far as they can be."""

    @abstractmethod
    def weighed(self, vectors: Tensor, keys: Keys) -> Weighed:
        """What is made of the views' unit vectors ``[B, V, D]``."""

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """The scores of the weighted vectors; past the work, weights and class vectors are constants."""
        views = self.views(x, keys)
        vectors = embedded(embedder_of(self.model, type(self).__name__), views)
        if gradient == "full":
            weights, classes = self.weighed(vectors, keys)
        else:
            with torch.no_grad():
                weights, classes = self.weighed(vectors.detach(), keys)
        features = (weights[..., None] * vectors).sum(1)
        if classes is None:
            return Adapted(features, scores_of(self.model, features))
        return Adapted(features, (classes @ features[..., None])[..., 0])


def slope(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The gradient of each sample's loss to its own part of ``at``, ``[B, ...]``.

    Whoever is beside a sample is not felt, as long as each loss is of its own sample. Where gradients
    are enabled, as they are when an attacker unrolls, it is itself on the graph of all that the loss
    depends on, so that a loop of it has its derivative; parameters get no gradient.

    Args:
        loss: ``[B, ...]`` to losses ``[B]``, one for each sample.
        at: where; pixels, vectors, or whatever is tuned.

    Raises:
        InvalidInput: not one loss for each sample, or one that does not depend on ``at``.
    """
    unrolled = torch.is_grad_enabled()
    # The other kernels of attention have no second derivative.
    kernel = sdpa_kernel(SDPBackend.MATH) if unrolled else nullcontext()
    with torch.enable_grad(), kernel:
        point = at if unrolled and at.requires_grad else at.detach().requires_grad_()
        losses = loss(point)
        if losses.shape != (len(at),):
            raise InvalidInput(
                f"the loss of an adaptation is {tuple(losses.shape)} for {len(at)} samples; return one for each"
            )
        if not losses.requires_grad:
            raise InvalidInput("the loss of an adaptation has no gradient: what it is made of is detached on the way")
        (gradient,) = torch.autograd.grad(losses.sum(), point, create_graph=unrolled)
    return gradient


def said(model: Classifier | Embedder, x: Tensor) -> Adapted:
    """What the model itself says of images."""
    features = model.embed(x) if isinstance(model, Embedder) else model.features(x)
    return Adapted(features, scores_of(model, features))


def scores_of(model: Classifier | Embedder, features: Tensor) -> Tensor:
    """The scores of features ``[..., D]``; an embedder's are the features."""
    return features if isinstance(model, Embedder) else model.scores(features)


def embedded(embedder: Embedder, views: Tensor) -> Tensor:
    """Unit vectors ``[B, V, D]`` of views ``[B, V, C, H, W]``, some at a time where nobody differentiates."""
    flat = views.flatten(0, 1)
    whole = torch.is_grad_enabled() and flat.requires_grad
    parts = [embedder.embed(part) for part in flat.split(len(flat) if whole else AT_ONCE)]
    vectors: Tensor = torch.cat(parts).unflatten(0, views.shape[:2])
    return vectors


def embedder_of(model: Model, defense: str) -> Embedder:
    """The embedder that answers: the model itself, or the one of a zero-shot classifier.

    Raises:
        InvalidInput: there is none.
    """
    if isinstance(model, ZeroShot):
        return model.embedder
    if isinstance(model, Embedder):
        return model
    raise InvalidInput(
        f"{defense} works with the vectors of an embedder, and {model.name} has none; take one, scenes:clip or "
        "hf:openai/clip-vit-base-patch32, alone or with classes to name"
    )


def classifier(model: Model, defense: str) -> Classifier:
    """The classifier that ``model`` is.

    Raises:
        InvalidInput: it names no classes.
    """
    if isinstance(model, Classifier):
        return model
    raise InvalidInput(
        f"{defense} works with the scores of classes, and {model.name} has none; take an embedder with classes to "
        "name: sl.defend(model, defense, classes=[...]), or a task of classification"
    )


def zero_shot(model: Model, defense: str) -> ZeroShot:
    """The zero-shot classifier that ``model`` is.

    Raises:
        InvalidInput: it is none, so that there are no class vectors.
    """
    if isinstance(model, ZeroShot):
        return model
    raise InvalidInput(
        f"{defense} works with the vectors of classes, and {model.name} has none; take an embedder with classes to "
        "name: sl.defend(model, defense, classes=[...]), or a task of classification"
    )


def answering(model: Model, defense: str) -> Classifier | Embedder:
    """The model, where it has scores or vectors to work with.

    Raises:
        InvalidInput: it has neither.
    """
    if isinstance(model, Classifier | Embedder):
        return model
    raise InvalidInput(f"{defense} works with scores or vectors, and {model.name} has neither; take an embedder")
