"""A model behind a defense: what is evaluated, and what an adaptive attacker differentiates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.data.base import Source
from secondlook.decision import Decision, Surrogate
from secondlook.defenses.base import Adaptation, Adapted, Answer, Defense, Detector, Gradient, Suspicion
from secondlook.defenses.borrowed import borrowed
from secondlook.defenses.calibration import clean_scores, conformal_threshold, thresholds
from secondlook.defenses.gate import PastGate
from secondlook.defenses.undefended import Undefended
from secondlook.defenses.voting import Poll
from secondlook.errors import InvalidInput
from secondlook.metrics.ngrams import medoid
from secondlook.models.base import Classifier, Embedder, Model, evaluating
from secondlook.models.captioner import Captioner
from secondlook.models.runtime.engine import exactly
from secondlook.randomness import Keys
from secondlook.signals import SOUND

VIEWS = 256
"""Views that go through the model at once; more only take memory."""
ITERATES = 4
"""Points of a defense's loop, at most, that an attacker looks at together."""


class Guarded:
    """A model behind a defense, whatever the model's capability.

    A classifier's views are voted on, an embedder's vectors are averaged, of a captioner's texts
    the medoid is taken. Where the defense has a detector, an input above the threshold is rejected.
    Where it has an adaptation, that answers for each view, with the model.

    Args:
        model: a classifier, an embedder or a captioner; another model only has ``views``.
        defense: its settings; None is undefended.
        caption: how a captioner writes, as the keywords of ``Captioner.caption``.

    Raises:
        InvalidInput: the defense cannot stand in front of such a model.

    Example:
        ``Guarded(load("scenes:classifier"), Jpeg(quality=50))(images).accepted``
    """

    def __init__(
        self, model: Model, defense: Defense | None = None, *, caption: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.defense = Undefended() if defense is None else defense
        self.caption = dict({"length": 40} if caption is None else caption)
        self.detector: Detector | None = self.defense.detector(model)
        self.adaptation: Adaptation | None = self.defense.adaptation(model)
        self._answers = _answers(self)

    @property
    def parts(self) -> tuple[Model, ...]:
        """All models inside, each once; what is decided depends on each of them."""
        detecting = self.detector.parts if self.detector else ()
        adapting = self.adaptation.parts if self.adaptation else ()
        every = (self.model, *self.defense.models, *detecting, *adapting)
        return tuple({id(part): part for part in every}.values())

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks inside."""
        return tuple(module for part in self.parts for module in part.modules)

    @property
    def bare(self) -> bool:
        """Whether nothing stands in front of the model."""
        return not self.defense.transforms and self.detector is None and self.adaptation is None

    @property
    def transforms(self) -> bool:
        """Whether the model is shown other views than the input itself."""
        return self.defense.transforms

    @property
    def adapts(self) -> bool:
        """Whether the defense works with the model itself before it answers."""
        return self.adaptation is not None

    @cached_property
    def undefended(self) -> Guarded:
        """The model alone."""
        return Guarded(self.model, caption=self.caption)

    @cached_property
    def ungated(self) -> Guarded:
        """The same defense without its detector: nothing is rejected."""
        open_gate = copy(self)
        open_gate.detector = None
        open_gate._answers = _answers(open_gate)
        return open_gate

    @property
    def gated(self) -> bool:
        """Whether the adaptation leaves some inputs as they are."""
        return self.adaptation is not None and self.adaptation.gated

    @cached_property
    def past_gate(self) -> Guarded:
        """The bare model that rejects whatever the gate of the adaptation stops, for an attacker to aim at."""
        assert self.adaptation is not None
        return Guarded(self.model, PastGate(gated=self.adaptation, draws=self.defense.stochastic), caption=self.caption)

    @cached_property
    def iterates(self) -> tuple[Guarded, ...]:
        """The same defense after 1 to all of its loop's steps, a few of them; none where it has no loop."""
        steps = getattr(self.defense, "steps", 0) if self.adapts else 0
        if steps < 2:
            return ()
        fewer = sorted({1 + round(at * (steps - 1) / (ITERATES - 1)) for at in range(ITERATES)} - {steps})
        stopped = [replace(self.defense, **{"steps": count}) for count in fewer]
        return (*(Guarded(self.model, each, caption=self.caption) for each in stopped), self)

    @property
    def links(self) -> Mapping[str, Guarded]:
        """Where several detectors are joined, the same defense with each of them alone, by name."""
        return self.detector.alone if self.detector is not None else {}

    @property
    def stochastic(self) -> bool:
        """Whether two decisions on one input may differ."""
        return self.defense.stochastic or (self.detector is not None and self.detector.stochastic)

    @property
    def rejects(self) -> bool:
        """Whether a surrogate says how far an input is from being rejected."""
        return self.detector is not None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of a classifier; none of other models."""
        return self.model.classes if isinstance(self.model, Classifier) else ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that inputs are attacked at; None where any size will do."""
        size: tuple[int, int] | None = getattr(self.model, "size", None)
        return size

    @property
    def draws(self) -> int:
        """The views of an input that the model answers for."""
        return self.defense.count

    def to(self, device: torch.device) -> None:
        """Moves all models inside."""
        for part in self.parts:
            part.to(device)

    @property
    def calibration(self) -> Source | None:
        """The clean data that the threshold comes from; None where none does."""
        return self.defense.calibration if self.detector else None

    @cached_property
    def clean_suspicion(self) -> Tensor:
        """Suspicions of the clean inputs that are calibrated on, ``[n]``; of none, ``[0]``."""
        if self.calibration is None:
            return torch.zeros(0)
        device = self.model.device
        with torch.no_grad(), evaluating(self.modules), exactly(self.parts):
            return clean_scores(
                self.calibration,
                lambda x, keys: self.suspicion(x.to(device or x.device), keys),
                self.size,
                self.defense.calibrate_samples,
            )

    @cached_property
    def threshold(self) -> float:
        """The largest suspicion that is accepted; calibrated when it is first asked for."""
        if self.calibration is None:
            return self.defense.threshold
        return conformal_threshold(self.clean_suspicion, self.defense.false_rejection)

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds at the usual rates, as far as there is clean data for each."""
        return thresholds(self.clean_suspicion) if self.calibration is not None else {}

    def prepare(self) -> None:
        """Calibrates, which is done once and is no part of a decision's cost."""
        _ = self.threshold

    def forget(self) -> None:
        """Empties caches, so that what is counted next is the cost of a model that has just been loaded."""
        if self.detector is not None:
            self.detector.forget()

    def __call__(self, x: Tensor, keys: Keys | None = None) -> Decision:
        """Decides, with draws of its own where no keys are given; on sounds too, ``[B, T]`` in [-1, 1].

        Raises:
            InvalidInput: as :meth:`decide`.
        """
        x = SOUND.carried(x) if x.dim() == 2 else x
        return self.decide(x, Keys.of(0, range(len(x))) if keys is None else keys)

    def decide(self, x: Tensor, keys: Keys) -> Decision:
        """Decides on ``[B, C, H, W]`` in [0, 1], in fp32; ``keys``, one per sample, feed its draws.

        Raises:
            InvalidInput: no pixels in [0, 1], or not one key per sample.
        """
        if len(keys) != len(x):
            raise InvalidInput(f"{len(keys)} keys for {len(x)} samples; one key per sample")
        with torch.no_grad(), evaluating(self.modules), exactly(self.parts):
            decision = self._answers.decide(x, keys)
            if self.detector is None:
                return decision
            answer = self._answers.answer(decision.outputs, self.detector)
            found = self.detector.inspect(x, self._answers.detector_keys(keys), answer).value
            accepted = self.detector.accepts(found, answer.scores, self.threshold)
            if self.detector.reads_captions:
                said = [bool(text.strip()) for text in answer.captions]
                accepted = accepted & torch.tensor(said, dtype=torch.bool, device=accepted.device)
            return replace(decision, accepted=accepted & decision.accepted, suspicion=found)

    def read(self, outputs: Tensor | list[str]) -> Answer:
        """Answers of the model as the detector may use them; nothing where there is none."""
        return self._answers.answer(outputs, self.detector) if self.detector is not None else Answer()

    def detector_keys(self, keys: Keys) -> Keys:
        """The keys of the detector's draws for inputs with ``keys``."""
        return self._answers.detector_keys(keys)

    @property
    def fixed(self) -> Guarded:
        """The same with its thresholds as numbers: it decides as this does, and calibrates nothing."""
        return Guarded(self.model, self.defense.fixed(self), caption=self.caption)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] | None = None) -> Tensor:
        """``[B]``, of the model's own answers, or of ``captions`` where they are given.

        It is differentiable in ``x`` through the detector, the answers being what they are.

        Raises:
            InvalidInput: nothing is ever suspicious, or not as many captions as inputs.
        """
        if self.detector is None:
            raise InvalidInput(f"nothing in front of {self.model.name} is suspicious of an input")
        answer = Answer(captions=captions or ())
        if captions is None and self.detector.reads_answers:
            answer = self._answers.answer(self._answers.outputs(x, keys), self.detector)
        return self.detector.inspect(x, self._answers.detector_keys(keys), answer).value

    def texts(self, x: Tensor, keys: Keys) -> list[str]:
        """What whoever asks a captioner gets to read: nothing where an answer is held back."""
        found = self.decide(x, keys)
        given = zip(found.texts, found.accepted.tolist(), strict=True)
        return [text if accepted else "" for text, accepted in given]

    def views(self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full") -> Tensor:
        """What the model is shown of inputs: ``draws`` views of each, ``[B * draws, C, H, W]``."""
        return self.defense.views(x, keys, draws, gradient=gradient)

    def shown(self, x: Tensor, keys: Keys) -> Tensor:
        """What the model is shown when it has to answer: ``self.draws`` views of each, in fp32."""
        with torch.no_grad(), evaluating(self.modules), exactly(self.parts):
            return self.views(x, keys, self.draws)

    def surrogate(self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full") -> Surrogate:
        """The differentiable side that an adaptive attack optimizes.

        Args:
            x: inputs ``[B, C, H, W]`` in [0, 1].
            keys: one for each input.
            draws: fresh draws of a randomized defense, side by side in the batch (EOT).
            gradient: through the transform, or past it.

        Raises:
            InvalidInput: the model gives neither scores nor vectors.
        """
        count = draws if self.stochastic else 1
        features, scores = self._answers.per_draw(x, keys, count, gradient)
        if self.detector is None:
            return Surrogate(features=features, scores=scores)
        return self._with_acceptance(x, keys, features, scores)

    def _with_acceptance(self, x: Tensor, keys: Keys, features: Tensor, scores: Tensor) -> Surrogate:
        """The same with how far each draw is from being rejected."""
        assert self.detector is not None
        draws = scores.shape[1]
        answer = self._answers.answer(scores.flatten(0, 1), self.detector)
        each = self._answers.detector_keys(keys).repeat(draws)
        wide = x.repeat_interleave(draws, 0) if draws > 1 else x
        found: Suspicion = self.detector.inspect(wide, each, answer)
        least = max(self.threshold, self.detector.least_threshold)
        shape = (len(x), draws)
        auxiliary = found.auxiliary
        slack = least - (found.value[:, None] if found.each is None else found.each)
        # Whoever is rejected by several detectors has to get past each of them.
        acceptance = slack.clamp_max(0).sum(1) + slack.amin(1).clamp_min(0)
        return Surrogate(
            features=features,
            scores=scores,
            acceptance=acceptance.view(shape),
            auxiliary=None if auxiliary is None else auxiliary.unflatten(0, shape),
        )

    def adapted(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """What the model says of each view ``[B, C, H, W]`` once it is adapted to it.

        Raises:
            InvalidInput: the adaptation leaves the model changed, draws from a global generator, or
                answers what is no number, or not in the shape that the model does.
        """
        assert self.adaptation is not None
        who = self.defense.registered_name or type(self.defense).__name__
        with borrowed(self.modules, who):
            found = self.adaptation.answer(x, keys, gradient)
        wide = len(self.classes) or found.scores.shape[-1]
        if found.scores.shape != (len(x), wide) or len(found.features) != len(x):
            raise InvalidInput(
                f"the defense {who} answered features {tuple(found.features.shape)} and scores "
                f"{tuple(found.scores.shape)} for {len(x)} inputs; return [B, D] and [B, {wide}]"
            )
        if not bool(found.features.isfinite().all() and found.scores.isfinite().all()):
            raise InvalidInput(f"the defense {who} answered NaN or infinite numbers; look at its divisions and roots")
        return found

    def embedder(self, draws: int = 1, gradient: Gradient = "full") -> Embedder:
        """An embedder that sees images through the defense; the model itself where nothing defends.

        Args:
            draws: fresh draws in each step.
            gradient: through the transform, or past it.

        Raises:
            InvalidInput: the model embeds nothing.
        """
        if not isinstance(self.model, Embedder):
            raise InvalidInput(
                f"{self.model.name} embeds nothing, and an attack on pairs needs images and texts "
                'in one space; make it on another model: surrogates = ["scenes:clip"], and '
                'knowledge = ["transfer"] under the attack'
            )
        return GuardedEmbedder(self, draws, gradient) if self.transforms or self.adapts else self.model


class GuardedEmbedder(Embedder):
    """An embedder that sees images through a defense, anew each time that it is asked.

    All images of a batch share a step's draws, so that they do not depend on the batch.

    Args:
        guarded: the embedder behind its defense.
        draws: views of each image, whose vectors are averaged.
        gradient: through the transform, or past it.
    """

    def __init__(self, guarded: Guarded, draws: int, gradient: Gradient) -> None:
        assert isinstance(guarded.model, Embedder)
        self.guarded, self.draws, self.gradient = guarded, draws, gradient
        self.embedder: Embedder = guarded.model
        self.name, self.modules = self.embedder.name, guarded.modules
        self.engine, self.steps = self.embedder.engine, 0

    @property
    def hash(self) -> str:
        """The embedder's own."""
        return self.embedder.hash

    def begin(self) -> None:
        """Draws from the beginning again, as each new batch to attack has it."""
        self.steps = 0

    def embed(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]``, the normalized mean over the draws."""
        keys = Keys.of(0, [0] * len(x)).fold("look", self.steps)
        self.steps += 1
        found = self.guarded.surrogate(x, keys, self.draws, self.gradient)
        return F.normalize(found.features.mean(1), dim=-1)

    def encode_image(self, x: Tensor) -> Tensor:
        """As :meth:`embed`: a mean of unit vectors has no raw form."""
        return self.embed(x)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """The embedder's own: captions are not transformed."""
        return self.embedder.encode_text(texts)


class Draws(NamedTuple):
    """What a model makes of several views of each input.

    Attributes:
        features: ``[B, N, D]``.
        scores: ``[B, N, K]``; an embedder's are its vectors.
    """

    features: Tensor
    scores: Tensor


class _Answers(ABC):
    """How a model of one capability answers for the views of an input."""

    def __init__(self, guarded: Guarded) -> None:
        self.guarded, self.defense = guarded, guarded.defense

    @abstractmethod
    def decide(self, x: Tensor, keys: Keys) -> Decision:
        """The answer to each input, all of them accepted."""

    def outputs(self, x: Tensor, keys: Keys) -> Tensor | list[str]:
        """The answers alone."""
        return self.decide(x, keys).outputs

    @abstractmethod
    def per_draw(self, x: Tensor, keys: Keys, draws: int, gradient: Gradient, first: int = 0) -> Draws:
        """What the model makes of ``draws`` views of each input, differentiable."""

    def answer(self, outputs: Tensor | list[str], detector: Detector) -> Answer:
        """The answers as a detector may use them."""
        assert isinstance(outputs, Tensor)
        return Answer(scores=outputs)

    def detector_keys(self, keys: Keys) -> Keys:
        """The keys of a detector's draws, which are others than a transform's."""
        return keys.fold("detect") if self.defense.transforms or self.guarded.adapts else keys

    def adaptation_keys(self, keys: Keys, draws: int, first: int) -> Keys:
        """The keys of an adaptation's draws, one for each view."""
        return keys.repeat(draws, first).fold("adapt")


class _Classifier(_Answers):
    """Votes over the views; nothing votes where there is one."""

    def __init__(self, guarded: Guarded, model: Classifier) -> None:
        super().__init__(guarded)
        self.model = model

    def decide(self, x: Tensor, keys: Keys) -> Decision:
        """Draws in rounds: first as many as could decide, then one by one where it is close."""
        count = self.defense.count
        if not len(x) or not (self.defense.transforms or self.guarded.adapts):
            features = self.model.features(x)
            return single(self.model.scores(features), features)
        if not self.defense.transforms and count == 1:
            alone = self.per_draw(x, keys, 1, "full")
            return single(alone.scores[:, 0], alone.features[:, 0])
        poll = Poll(x, count, self.defense.rule, self.defense.stop_error)
        rows, stops = poll.open(), self.defense.early_stop and self.defense.rule != "mean"
        first, wanted = 0, poll.first if stops else count
        while first < count and len(rows):
            size = min(max(wanted, 1), count - first, max(1, VIEWS // len(rows)))
            poll.count(rows, *self.per_draw(x[rows], keys[rows], size, "full", first))
            first, wanted = first + size, wanted - size
            rows = poll.open() if stops else rows
        return poll.decision(self.model.features(x))

    def outputs(self, x: Tensor, keys: Keys) -> Tensor:
        """Scores ``[B, K]``."""
        return self.decide(x, keys).scores

    def per_draw(self, x: Tensor, keys: Keys, draws: int, gradient: Gradient, first: int = 0) -> Draws:
        """Features and scores of each view; a deterministic transform is applied once."""
        count = draws if self.defense.stochastic else 1
        views = self.defense.views(x, keys, count, first, gradient)
        if self.guarded.adapts:
            found = self.guarded.adapted(views, self.adaptation_keys(keys, count, first), gradient)
            features, scores = (part.unflatten(0, (len(x), count)) for part in found)
        else:
            features = self.model.features(views)
            features = features.view(len(x), count, *features.shape[1:])
            scores = self.model.scores(features)
        if count == draws:
            return Draws(features, scores)
        return Draws(features.expand(-1, draws, *features.shape[2:]), scores.expand(-1, draws, -1))

    def answer(self, outputs: Tensor | list[str], detector: Detector) -> Answer:
        """Scores, and the classes in the detector's prompt where it reads captions."""
        assert isinstance(outputs, Tensor)
        if not detector.reads_captions:
            return Answer(scores=outputs)
        chosen = outputs.argmax(1).tolist()
        return Answer(outputs, [detector.caption_of(self.model.classes[row]) for row in chosen])


class _Embedder(_Answers):
    """The normalized mean of the views' vectors."""

    def __init__(self, guarded: Guarded, model: Embedder) -> None:
        super().__init__(guarded)
        self.model = model

    def decide(self, x: Tensor, keys: Keys) -> Decision:
        """Unit vectors ``[B, D]``."""
        vectors = self.per_draw(x, keys, self.defense.count, "full").features.mean(1)
        return single(F.normalize(vectors, dim=-1), vectors, classes=0)

    def per_draw(self, x: Tensor, keys: Keys, draws: int, gradient: Gradient, first: int = 0) -> Draws:
        """Vectors of each view."""
        count = draws if self.defense.stochastic else 1
        views = self.defense.views(x, keys, count, first, gradient)
        if self.guarded.adapts and len(x):
            found = self.guarded.adapted(views, self.adaptation_keys(keys, count, first), gradient).features
        else:
            found = self.model.embed(views)
        vectors = found.unflatten(0, (len(x), count)).expand(-1, draws, -1)
        return Draws(vectors, vectors)


class _Captioner(_Answers):
    """The medoid of what is said of the views."""

    def __init__(self, guarded: Guarded, model: Captioner) -> None:
        super().__init__(guarded)
        self.model, self.caption = model, guarded.caption

    def decide(self, x: Tensor, keys: Keys) -> Decision:
        """A text for each input."""
        return single(x.new_zeros(len(x), 1), x.new_zeros(len(x), 0), texts=self.outputs(x, keys))

    def outputs(self, x: Tensor, keys: Keys) -> list[str]:
        """Of several views the text that has most in common with the others."""
        count = self.defense.count
        views = self.defense.views(x, keys, count)
        each = keys.repeat(count) if self.defense.transforms else keys
        texts = self.model.caption(views, each.fold("caption"), **self.caption)
        several = [texts[at : at + count] for at in range(0, len(texts), count)]
        return [some[medoid(some)] for some in several]

    def per_draw(self, x: Tensor, keys: Keys, draws: int, gradient: Gradient, first: int = 0) -> Draws:
        """There are none.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"{self.model.name} writes texts, and has neither scores nor vectors to optimize; take "
            "an objective on captions"
        )

    def answer(self, outputs: Tensor | list[str], detector: Detector) -> Answer:
        """The texts."""
        assert isinstance(outputs, list)
        return Answer(captions=outputs)

    def detector_keys(self, keys: Keys) -> Keys:
        """Other draws than those of the words."""
        return keys.fold("detect")


def _answers(guarded: Guarded) -> _Answers:
    model = guarded.model
    if isinstance(model, Classifier):
        return _Classifier(guarded, model)
    if isinstance(model, Embedder):
        return _Embedder(guarded, model)
    if isinstance(model, Captioner):
        return _Captioner(guarded, model)
    raise InvalidInput(
        f"{getattr(model, 'name', model)!r} is no classifier, embedder or captioner; name one of those to defend"
    )


def single(scores: Tensor, features: Tensor, *, classes: int | None = None, texts: list[str] | None = None) -> Decision:
    """The decision of one draw that accepts everything.

    Args:
        scores: ``[B, K]``.
        features: ``[B, D]``.
        classes: 0 where the scores are of no classes.
        texts: what is answered in place of the scores.
    """
    votes = scores.new_zeros(len(scores), 0, dtype=torch.long)
    if texts is None and classes != 0:
        votes = F.one_hot(scores.argmax(1), scores.shape[1])
    ones = torch.ones(len(scores), dtype=torch.long, device=scores.device)
    return Decision(
        outputs=scores if texts is None else texts,
        features=features,
        accepted=ones.bool(),
        suspicion=torch.zeros(len(scores), device=scores.device),
        votes=votes,
        draws=ones,
    )
