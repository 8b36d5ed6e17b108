"""What a defense is: views of the input, an aggregation, a detector and an adaptation, each of them optional."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor

from secondlook.data.base import Source
from secondlook.defenses.calibration import held_out
from secondlook.defenses.voting import Rule
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder, Model
from secondlook.models.painter import Painter
from secondlook.models.purifiers.soft import straight_through
from secondlook.randomness import Keys

Gradient = Literal["full", "bpda"]
"""Through all that has a useful gradient, or straight past the transform (backward pass
differentiable approximation, Athalye et al. 2018)."""


class Answer(NamedTuple):
    """What a model says of a batch, as a detector may use it.

    Attributes:
        scores: ``[B, K]`` of a classifier; None of other models.
        captions: what a captioner says of each input, or a class in a prompt; empty where the
            detector reads no captions.
    """

    scores: Tensor | None = None
    captions: Sequence[str] = ()


class Suspicion(NamedTuple):
    """What a detector makes of a batch.

    Attributes:
        value: ``[B]``, higher is more likely attacked.
        auxiliary: ``[B, M, K]``, scores of M further models that have to agree; None for none.
        each: ``[B, D]``, of a detector that is made of D others what each of them says, in the units of
            ``value``, which is their largest; None of others.
    """

    value: Tensor
    auxiliary: Tensor | None = None
    each: Tensor | None = None


class Regeneration(NamedTuple):
    """How a detector makes images of captions, for an attacker who differentiates that.

    Attributes:
        painters: what paints.
        encoders: compare paintings with the input; their mean counts.
        paintings: of each caption.
        guidance: of a painting; below 0 the painter's own.
        seed: of the painters' draws.
    """

    painters: tuple[Painter, ...]
    encoders: tuple[Embedder, ...]
    paintings: int
    guidance: float
    seed: int


class Detector(ABC):
    """Looks at an input, and perhaps at what a model said of it.

    Attributes:
        reads_captions: whether it needs what was said, as captions.
        reads_answers: whether it needs the model's answers at all.
        least_threshold: the least threshold that an attacker optimizes against; at a calibrated one
            of 0 agreement itself may be a tie with the rejection, which counts for the defender.
        links: of a detector that is made of several, each of them; none of others.
    """

    reads_captions: bool = False
    reads_answers: bool = False
    least_threshold: float = float("-inf")
    links: tuple[Any, ...] = ()

    @property
    @abstractmethod
    def parts(self) -> tuple[Model, ...]:
        """All models inside."""

    @property
    def stochastic(self) -> bool:
        """Whether two suspicions of one input may differ."""
        return False

    def forget(self) -> None:  # noqa: B027
        """Drops what it keeps of inputs that it has seen; answers stay the same, and cost what they cost at first."""

    def caption_of(self, name: str) -> str:
        """A class of a classifier as a caption."""
        return name

    @property
    def alone(self) -> Mapping[str, Any]:
        """Of a detector that is made of several, the whole defense with each of them alone, by name."""
        return {}

    @property
    def regeneration(self) -> Regeneration | None:
        """How it makes images of captions; None where it makes none."""
        return None

    def regenerated(self, captions: Sequence[str], keys: Keys) -> Tensor | None:
        """Images made of captions, ``[B, P, 3, h, w]``; None where the detector makes none."""
        return None

    @abstractmethod
    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """How suspicious each input is, ``[B]``; higher is more likely attacked.

        It is differentiable in ``x`` where the detector's parts are.

        Args:
            x: images ``[B, 3, H, W]`` in [0, 1].
            keys: one for each image, for the detector's own draws.
            captions: what was said of each, where the detector reads captions.
        """

    def inspect(self, x: Tensor, keys: Keys, answer: Answer) -> Suspicion:
        """The suspicion of inputs that a model has answered so; scores may count as well."""
        return Suspicion(self.suspicion(x, keys, answer.captions))

    def accepts(self, suspicion: Tensor, scores: Tensor | None, threshold: float) -> Tensor:
        """Whether an answer may be given, ``[B]`` bool; a suspicion of NaN is rejected."""
        return suspicion <= threshold


class Adapted(NamedTuple):
    """What the guarded model says once a defense has done its work with it.

    Attributes:
        features: ``[B, D]``.
        scores: ``[B, K]`` of a classifier; of an embedder its features once more.
    """

    features: Tensor
    scores: Tensor


class Certificate(NamedTuple):
    """What no perturbation within a radius changes.

    Attributes:
        answer: the class of each image, ``[B]``; -1 where the certificate abstains.
        radius: L2 in pixel units, ``[B]``; 0 where nothing is certified.
    """

    answer: Tensor
    radius: Tensor


class Adaptation(ABC):
    """Work with the guarded model itself, at test time, for each input alone.

    A counterattack, a purified latent, a tuned prompt, weights of views: whatever needs the model
    that it stands in front of. Most derive from one of the three forms of
    :mod:`~secondlook.defenses.adaptation`, which give an attacker both gradients. The model is
    borrowed: it is handed back as it was, and :class:`~secondlook.defenses.guarded.Guarded` notices
    where it is not.
    """

    @property
    def parts(self) -> tuple[Model, ...]:
        """Models inside, beside the guarded one."""
        return ()

    @property
    def gated(self) -> bool:
        """Whether some inputs are left as they are, or nearly so, by a :meth:`gate`."""
        return type(self).gate is not Adaptation.gate

    def gate(self, x: Tensor, keys: Keys) -> Tensor:
        """How far each input is beyond the gate, ``[B]``, differentiable in ``x``; below 0 it is worked on.

        A defense that has a gate writes it, with the draws of :meth:`answer` under the same keys, so
        that an attacker can aim at what the gate lets through.
        """
        raise NotImplementedError(f"{type(self).__name__} has no gate")

    @abstractmethod
    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """What the model says of each input in the end, whoever else is in the batch.

        Args:
            x: images ``[B, C, H, W]`` in [0, 1].
            keys: one for each image, for every draw.
            gradient: ``full`` carries the gradient of the work itself; ``bpda`` takes what the work
                has come to for a constant, as far as that leaves a gradient at all.
        """


@dataclass(frozen=True, kw_only=True)
class Defense:
    """Settings of a defense, and its parts; a subclass writes those that it has.

    The *transform* shows the model other views of the input: write :meth:`transform`, and say
    whether it is ``stochastic``, ``differentiable``, and how many views N are made. The
    *aggregation* (``rule``) makes one answer of what is said of them: votes of a classifier, the
    normalized mean of an embedder's vectors, the medoid of a captioner's texts. The *detector*
    says how suspicious an input is; above the ``threshold`` it is rejected. The *adaptation* works
    with the guarded model itself before it answers for a view. A defense is put in front of a model
    by :class:`~secondlook.defenses.guarded.Guarded`.

    Attributes:
        registered_name: how the user calls it.
    """

    registered_name: ClassVar[str] = ""
    rule: ClassVar[Rule] = "plurality"
    early_stop: ClassVar[bool] = False
    stop_error: ClassVar[float] = 0.0
    false_rejection: ClassVar[float] = 0.0
    threshold: ClassVar[float] = float("inf")
    calibrate_samples: ClassVar[int] = 0

    @property
    def transforms(self) -> bool:
        """Whether the model is shown other views than the input itself."""
        return type(self).transform is not Defense.transform

    @property
    def models(self) -> tuple[Model, ...]:
        """The models of the transform."""
        return ()

    @property
    def stochastic(self) -> bool:
        """Whether two views of one input may differ."""
        return False

    @property
    def differentiable(self) -> bool:
        """Whether the transform has a gradient of use; else an attacker passes it straight on."""
        return True

    @property
    def count(self) -> int:
        """The views N of an input that can differ."""
        return 1

    @property
    def smoothing(self) -> float:
        """Deviation of the Gaussian noise that every view begins with, in pixel units; 0 where none does."""
        return 0.0

    @property
    def calibration(self) -> Source | None:
        """The clean data that a threshold comes from; None where none does."""
        return None

    @property
    def variant(self) -> str:
        """What tells it from others of its kind in a report: a purifier's name, say."""
        return ""

    @property
    def unseen(self) -> frozenset[str]:
        """Settings that an attack on the surrogate does not depend on: it is not made anew."""
        return frozenset()

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        """One view of each input, of its shape, with randomness from ``keys``."""
        return x

    def detector(self, model: Model) -> Detector | None:
        """The detector in front of ``model``; None where nothing is ever rejected.

        Raises:
            InvalidInput: there is none for such a model.
        """
        return None

    def adaptation(self, model: Model) -> Adaptation | None:
        """The work with ``model`` before it answers; None where it answers as it is.

        Raises:
            InvalidInput: there is none for such a model.
        """
        return None

    def fixed(self, guarded: Any) -> Defense:
        """The same with the thresholds that ``guarded`` has found as numbers: it decides anywhere as it does there."""
        return self

    def certificate(self, guarded: Any, x: Tensor, keys: Keys, samples: int, confidence: float) -> Certificate | None:
        """One of the defense's own, for :func:`~secondlook.defenses.certificate.certify`; None for that of a vote."""
        return None

    def views(self, x: Tensor, keys: Keys, draws: int, first: int = 0, gradient: Gradient = "full") -> Tensor:
        """``draws`` views of each input, side by side, ``[B * draws, ...]``.

        Args:
            x: inputs ``[B, ...]`` in [0, 1].
            keys: one for each input.
            draws: views of each.
            first: the number of the first draw.
            gradient: through the transform, or past it; where it has none, past it anyway.
        """
        if not self.transforms:
            return x.repeat_interleave(draws, 0) if draws > 1 else x
        many, children = x.repeat_interleave(draws, 0), keys.repeat(draws, first)
        if gradient == "full" and self.differentiable:
            return self.transform(many, children)
        return straight_through(many, self.transform(many.detach(), children))


@dataclass(frozen=True, kw_only=True)
class DetectorDefense(Defense):
    """The model's own answer, rejected where a detector's suspicion is above a threshold.

    With ``false_rejection`` = alpha the threshold comes from held-out clean images (split
    conformal): a clean input that is exchangeable with them is rejected with probability
    ``<= alpha``. No attacked input is looked at for it.

    Attributes:
        false_rejection: the share of clean inputs that may be rejected; 0 leaves ``threshold``.
        threshold: the largest suspicion that is accepted where nothing is calibrated.
        calibrate_on: clean data, by name; never the data that is evaluated.
        calibrate_samples: how many of its images; 0 takes all.

    Raises:
        InvalidInput: too few clean images for ``false_rejection``, or a setting out of range.
    """

    false_rejection: float = 0.05  # type: ignore[misc]
    threshold: float = 1.0  # type: ignore[misc]
    calibrate_on: str = "scenes:calibration"
    calibrate_samples: int = 1000  # type: ignore[misc]

    def __post_init__(self) -> None:
        rate = self.false_rejection
        source = held_out(self.calibrate_on, self.calibrate_samples, rate) if rate else None
        object.__setattr__(self, "_source", source)

    def fixed(self, guarded: Any) -> Defense:
        """With its calibrated threshold."""
        return replace(self, false_rejection=0.0, threshold=guarded.threshold)

    @property
    def calibration(self) -> Source | None:
        """The clean data of ``calibrate_on``; None where ``threshold`` decides."""
        source: Source | None = self.__dict__["_source"]
        return source


def models_of(given: Any, kind: type, field: str, example: str) -> tuple[Any, ...]:
    """The models that ``given`` names or holds: a name, several with commas, or objects.

    Args:
        given: see above.
        kind: the class that each must be of.
        field: the setting, for errors.
        example: a name to offer.

    Raises:
        InvalidInput: there is none, one is of another kind, or one is there twice.
    """
    listed = given.split(",") if isinstance(given, str) else given
    listed = listed if isinstance(listed, list | tuple) else [listed]
    made = tuple(load(each.strip()) if isinstance(each, str) else each for each in listed)
    for each in made:
        if not isinstance(each, kind):
            raise InvalidInput(f"{field}={getattr(each, 'name', each)!r} is no {kind.__name__.lower()}; try {example}")
    names = [each.name for each in made]
    if not made or len(set(names)) < len(names):
        raise InvalidInput(f"{field}={', '.join(names)!r} must name one or more, each once")
    return made
