"""What stands before a model: nothing, a purifier that reconstructs images, or a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Judged, Objective
from secondlook.defenses.base import Defence, Gradient
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.detector import Detector
from secondlook.defenses.suspecting import Suspecting
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Model, Purifier, evaluating
from secondlook.models.engine import exactly
from secondlook.randomness import Keys


class Unnamed(Classifier):
    """A model as what defences wrap; it names no classes, and its answers are no scores."""

    classes = ()

    def __init__(self, model: Model) -> None:
        self.model, self.name, self.modules = model, model.name, model.modules
        self.size = getattr(model, "size", None)
        self.engine = model.engine

    @property
    def hash(self) -> str:
        """The model's own."""
        return self.model.hash

    def to(self, device: torch.device) -> None:
        """Moves the model."""
        self.model.to(device)

    def features(self, x: Tensor) -> Tensor:
        """There are none that a defence could go by.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"{self.name} names no classes; take a defence that purifies images or detects"
        )

    def scores(self, features: Tensor) -> Tensor:
        """As :meth:`features`."""
        return self.features(features)


class Lens:
    """A model behind a defence that shows it other images, or holds its answer back.

    Attributes:
        model: the model itself.
        defence: nothing, a purifier or a detector.
        looks: reconstructions that the model is shown of each image.

    Raises:
        InvalidInput: a defence that answers with a class, and not with an image.
    """

    def __init__(self, model: Model, defence: Defence) -> None:
        if not isinstance(defence, Undefended | Consensus | Suspecting):
            raise InvalidInput(
                f"{type(defence).__name__} decides between classes, and {model.name} is not asked "
                "for one here; take undefended, jpeg, noise, consensus or mirrorcheck"
            )
        self.model, self.defence = model, defence
        self.looks = defence.votes if isinstance(defence, Consensus) else 1

    @property
    def eye(self) -> Purifier | None:
        """The purifier; None where nothing reconstructs."""
        return self.defence.eye if isinstance(self.defence, Consensus) else None

    @property
    def detector(self) -> Detector | None:
        """The detector; None where nothing is suspicious of an input."""
        return self.defence.detector if isinstance(self.defence, Suspecting) else None

    @property
    def bare(self) -> bool:
        """Whether nothing defends."""
        return self.eye is None and self.detector is None

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that the images are attacked at."""
        return self.defence.model.size

    def views(self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full") -> Tensor:
        """What the model is shown of images: ``draws`` views of each, ``[B * draws, 3, H, W]``.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            keys: one per image.
            draws: reconstructions of each, side by side.
            gradient: through the purifier, or past it.
        """
        if isinstance(self.defence, Consensus):
            return self.defence.views(x, keys, draws, gradient=gradient)
        return x.repeat_interleave(draws, 0) if draws > 1 else x

    def shown(self, x: Tensor, keys: Keys) -> Tensor:
        """What the model is shown when it has to answer: ``looks`` views of each, in fp32."""
        with torch.no_grad(), evaluating(self.defence.modules), exactly(self.defence.parts):
            return self.views(x, keys, self.looks)


@dataclass(frozen=True, kw_only=True)
class Behind:
    """The objective of an attacker who knows what stands before the model, and looks through it.

    Attributes:
        objective: what is wanted of the model.
        lens: what stands before it.
        draws: fresh looks in each step (EOT), folded into the batch; their mean loss is climbed.
        gradient: through the purifier, or past it.
    """

    objective: Objective
    lens: Lens
    draws: int = 1
    gradient: Gradient = "full"

    @property
    def parts(self) -> Sequence[Behind]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the model and of the purifier."""
        own = self.lens.eye.modules if self.lens.eye else ()
        return [*self.objective.modules, *own]

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """Loss and success of a batch, ``[B]`` each; reached where it is in every look."""
        draws = self.draws if self.lens.defence.stochastic else 1
        every = torch.arange(len(x)).repeat_interleave(draws)
        views = self.lens.views(x, keys, draws, self.gradient)
        judged = self.objective.take(every)(views, keys.repeat(draws))
        loss, reached = (part.view(len(x), draws) for part in judged)
        return Judged(loss.mean(1), reached.all(1))

    def take(self, rows: Tensor) -> Behind:
        """The same objective for some of the samples."""
        return replace(self, objective=self.objective.take(rows))
