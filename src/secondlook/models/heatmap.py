"""Where an embedder finds a text: its last spatial features, weighed by their gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, evaluating

Weights = Literal["each", "mean"]
"""``each`` weighs every feature at every place by its own gradient (HiResCAM, arXiv 2011.08891),
``mean`` each feature by the mean of its gradient over all places (Grad-CAM, arXiv 1610.02391)."""
_MARKS = 8
"""Tokens that may stand before those of the patches."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A module of an image tower whose output has places.

    Attributes:
        module: the module.
        tokens: whether the output is ``[B, T, C]`` (``[T, B, C]`` where ``swapped``), and not
            ``[B, C, h, w]``.
        swapped: see ``tokens``.
    """

    module: nn.Module
    tokens: bool
    swapped: bool = False

    def plane(self, out: Tensor) -> Tensor:
        """The output, or its gradient, as ``[B, C, h, w]``."""
        if not self.tokens:
            return out
        rows = out.transpose(0, 1) if self.swapped else out
        side = _side(rows.shape[1])
        patches = rows[:, rows.shape[1] - side * side :]
        plane: Tensor = patches.transpose(1, 2).unflatten(2, (side, side))
        return plane


class _Seen(NamedTuple):
    site: Site
    out: Tensor


def find_site(model: Embedder, image: Tensor) -> Site:
    """The last module of the image tower with places that the embedding hangs on.

    It is a map of convolutions, or the normed tokens of a transformer. Behind the last attention of
    a tower that reads one token only, the patches' gradient is zero; such a module is passed over.

    Args:
        model: the embedder.
        image: ``[3, H, W]`` in [0, 1], any that is not blank.

    Raises:
        InvalidInput: the model has no such module.
    """
    probe = image[None].expand(2, -1, -1, -1).detach().clone().requires_grad_()
    with _watching(model) as seen:
        vectors = model.embed(probe)
        lean = torch.linspace(-1, 1, vectors.shape[1], device=vectors.device)
        found = [each for each in seen if each.out.requires_grad]
        if vectors.requires_grad and found:
            grads = torch.autograd.grad((vectors * lean).sum(), [each.out for each in found], allow_unused=True)
            for each, grad in zip(reversed(found), reversed(grads), strict=True):
                if grad is not None and bool(each.site.plane(grad).any()):
                    return each.site
    raise InvalidInput(
        f"{model.name} has no spatial features to weigh: neither maps of convolutions nor tokens "
        "on a square grid behind a LayerNorm; name an embedder with such an image tower"
    )


def heat(model: Embedder, x: Tensor, vectors: Tensor, site: Site | None = None, weights: Weights = "mean") -> Tensor:
    """How much each pixel's place is evidence for a text, ``[B, H, W]`` in [0, 1], 1 at its peak.

    A map without any evidence for the text is zero everywhere. The model is taken to see
    the whole image: to one that cuts a square out of the middle, hand square images.

    Args:
        model: the embedder.
        x: images ``[B, 3, H, W]`` in [0, 1].
        vectors: what is looked for, ``[B, D]``: the texts' unit vectors, say.
        site: see :func:`find_site`; None looks for it.
        weights: see :data:`Weights`.

    Raises:
        InvalidInput: bad pixels, not as many vectors as images, or no spatial features.
    """
    if len(vectors) != len(x):
        raise InvalidInput(f"{len(vectors)} text(s) for {len(x)} image(s); give one for each")
    if not len(x):
        return x.new_zeros(0, *x.shape[2:])
    place = site or find_site(model, x[0])
    with evaluating(model.modules), torch.enable_grad():
        coarse = evidence(model, x.detach().requires_grad_(), vectors, place, weights).detach()
    fine = F.interpolate(coarse.relu()[:, None], x.shape[2:], mode="bilinear")[:, 0]
    return fine / fine.amax((1, 2), keepdim=True).clamp_min(torch.finfo(fine.dtype).tiny)


def evidence(
    model: Embedder, x: Tensor, vectors: Tensor, site: Site, weights: Weights, differentiable: bool = False
) -> Tensor:
    """What each place of the features says for a text, or below zero against it, ``[B, h, w]``.

    Args:
        model: the embedder, in eval mode.
        x: images ``[B, 3, H, W]`` with a gradient.
        vectors: as of :func:`heat`.
        site: the module whose features make the map.
        weights: see :data:`Weights`.
        differentiable: whether the map has a gradient to ``x``, a second derivative.

    Raises:
        InvalidInput: bad pixels, or a site of another model.
    """
    seen = list[Tensor]()
    # Fused attention has no second derivative.
    plain = sdpa_kernel(SDPBackend.MATH) if differentiable else nullcontext()
    hook = site.module.register_forward_hook(lambda module, inputs, out: seen.append(out))
    try:
        with plain:
            said = (model.embed(x) * vectors).sum()
    finally:
        hook.remove()
    if not seen:
        raise InvalidInput(f"{model.name} does not run the site {site.module}; find_site anew")
    (gradient,) = torch.autograd.grad(said, seen[-1], create_graph=differentiable)
    features, pull = site.plane(seen[-1]).float(), site.plane(gradient).float()
    if weights == "mean":
        pull = pull.mean((2, 3), keepdim=True)
    return (features * pull).sum(1)


@contextmanager
def _watching(model: Embedder) -> Iterator[list[_Seen]]:
    """Collects, in the order in which they come, all outputs that have places."""
    seen: list[_Seen] = []

    def note(module: nn.Module, inputs: object, out: object) -> None:
        site = _site(module, out)
        if site is not None and isinstance(out, Tensor):
            seen.append(_Seen(site, out))

    parts = [part for network in model.modules for part in network.modules()]
    hooks = [part.register_forward_hook(note) for part in parts]
    try:
        with evaluating(model.modules), torch.enable_grad():
            yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _site(module: nn.Module, out: object) -> Site | None:
    """The site of an output for a batch of two; None where it has no places."""
    if not isinstance(out, Tensor) or isinstance(module, (nn.Dropout, nn.Softmax)):
        return None
    if out.dim() == 4 and len(out) == 2 and min(out.shape[2:]) > 1:
        return Site(module=module, tokens=False)
    if out.dim() != 3 or not isinstance(module, nn.LayerNorm):
        return None
    swapped = out.shape[1] == 2 != out.shape[0]
    if _side(out.shape[0 if swapped else 1]) < 2:
        return None
    return Site(module=module, tokens=True, swapped=swapped)


def _side(tokens: int) -> int:
    """The side of the square grid that is left when the marks before it are not counted, or 0."""
    side = math.isqrt(tokens)
    return side if tokens - side * side <= _MARKS else 0
