"""What every model can be asked for; each sees pixels in [0, 1] and counts its own passes."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.ledger import tally
from secondlook.models.engine import PLAIN, Engine
from secondlook.randomness import Keys
from secondlook.registry import digest

_TOLERANCE = 1e-4


class Model(ABC):
    """A named thing with weights.

    Attributes:
        name: how the user calls it, ``scenes:clip``.
        modules: the networks inside, which an attack puts into eval mode for its search.
        engine: how its encoder is run.
        place: the device that pixels are brought to; None leaves them where they are.
        movable: whether its networks may be moved to another device.
    """

    name: str
    modules: tuple[nn.Module, ...] = ()
    engine: Engine = PLAIN
    place: torch.device | None = None
    movable: bool = False

    def see(self, x: Tensor) -> Tensor:
        """Checks a batch ``[B, 3, H, W]`` of pixels, counts the forward, and brings them along.

        Raises:
            InvalidInput: wrong shape or type, NaN, or values outside [0, 1].
        """
        check_pixels(x, self.name)
        seen = tally(self.name, x)
        return seen if self.place is None else seen.to(self.place)

    def to(self, device: torch.device) -> None:
        """Moves the networks to a device; a model without any stays on the CPU, and works there."""
        self.place = device if self.modules and self.movable else torch.device("cpu")
        for module in self.modules:
            module.to(self.place)

    @property
    def hash(self) -> str:
        """SHA-256 over the weights, for the provenance of a result.

        A model without networks of its own goes by its name.
        """
        return _hash(self.modules) if self.modules else digest(self.name)


def _hash(modules: Iterable[nn.Module]) -> str:
    total = hashlib.sha256()
    for module in modules:
        for key, value in module.state_dict().items():
            total.update(key.encode())
            plain = value.detach().cpu()
            total.update((plain.float() if plain.is_floating_point() else plain).numpy().tobytes())
    return total.hexdigest()[:16]


def check_pixels(x: Tensor, who: str) -> None:
    """Refuses what is no batch of pixels in [0, 1], and names the mend.

    Raises:
        InvalidInput: see above.
    """
    if x.dim() != 4 or x.shape[1] != 3:
        raise InvalidInput(
            f"{who} was handed a tensor of shape {tuple(x.shape)}; images are [B, 3, H, W]"
        )
    if not x.is_floating_point():
        raise InvalidInput(f"{who} was handed {x.dtype}; divide 8-bit pixels by 255 first")
    if not len(x):
        return
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    if low != low or high != high:
        raise InvalidInput(f"{who} was handed NaN pixels; find what made them")
    if high > 1.5 and low > -_TOLERANCE:
        raise InvalidInput(f"{who} was handed pixels up to {high:g}; divide by 255")
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise InvalidInput(
            f"{who} was handed pixels in [{low:g}, {high:g}], not [0, 1]; "
            "normalisation belongs inside the model"
        )


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """``x`` at another size, bilinear with antialias; itself where the size fits."""
    if x.shape[-2:] == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="bilinear", antialias=True).clamp(0, 1)


class Embedder(Model):
    """Images and texts to unit vectors of one space; a subclass writes the two encoders."""

    prompt: str = "a photo of a {}."
    """The template for a class name where nobody asks for another."""
    movable = True

    @abstractmethod
    def encode_image(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [0, 1] to vectors ``[B, D]``; resizing and normalisation inside."""

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to vectors ``[B, D]``."""

    def embed(self, x: Tensor) -> Tensor:
        """Images to unit vectors ``[B, D]``, in fp32, on the device of the images."""
        return F.normalize(self.engine(self.encode_image, self.see(x)), dim=-1).to(x.device)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str], batch: int = 256) -> Tensor:
        """Texts to unit vectors ``[B, D]``, in fp32.

        Raises:
            InvalidInput: there is no text, or one is empty.
        """
        if not texts or not all(text.strip() for text in texts):
            raise InvalidInput("texts to embed must be one or more, and none of them empty")
        parts = [self.encode_text(texts[i : i + batch]) for i in range(0, len(texts), batch)]
        return F.normalize(torch.cat(parts).float(), dim=-1)


class Classifier(Model):
    """Images to one score per class, in two steps: features, then a linear or other head.

    Attributes:
        classes: names, in the order of the scores.
        cosine: whether features are unit vectors and scores are cosines.
        size: height and width that the images are attacked at; None where any size will do.
    """

    classes: tuple[str, ...]
    cosine: bool = False
    size: tuple[int, int] | None = None
    movable = True

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, D]``."""

    @abstractmethod
    def scores(self, features: Tensor) -> Tensor:
        """``[..., D]`` to ``[..., K]``; higher is more likely."""

    def aim(self, classes: Tensor) -> Tensor | None:
        """The feature that stands for each class, ``[B, D]``; None where there is none."""
        return None

    def __call__(self, x: Tensor) -> Tensor:
        """Scores ``[B, K]`` of a batch of images."""
        return self.scores(self.features(x))


class Purifier(Model):
    """An input to a reconstructed input, perhaps another one with each draw.

    Attributes:
        stochastic: whether draws differ; the votes over a deterministic one are all the same.
        differentiable: whether its gradient is of use; else an attacker passes it straight on.
        knobs: what else, beside its weights, its reconstructions depend on.
    """

    stochastic: bool = True
    differentiable: bool = True
    movable = True

    @property
    def knobs(self) -> tuple[float, ...]:
        """Strengths, strides and the like; a stored adversarial is only good for the same."""
        return ()

    @abstractmethod
    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of each image, ``[B, 3, H, W]``, with randomness from ``keys``."""

    def tuned(self, noise: float) -> Purifier:
        """The same purifier with its randomness at another strength.

        Raises:
            InvalidInput: this purifier has no such knob, or not at that value.
        """
        raise InvalidInput(f"{self.name} has no noise to tune; leave noise={noise:g} away")

    def purify(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of each image, in [0, 1], of the size of ``x``."""
        out = self.engine(lambda seen: self.reconstruct(seen, keys), self.see(x))
        return resized(out, x.shape[-2], x.shape[-1]).clamp(0, 1).to(x.device)


@contextmanager
def evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Eval mode inside the block; every submodule's own mode is put back after it."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
