"""Multi-Shield: a classifier and zero-shot models must agree, else the input is rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from secondlook.bounds import Weight
from secondlook.defenses.base import Answer, Defense, Detector, DetectorDefense, Suspicion
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.labels import places, renamed
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register

Quorum = Literal["any", "all", "mean"]
TIE = 1e-3
"""The least threshold that an attacker optimizes against. At a calibrated one of 0 agreement itself
would be a tie with the rejection, which counts for the defender: no success could be seen."""


@register("defense", "multishield")
@dataclass(frozen=True, kw_only=True)
class MultiShield(DetectorDefense):
    """A classifier that abstains where zero-shot models prefer another class (arXiv 2412.10353).

    The gap of an auxiliary model is its highest score less its score of the classifier's answer, 0
    where they agree. The paper rejects where the gap exceeds ``threshold`` (section 3). With
    ``false_rejection`` = alpha the threshold is calibrated on all of some held-out clean images
    instead, right or wrong (split conformal): a clean input that is exchangeable with them is
    rejected with probability ``<= alpha``, and ``> alpha - 1 / (n + 1)`` if no two of n gaps are
    equal. Agreement gives many gaps of exactly 0, so that the rate is lower where both models
    disagree on fewer clean images than alpha.

    Attributes:
        auxiliary: which further models are asked: ``scenes:clip``, several names with commas
            between, or embedders and classifiers; none of them the defended model.
        prompt: for embedders: a template, or a set of templates, ``imagenet-80``; empty takes
            that of the defended model if it is zero-shot itself, else the embedder's own.
        labels: what the others call a class, where it is not what the classifier calls it.
        threshold: the largest gap that is accepted, in units of the auxiliary models' scores.
        calibrated: compare the gap itself with ``threshold``, as it is done with one that comes from clean
            images; the paper adds the gap to the logits.
        quorum: of several, whether ``any`` gap, ``all`` gaps or their ``mean`` must exceed.
        false_rejection: the share of clean inputs that may be rejected; 0 leaves ``threshold``.
        calibrate_on: clean data for that, by name; never the data that is evaluated.
        calibrate_samples: how many of its images; 0 takes all.

    Raises:
        InvalidInput: a setting out of range, too few samples for ``false_rejection``, or, in front
            of a model, an auxiliary model that is the model itself, or classes that do not match.
        UnknownName: an unknown model, set of templates or class.
    """

    auxiliary: Any = "scenes:clip"
    prompt: str = ""
    labels: dict[str, str] | None = None
    threshold: Weight = 0.001  # type: ignore[misc]
    calibrated: bool = False
    quorum: Quorum = "any"
    false_rejection: float = 0.0  # type: ignore[misc]

    @property
    def variant(self) -> str:
        """The names of the auxiliary models."""
        return self.auxiliary if isinstance(self.auxiliary, str) else ""

    def detector(self, model: Model) -> Disagreement:
        """The auxiliary models, matched with the classes of ``model``."""
        if not isinstance(model, Classifier):
            raise InvalidInput(
                f"MultiShield compares classes, and {model.name} names none; take undefended, "
                "jpeg, noise, consensus or mirrorcheck"
            )
        found = auxiliary_models(self.auxiliary, model, self.prompt, self.labels or {})
        calibrated = self.calibrated or self.calibration is not None
        return Disagreement(others=found, quorum=self.quorum, calibrated=calibrated)

    def fixed(self, guarded: Any) -> Defense:
        """With a gap for threshold."""
        return replace(super().fixed(guarded), calibrated=True)  # type: ignore[call-arg]


@dataclass(frozen=True, kw_only=True)
class Auxiliary:
    """A further model, asked about the classes of the defended one.

    Attributes:
        model: who is asked.
        columns: where each class of the defended model stands among its own, ``[K]``.
    """

    model: Classifier
    columns: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Scores ``[B, K]`` in the order of the defended model's classes."""
        scores = self.model(x)
        if self.columns == tuple(range(scores.shape[1])):
            return scores
        return scores[:, list(self.columns)]


@dataclass(frozen=True, kw_only=True)
class Disagreement(Detector):
    """How far auxiliary models prefer another class than the one that is answered.

    Attributes:
        others: the auxiliary models, M of them.
        quorum: how their gaps make one.
        calibrated: compare the gap itself with the threshold, as a conformal guarantee has it; the
            paper adds it to the largest logit, and what that absorbs it accepts.
    """

    others: tuple[Auxiliary, ...]
    quorum: Quorum = "any"
    calibrated: bool = False
    reads_answers = True
    least_threshold = TIE

    @property
    def parts(self) -> tuple[Model, ...]:
        """The auxiliary models."""
        return tuple(other.model for other in self.others)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """A gap is about an answer.

        Raises:
            InvalidInput: always; :meth:`inspect` takes the answer.
        """
        raise InvalidInput("a disagreement is about scores; inspect(x, keys, Answer(scores))")

    def inspect(self, x: Tensor, keys: Keys, answer: Answer) -> Suspicion:
        """The gap ``[B]``, and the scores of the auxiliary models ``[B, M, K]``."""
        assert answer.scores is not None, "a classifier has scores"
        scores = torch.stack([other(x) for other in self.others], 1)
        return Suspicion(joined(gaps(scores, answer.scores.argmax(1)), self.quorum), scores)

    def accepts(self, suspicion: Tensor, scores: Tensor | None, threshold: float) -> Tensor:
        """Whether the rejection's score does not lead, or the gap is within a calibrated one."""
        if self.calibrated or scores is None:
            return suspicion <= threshold
        return appended(scores, suspicion, threshold).argmax(1) != scores.shape[1]


def gaps(scores: Tensor, answer: Tensor) -> Tensor:
    """How far each auxiliary model prefers another class, ``[B, M]``.

    Args:
        scores: of the auxiliary models, ``[B, M, K]``.
        answer: the classifier's class, ``[B]``.
    """
    at = answer[:, None, None].expand(-1, scores.shape[1], 1)
    return (scores.amax(2) - scores.gather(2, at)[..., 0]).abs()


def joined(each: Tensor, quorum: Quorum) -> Tensor:
    """One gap ``[B]`` for those of all auxiliary models ``[B, M]``."""
    if quorum == "mean":
        return each.mean(1)
    return each.amax(1) if quorum == "any" else each.amin(1)


def appended(scores: Tensor, gap: Tensor, threshold: float) -> Tensor:
    """Scores ``[B, K + 1]`` whose last column leads where the input is rejected.

    It is ``max_j f_j + gap - threshold``, added in this order and in the precision of the scores:
    logits so large that they absorb the gap, and ties, are accepted (arXiv 2412.10353, section 3).
    """
    rejection = scores.amax(1) + gap - threshold
    return torch.cat([scores, rejection[:, None]], 1)


def auxiliary_models(given: Any, about: Classifier, prompt: str, labels: Mapping[str, str]) -> tuple[Auxiliary, ...]:
    """The models that ``given`` names or holds, each matched with the classes of ``about``.

    Args:
        given: a name, several with commas between, an embedder or a classifier, or a list of such.
        about: the defended model.
        prompt: for embedders: a template or the name of a set; empty takes that of ``about``, if
            it is a zero-shot classifier itself, else the embedder's own.
        labels: what the others call some of the classes of ``about``.

    Raises:
        InvalidInput: there is none, one is the defended model itself or neither an embedder nor a
            classifier, some score in cosines and others do not, or a class has no partner.
    """
    many = given.split(",") if isinstance(given, str) else given
    many = many if isinstance(many, list | tuple) else [many]
    made = [load(each.strip()) if isinstance(each, str) else each for each in many]
    found = tuple(_matched(each, about, prompt, labels) for each in made)
    if not found:
        raise InvalidInput("auxiliary is empty; name a model, scenes:clip")
    if len({each.model.cosine for each in found}) > 1:
        raise InvalidInput(
            f"auxiliary={_names(made)} score partly in cosines and partly in logits, whose gaps "
            "have no common unit; take one kind"
        )
    return found


def _called(model: object) -> str:
    """What a user finds it by: its name, what was written, or its type."""
    written = repr(model) if isinstance(model, str | int | float) else type(model).__name__
    return str(getattr(model, "name", written))


def _matched(made: Any, about: Classifier, prompt: str, labels: Mapping[str, str]) -> Auxiliary:
    if not isinstance(made, Embedder | Classifier):
        raise InvalidInput(f"auxiliary={_called(made)} neither embeds nor classifies images")
    if made.name == about.name:
        raise InvalidInput(f"auxiliary={made.name!r} is the defended model itself, which always agrees; name another")
    if isinstance(made, Classifier):
        columns = places(about.classes, made.classes, labels, made.name)
        return Auxiliary(model=made, columns=columns)
    own = about.prompt if isinstance(about, ZeroShot) else made.prompt
    model = ZeroShot(made, renamed(about.classes, labels), prompt or own)
    return Auxiliary(model=model, columns=tuple(range(len(about.classes))))


def _names(models: Iterable[Any]) -> str:
    return ", ".join(model.name for model in models)
