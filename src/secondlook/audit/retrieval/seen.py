"""An embedder behind a defence: as it is evaluated, and as an attacker who knows it climbs it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.defenses.base import Defence, Gradient
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, evaluating
from secondlook.models.engine import exactly
from secondlook.randomness import Keys


class Sight(Classifier):
    """An embedder as what defences wrap; its scores are its vectors, and it names no classes."""

    classes = ()
    cosine = True

    def __init__(self, embedder: Embedder) -> None:
        self.embedder, self.name, self.modules = embedder, embedder.name, embedder.modules
        self.size = getattr(embedder, "size", None)
        self.engine = embedder.engine

    @property
    def hash(self) -> str:
        """The embedder's own."""
        return self.embedder.hash

    def to(self, device: torch.device) -> None:
        """Moves the embedder."""
        self.embedder.to(device)

    def features(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]``."""
        return self.embedder.embed(x)

    def scores(self, features: Tensor) -> Tensor:
        """The vectors themselves."""
        return features


class Seen:
    """Images as a defence shows them to an embedder: the mean of the vectors of its looks.

    Attributes:
        embedder: reads the texts, and the images that the defence shows it.
        defence: nothing, or a purifier.
        looks: reconstructions of which the mean is taken.

    Raises:
        InvalidInput: a defence that answers with a class, and not with an image.
    """

    def __init__(self, embedder: Embedder, defence: Defence) -> None:
        if not isinstance(defence, Undefended | Consensus):
            raise InvalidInput(
                f"{type(defence).__name__} decides between classes, and a search has none; "
                "retrieval is defended by undefended, jpeg, noise or consensus"
            )
        self.embedder, self.defence = embedder, defence
        self.looks = defence.votes if isinstance(defence, Consensus) else 1

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that the images are attacked at."""
        return self.defence.model.size

    def look(self, x: Tensor, keys: Keys) -> Tensor:
        """Unit vectors ``[B, D]`` of images, in fp32, with fresh looks drawn from ``keys``."""
        with torch.no_grad(), evaluating(self.defence.modules), exactly(self.defence.parts):
            return mean_look(self.defence, x, keys, self.looks)

    def victim(self, draws: int = 1, gradient: Gradient = "full") -> Embedder:
        """What an attacker who knows the defence climbs; the bare embedder where nothing defends.

        Args:
            draws: fresh looks in each step.
            gradient: through the purifier, or past it.
        """
        if isinstance(self.defence, Undefended):
            return self.embedder
        return Through(self.embedder, self.defence, draws, gradient)


class Through(Embedder):
    """An embedder that sees images through a defence, anew each time that it is asked.

    All images of a batch share a look's draws, so that they do not depend on the batch.
    """

    def __init__(
        self, embedder: Embedder, defence: Defence, draws: int, gradient: Gradient
    ) -> None:
        self.embedder, self.defence, self.draws, self.gradient = embedder, defence, draws, gradient
        self.name, self.modules, self.engine = embedder.name, defence.modules, embedder.engine
        self.asked = 0

    @property
    def hash(self) -> str:
        """The embedder's own."""
        return self.embedder.hash

    def begin(self) -> None:
        """Draws from the beginning again, as each new batch to attack has it."""
        self.asked = 0

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]``, the mean over the draws."""
        keys = Keys.of(0, [0] * len(x)).fold("look", self.asked)
        self.asked += 1
        return mean_look(self.defence, x, keys, self.draws, self.gradient)

    def encode_image(self, x: Tensor) -> Tensor:
        """As :meth:`embed`: a mean of unit vectors has no raw form."""
        return self.embed(x)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The embedder's own: captions are not purified."""
        return self.embedder.encode_text(texts)


def mean_look(
    defence: Defence, x: Tensor, keys: Keys, draws: int, gradient: Gradient = "full"
) -> Tensor:
    """The normalised mean of the vectors of ``draws`` looks, ``[B, D]``."""
    return F.normalize(defence.glimpse(x, keys, draws, gradient).features.mean(1), dim=-1)
