"""What every model can be asked for; each sees pixels in [0, 1] and counts its own passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.ledger import tally
from secondlook.models.identity import IMAGES, TEXTS, Answer, identity, weights_hash
from secondlook.models.runtime.engine import PLAIN, Engine
from secondlook.randomness import Keys
from secondlook.registry import digest

_TOLERANCE = 1e-4


class Model(ABC):
    """A named thing with weights.

    Attributes:
        name: how the user calls it, ``scenes:clip``.
        modules: the networks inside, which an attack puts into eval mode for its search.
        engine: how its encoder is run.
        device: the one that pixels are brought to; None leaves them where they are.
        movable: whether its networks may be moved to another device.
        channels: how many channels its images have; None where any number will do.
        code: a hash of the code that it is made of, where that is the user's own; else empty.
    """

    name: str
    modules: tuple[nn.Module, ...] = ()
    engine: Engine = PLAIN
    device: torch.device | None = None
    movable: bool = False
    channels: int | None = 3
    code: str = ""

    def checked_input(self, x: Tensor) -> Tensor:
        """Checks a batch ``[B, C, H, W]`` of pixels, counts the forward, and brings them along.

        Pixels come in the precision of the weights, on the device of the networks, as a copy: a
        network may work on them in place.

        Raises:
            InvalidInput: wrong shape or type, NaN, or values outside [0, 1].
        """
        check_pixels(x, self.name, self.channels)
        return self.brought(tally(self.name, x))

    def brought(self, x: Tensor) -> Tensor:
        """A copy of the pixels, in the precision and on the device that the networks take."""
        weights = (weight for module in self.modules for weight in module.parameters())
        kind = next((weight.dtype for weight in weights if weight.is_floating_point()), None)
        # A function without weights computes in fp64 where it is asked to.
        kind = kind or torch.promote_types(x.dtype, torch.float32)
        return x.to(self.device or x.device, kind, copy=True)

    def to(self, device: torch.device) -> None:
        """Moves the networks to a device; a model without any stays on the CPU, and works there."""
        self.device = device if self.modules and self.movable else torch.device("cpu")
        for module in self.modules:
            module.to(self.device)

    @property
    def hash(self) -> str:
        """All that its answers depend on, for the provenance of a result; 16 hexadecimal digits.

        Weights, buffers, the answers to a fixed probe, and a user's code; see
        :func:`~secondlook.models.identity.identity`.
        """
        return identity(self)

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the weights alone; a model without networks of its own goes by its name."""
        return weights_hash(self.modules) if self.modules else digest(self.name)

    def probe_answers(self) -> Sequence[Answer]:
        """What the probe of :attr:`hash` asks of it; each takes images ``[3, C, H, W]``."""
        return ()


def check_pixels(x: Tensor, who: str, channels: int | None = 3) -> None:
    """Refuses what is no batch of pixels in [0, 1], and names the fix.

    Args:
        x: the batch.
        who: was handed it, for the message.
        channels: how many channels there must be; None takes any number.

    Raises:
        InvalidInput: see above.
    """
    if x.dim() != 4 or x.shape[1] != (channels or x.shape[1]):
        raise InvalidInput(
            f"{who} was handed a tensor of shape {tuple(x.shape)}; images are [B, {channels or 'C'}, H, W]"
        )
    if min(x.shape[2:]) < 1:
        raise InvalidInput(f"{who} was handed images of {x.shape[2]}x{x.shape[3]} pixels, which hold nothing")
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
            f"{who} was handed pixels in [{low:g}, {high:g}], not [0, 1]; normalization belongs inside the model"
        )


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """``x`` at another size, bilinear with antialias; itself where the size fits."""
    if x.shape[-2:] == (height, width):
        return x
    # The CPU has no such kernel for numbers of 16 bits.
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return F.interpolate(wide, (height, width), mode="bilinear", antialias=True).clamp(0, 1).to(x)


@dataclass(frozen=True, kw_only=True)
class ModelFamily(ABC):
    """A kind of checkpoints; ``name`` is what follows the colon of ``FAMILY:NAME``."""

    name: str

    @abstractmethod
    def load(self) -> Model:
        """Opens the model.

        Raises:
            InvalidInput: what lies there is no such model.
        """

    @staticmethod
    def listed() -> dict[str, str]:
        """What the family knows by name; nothing where names are paths or a hub's."""
        return {}

    @property
    def path(self) -> Path:
        """``name`` as a path, ``~`` written out."""
        return Path(self.name).expanduser()


class Embedder(Model):
    """Images and texts to unit vectors of one space; a subclass writes the two encoders."""

    prompt: str = "a photo of a {}."
    """The template for a class name where nobody asks for another."""
    movable = True

    @abstractmethod
    def encode_image(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` in [0, 1] to vectors ``[B, D]``; resizing and normalization inside."""

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to vectors ``[B, D]``."""

    def probe_answers(self) -> Sequence[Answer]:
        return (*super().probe_answers(), self.embed, lambda _: self.embed_text(TEXTS))

    def embed(self, x: Tensor) -> Tensor:
        """Images to unit vectors ``[B, D]``, in fp32, on the device of the images."""
        return F.normalize(self.raw_vectors(x), dim=-1)

    def raw_vectors(self, x: Tensor) -> Tensor:
        """Images to vectors ``[B, D]`` of the length that the encoder gives them, in fp32."""
        return self.engine(self.encode_image, self.checked_input(x), self.name).to(x.device)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str], batch: int = 256) -> Tensor:
        """Texts to unit vectors ``[B, D]``, in fp32.

        Raises:
            InvalidInput: there is no text, or one is empty; or the vectors are none.
        """
        if not texts or not all(text.strip() for text in texts):
            raise InvalidInput("texts to embed must be one or more, and none of them empty")
        parts = [self._text_vectors(texts[i : i + batch]) for i in range(0, len(texts), batch)]
        return F.normalize(torch.cat(parts).float(), dim=-1)

    def _text_vectors(self, texts: Sequence[str]) -> Tensor:
        found = self.encode_text(texts)
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(texts):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InvalidInput(
                f"{self.name} answered {what} to {len(texts)} texts; return vectors [B, D], one for each"
            )
        if not bool(found.isfinite().all()):
            raise InvalidInput(f"{self.name} answers texts with NaN or infinite vectors; look at its text encoder")
        return found


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

    def probe_answers(self) -> Sequence[Answer]:
        return (*super().probe_answers(), self)

    def class_features(self, classes: Tensor) -> Tensor | None:
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
        settings: what else, beside its weights, its reconstructions depend on.
    """

    stochastic: bool = True
    differentiable: bool = True
    movable = True

    @property
    def settings(self) -> tuple[float, ...]:
        """Strengths, strides and the like; a stored adversarial is only good for the same."""
        return ()

    @abstractmethod
    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of each image, ``[B, 3, H, W]``, with randomness from ``keys``."""

    def with_noise(self, noise: float) -> Purifier:
        """The same purifier with its randomness at another strength.

        Raises:
            InvalidInput: this purifier has no such knob, or not at that value.
        """
        raise InvalidInput(f"{self.name} has no noise to tune; leave noise={noise:g} out")

    def probe_answers(self) -> Sequence[Answer]:
        keys = Keys.of(0, range(IMAGES)).fold("probe")
        return (*super().probe_answers(), lambda x: self.purify(x, keys))

    def purify(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of each image, in [0, 1], of the size of ``x``.

        Raises:
            InvalidInput: bad pixels, or what it makes are no images.
        """
        out = self.engine(lambda seen: self.reconstruct(seen, keys), self.checked_input(x), self.name)
        if out.dim() != 4 or out.shape[1] != x.shape[1]:
            raise InvalidInput(f"the purifier {self.name} made {tuple(out.shape)} of {tuple(x.shape)}; return images")
        if not bool(out.isfinite().all()):
            raise InvalidInput(f"the purifier {self.name} made NaN or infinite pixels; look at its weights and noise")
        return resized(out, x.shape[-2], x.shape[-1]).clamp(0, 1).to(x)


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


class Matcher(Model):
    """Image-text matching (ITM): the second, slower score, which re-ranks what cosines found."""

    @abstractmethod
    def encode_pairs(self, x: Tensor, texts: Sequence[str], pairs: Tensor) -> Tensor:
        """Logits ``[P, 2]`` of *no match* and *match*; each image and text is encoded once.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            texts: ``T`` texts.
            pairs: ``[P, 2]``, the row of an image and the row of a text.
        """

    def probe_answers(self) -> Sequence[Answer]:
        return (*super().probe_answers(), lambda x: self.match_logits(x, TEXTS))

    def match_logits(self, x: Tensor, texts: Sequence[str], pairs: Tensor | None = None) -> Tensor:
        """Logits ``[P, 2]`` in fp32, differentiable in ``x``; papers re-rank by the second alone.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            texts: ``T`` texts.
            pairs: ``[P, 2]``, the row of an image and the row of a text; None pairs row by row.

        Raises:
            InvalidInput: bad pixels; no pairs, and not as many texts as images; a row out of range.
        """
        x = self.checked_input(x)
        if pairs is None:
            if len(texts) != len(x):
                raise InvalidInput(f"{len(x)} image(s) and {len(texts)} text(s) do not pair; give pairs")
            pairs = torch.arange(len(x))[:, None].expand(-1, 2)
        self._check(pairs, len(x), len(texts))
        return self.encode_pairs(x, texts, pairs.to(x.device)).float()

    def match(self, x: Tensor, texts: Sequence[str], pairs: Tensor | None = None) -> Tensor:
        """The probability ``[P]`` that image and text belong together; see :meth:`match_logits`."""
        return self.match_logits(x, texts, pairs).softmax(-1)[:, 1]

    def _check(self, pairs: Tensor, images: int, texts: int) -> None:
        fits = pairs.dim() == 2 and pairs.shape[1] == 2 and not pairs.is_floating_point()
        if not fits or (pairs < 0).any() or (pairs >= pairs.new_tensor([images, texts])).any():
            raise InvalidInput(f"pairs of {self.name} must be [P, 2]: rows of {images} images, of {texts} texts")
