"""Naming what is on an image, with any wrong answer wanted, or one certain answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import ClassVar, Final, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.base import Objective
from secondlook.attacks.pairs import Pairs
from secondlook.bounds import Natural
from secondlook.data import load
from secondlook.data.base import Source
from secondlook.decision import Decision
from secondlook.defenses.base import Defense
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.metrics import figures, outcomes
from secondlook.models.base import Classifier, Embedder, Model, evaluating
from secondlook.models.labels import plain
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import Goal, GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding, Targeted, TargetedMargin
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.schema import Metric, SampleRecord
from secondlook.tasks.base import AttackOptions, Figures, OpenTask, Record, Shown, finite, how_many
from secondlook.tasks.view import SHOWN, GoalView, ImageExample, Part, Table, View, picture, pictures

Wish = Literal["targeted", "untargeted"]
UNTARGETED: Final = "untargeted"
COSINE_TEMPERATURE = 0.05
"""Temperature of soft votes over cosines: the order of a trained CLIP's own."""
_SUM = 1e-4


class Ballot(Part):
    """Votes that one class got."""

    label: str
    votes: int


class ClassExample(ImageExample):
    """An image that a defense answers for, with how its votes fell."""

    truth: str
    target: str
    """What the attacker wants to be answered; empty where any wrong answer will do."""
    reconstructions: list[str]
    undefended_answer: str
    answer: str
    outcome: str
    votes: list[Ballot]


_OPPOSED = "Attackers want what stands on the left high, and what stands on the right low."
VIEW: Final = View(
    goals=(
        GoalView(
            name="targeted",
            deed="reaches the target on",
            gauge="taken over",
            columns=("target_top1", "target_top5", "original_top1"),
            brief=("target_top1", "original_top1"),
            restated=frozenset({"success", "success_worst", "success_vote", "asr_targeted"}),
            drawn=("target_top1", "original_top1"),
            drawn_note=_OPPOSED,
            note="<dfn>Target</dfn>: the attacker’s answer comes out; low is good. "
            "<dfn>Original</dfn>: the right answer stays; high is good.",
        ),
        GoalView(
            name=UNTARGETED,
            deed="gets a wrong answer accepted on",
            gauge="taken over",
            columns=("correct", "wrong", "rejected", "coverage"),
            brief=("correct", "wrong", "rejected"),
            restated=frozenset({"success", "accuracy", "original_top1"}),
            drawn=("wrong", "correct"),
            drawn_note=_OPPOSED,
            note="<dfn>Correct</dfn>: right and accepted; high is good. <dfn>Wrong</dfn>: accepted "
            "all the same, which is what the attacker wants. <dfn>Coverage</dfn>: accepted at all.",
        ),
    ),
    tables=(
        Table(
            title="Top-5 and cosines",
            metrics=("original_top5", "cosine_target", "cosine_original", "cosine_clean_image"),
            note="<dfn>Cosine target</dfn> and <dfn>original</dfn>: of the image to the text of the attacker’s class "
            "and to that of the right one. <dfn>Clean image</dfn>: of the image to itself before the attack.",
        ),
    ),
    example=ClassExample,
    gallery="What the attacker adds is magnified to full contrast; gray means no change.",
    template=files("secondlook.tasks").joinpath("classification.html.jinja"),
)


@dataclass(frozen=True, kw_only=True)
class ClassificationBatch:
    """Some samples of the task.

    Attributes:
        ids: stable names.
        rows: their positions in the source.
        images: ``[B, 3, H, W]`` in [0, 1].
        truth: the class of each, ``[B]``.
        target: the class that an attacker wants, ``[B]``; never the truth.
        keys: one key per sample.
        classes: the names that ``truth`` and ``target`` count: of the model it was made for.
        features: of the clean images, by the name of the model.
    """

    ids: tuple[str, ...]
    rows: tuple[int, ...]
    images: Tensor
    truth: Tensor
    target: Tensor
    keys: Keys
    classes: tuple[str, ...]
    features: dict[str, Tensor] = field(default_factory=dict)

    @property
    def pairs(self) -> Pairs:
        """The images, without captions."""
        return Pairs(self.images, ((),) * len(self.ids))


@register("task", "zeroshot")
@dataclass(frozen=True, kw_only=True)
class ZeroShotTask:
    """Zero-shot classification, or captions to choose from, with a target for each image.

    Attributes:
        data: a source by name, ``scenes:test`` or ``folder:PATH``.
        samples: how many of its images; 0 takes all.
        prompt: template of a class name; empty takes the source's own.
        goal: what the attacker wants: the answer ``targeted``, or any wrong one, ``untargeted``.
        target: align to the ``text`` of another class, or to another ``image`` of the source.
        seed: chooses the images and the targets.

    Raises:
        InvalidInput: a negative number of samples.
    """

    data: str = "scenes:test"
    samples: Natural = 100
    prompt: str = ""
    goal: Wish = "targeted"
    target: Literal["text", "image"] = "text"
    seed: Natural = 0
    view: ClassVar[View] = VIEW

    def open(self) -> OpenClassification:
        """The task with its source found on disk."""
        return OpenClassification(self, load(self.data).labeled())


@register("task", "classification")
@dataclass(frozen=True, kw_only=True)
class ClassificationTask(ZeroShotTask):
    """Classification, attacked untargeted: any answer but the truth will do, if it is accepted.

    Attributes:
        goal: ``untargeted``, or ``targeted`` for what ``zeroshot`` does by itself.
    """

    goal: Wish = "untargeted"


class OpenClassification(OpenTask[ClassificationBatch, Decision]):
    """Classification whose images can be read."""

    rejectable = True
    default_attack = "illusion"
    settings: ZeroShotTask
    source: Source

    def __init__(self, settings: ZeroShotTask, source: Source) -> None:
        if source.signal is not self.signal:
            raise InvalidInput(
                f"data={settings.data!r} holds {source.signal.name}s; write task = "
                f"{'sound' if source.signal.name == 'sound' else 'zeroshot'!r}, or name data of {self.signal.name}s"
            )
        self.settings, self.source = settings, source
        self._keys = Keys.of(settings.seed, source.ids)
        self.rows = tuple(self._keys.fold("choose").order()[: how_many(settings, len(source))])
        self.ids = tuple(source.ids[row] for row in self.rows)

    @property
    def targeted(self) -> bool:
        """Whether the attacker wants one certain answer."""
        return self.settings.goal == "targeted"

    @property
    def objectives(self) -> tuple[str, ...]:
        """Align the embedding, win the votes, or lead all others; or any wrong answer."""
        return ("cosine", "votes", "margin", UNTARGETED) if self.targeted else (UNTARGETED,)

    @property
    def chance(self) -> float:
        """One of the classes of the data, whichever."""
        return 1 / len(self.source.classes)

    @property
    def aims(self) -> Mapping[str, tuple[str, ...]]:
        """The answer itself is easier to reach than the embedding of its name."""
        return {"cosine": ("margin",), "votes": ("margin",)}

    def check(self, model: Model, name: str) -> None:
        """Refuses what cannot name the classes of the data."""
        self.classifier(model)

    def classifier(self, model: Model, prompt: str = "") -> Classifier:
        """The model as a classifier over the classes of this task.

        Args:
            model: an embedder or a classifier.
            prompt: for an embedder, instead of the task's.

        Raises:
            InvalidInput: the model cannot name the classes of the data.
        """
        if isinstance(model, Embedder):
            own = self.settings.prompt or self.source.prompt
            return ZeroShot(model, self.source.classes, prompt or own)
        if not isinstance(model, Classifier):
            raise InvalidInput(
                f"{getattr(model, 'name', type(model).__name__)} neither embeds nor classifies images; "
                "name an embedder or a classifier: scenes:clip, scenes:classifier"
            )
        return model

    def prompted(self, model: Model, prompts: Sequence[str]) -> Iterator[Model]:
        """The model as a classifier; an embedder under each of the prompts."""
        for prompt in (prompts if isinstance(model, Embedder) else ()) or ("",):
            made = self.classifier(model, prompt)
            if prompt:
                made.name = f"{model.name} “{prompt}”"
            yield made

    def guarded(self, model: Model, defense: Defense) -> Guarded:
        """The model as a classifier behind its defense."""
        return Guarded(self.classifier(model), defense)

    def batch_key(self, guarded: Guarded) -> tuple[object, ...]:
        """Targets are drawn among the classes of the model."""
        return (guarded.size, guarded.classes)

    def batch(self, at: Sequence[int], guarded: Guarded) -> ClassificationBatch:
        """Images at the resolution of a model, with their truth and targets as its classes."""
        model = _classifier(guarded)
        rows = tuple(self.rows[each] for each in at)
        ids = tuple(self.source.ids[row] for row in rows)
        images, truth = self.source.read(rows, model.size)
        images, truth = images.to(self.device), translated(truth, self.source, model)
        keys = Keys.of(self.settings.seed, ids)
        return ClassificationBatch(
            ids=ids,
            rows=rows,
            images=images,
            truth=truth,
            keys=keys,
            classes=model.classes,
            target=other_than(truth, keys.fold("target"), model.classes),
        )

    def objective(self, batch: ClassificationBatch, guarded: Guarded, options: AttackOptions) -> Objective:
        """Any wrong answer, or the target's embedding, votes or lead."""
        guarded.prepare()
        model = _classifier(guarded)
        if self.goal(options.objective) == UNTARGETED:
            truth = counted(batch.truth, batch.classes, model).to(self.device)
            return UntargetedObjective(
                goal=Untargeted(truth=truth), victim=guarded, draws=options.draws, gradient=options.gradient
            )
        return GuardedObjective(
            goal=self._goal(batch, model, options.objective),
            victim=guarded,
            draws=options.draws,
            gradient=options.gradient,
        )

    def _goal(self, batch: ClassificationBatch, model: Classifier, objective: str) -> Goal:
        target = counted(batch.target, batch.classes, model).to(self.device)
        if objective == "margin":
            return TargetedMargin(classes=target)
        vectors = self._vectors(target, batch.keys, model)
        if vectors is None or objective == "votes":
            temperature = COSINE_TEMPERATURE if model.cosine else 1.0
            return Targeted(classes=target, temperature=temperature)
        return AlignEmbedding(vectors=vectors, classes=target)

    def _vectors(self, target: Tensor, keys: Keys, model: Classifier) -> Tensor | None:
        if self.settings.target == "text" or not model.cosine:
            return model.class_features(target)
        with torch.no_grad(), evaluating(model.modules):
            return model.features(self._images_of(target, keys, model))

    def _images_of(self, target: Tensor, keys: Keys, model: Classifier) -> Tensor:
        """Another image of the source for each sample, of its target's class."""
        pairs = zip(target, keys.fold("image").words, strict=True)
        return torch.cat([self._find(int(wanted), key, model) for wanted, key in pairs])

    def _find(self, target: int, key: np.uint64, model: Classifier) -> Tensor:
        for row in np.argsort(self._keys.fold("image", int(key)).words):
            images, truth = self.source.read([int(row)], model.size)
            if int(translated(truth, self.source, model)[0]) == target:
                return images.to(self.device)
        raise InvalidInput(f"no image of class {model.classes[target]!r} to aim at; target='text'")

    def answer(self, batch: ClassificationBatch, given: Pairs, guarded: Guarded, keys: Keys) -> Decision:
        """The decision on the images."""
        return guarded.decide(given.images, keys)

    def inspect(self, batch: ClassificationBatch, guarded: Guarded) -> Record:
        """Looks at the defense and at the bare model, whose scores must be logits.

        Raises:
            InvalidInput: the model's scores are no ``[B, K]`` of numbers for its K classes.
        """
        model = _classifier(guarded)
        alone = Guarded(model).decide(batch.images, batch.keys)
        _check_scores(alone.scores, len(batch.ids), model)
        softmax = not model.cosine and _probabilities(alone.scores)
        return {**super().inspect(batch, guarded), "softmax": softmax}

    def agree(self, batch: ClassificationBatch, guarded: Guarded, first: Decision, second: Decision) -> bool:
        """Whether scores and acceptance are the same."""
        return torch.equal(first.accepted, second.accepted) and torch.allclose(
            first.scores, second.scores, rtol=1e-4, atol=1e-5, equal_nan=True
        )

    def records(
        self, batch: ClassificationBatch, guarded: Guarded, answers: Sequence[Decision], objective: str
    ) -> list[Record]:
        """Ranks, success and rejection over the fresh decisions, and what the first one tells."""
        wanted = self.goal(objective) == "targeted"
        columns = {**self._ranks(batch, answers, wanted), **self._first(batch, guarded, answers[0], wanted)}
        lists = {name: finite(value) for name, value in columns.items()}
        ended = answers[0].outcomes(batch.truth.to(answers[0].scores.device))
        return [
            {
                "truth": int(batch.truth[i]),
                **({"target": int(batch.target[i])} if self.targeted else {}),
                "outcome": str(ended[i]),
                **{name: values[i] for name, values in lists.items()},
            }
            for i in range(len(batch.ids))
        ]

    def _ranks(self, batch: ClassificationBatch, answers: Sequence[Decision], wanted: bool) -> dict[str, Tensor]:
        """Over the fresh decisions; ``wanted`` says that only the target is a success."""
        kept = _in_top(answers, batch.truth, 1)
        accepted = torch.stack([decision.accepted for decision in answers])
        columns: dict[str, Tensor] = {}
        success = accepted & _beaten(answers, batch.truth)
        if self.targeted:
            reached = _in_top(answers, batch.target, 1)
            success = reached if wanted else success
            columns |= _over_draws("target_top1", reached, reached.any(0))
            columns["target_top5"] = _in_top(answers, batch.target, 5).float().mean(0)
        columns |= _over_draws("original_top1", kept, kept.all(0))
        columns["original_top5"] = _in_top(answers, batch.truth, 5).float().mean(0)
        columns |= _over_draws("success", success, success.any(0))
        columns["rejected"] = (~accepted).float().mean(0)
        everything = [replace(d, accepted=torch.ones_like(d.accepted)) for d in answers]
        columns["right"] = _in_top(everything, batch.truth, 1).float().mean(0)
        return columns

    def _first(
        self, batch: ClassificationBatch, guarded: Guarded, decision: Decision, wanted: bool
    ) -> dict[str, Tensor]:
        """What the first decision tells besides its ranks."""
        at = decision.votes.device
        truth, target = batch.truth.to(at), batch.target.to(at)
        share = decision.votes / decision.draws[:, None]
        if wanted:
            eta, won = share.gather(1, target[:, None])[:, 0], decision.answer == target
        else:
            # The class that the attacker has brought furthest; the truth's own votes are not his.
            eta, won = share.scatter(1, truth[:, None], 0).amax(1), decision.answer != truth
        columns = {
            "eta": eta,
            "captured": (decision.accepted & won).float(),
            "draws": decision.draws,
            "answer": decision.answer,
            "suspicion": decision.suspicion,
        }
        model = _classifier(guarded)
        if not model.cosine:
            return columns
        # Rounding leaves a cosine of parallel vectors a little above one.
        cosines = model.scores(decision.features).clamp(-1, 1)
        if self.targeted:
            columns["cosine_target"] = cosines.gather(1, target[:, None])[:, 0]
        columns["cosine_original"] = cosines.gather(1, truth[:, None])[:, 0]
        to_clean = F.cosine_similarity(decision.features, _clean_features(batch, model))
        columns["cosine_clean_image"] = to_clean.clamp(-1, 1)
        return columns

    def figures(self, rows: Sequence[Record], clean: Sequence[Record]) -> Figures:
        """Ranks, outcomes, and what was lost against the clean row."""
        found = figures.metrics(rows)
        attacked = rows[0].get("cell") != (clean[0].get("cell") if clean else None)
        if self.targeted:
            return Figures(metrics=found | (_success(rows, clean) if attacked else {}))
        found |= outcomes.rejection(_typed(rows))
        return Figures(
            metrics=found | (_success(rows, clean) if attacked else {}),
            controls=outcomes.controls(_typed(rows)),
            risk=outcomes.risk_curve(_typed(rows)),
        )

    def goal(self, objective: str) -> str:
        """``targeted`` or ``untargeted``; in a targeted task an attack may want any wrong answer."""
        return UNTARGETED if objective == UNTARGETED else self.settings.goal

    def provenance(self) -> Record:
        """How a class is put into words."""
        return {"prompt": self.settings.prompt or self.source.prompt, **super().provenance()}

    def example(self, guarded: Guarded, shown: Shown) -> ClassExample:
        """What the attack changed, what the defense made of it, and how the votes fell."""
        batch, model = self.batch([shown.at], guarded), _classifier(guarded)
        keys, classes = batch.keys.fold("decide", 0), model.classes
        images = shown.given.images
        draws = min(SHOWN, guarded.draws) if guarded.defense.transforms else 0
        with torch.no_grad(), evaluating(guarded.modules):
            views = guarded.views(images, keys, draws) if draws else images[:0]
        decision = guarded.decide(images, keys)
        first = Guarded(model).decide(images, keys)
        votes = decision.votes[0]
        leading = votes.argsort(descending=True, stable=True)[:4].tolist()
        return ClassExample(
            **shown.about,
            **pictures(batch.images[0], images[0]),
            truth=classes[int(batch.truth[0])],
            target=classes[int(batch.target[0])] if self.targeted else "",
            reconstructions=[picture(view) for view in views],
            undefended_answer=classes[int(first.answer[0])],
            answer=classes[int(decision.answer[0])],
            outcome=str(decision.outcomes(batch.truth.to(votes.device))[0]),
            votes=[Ballot(label=classes[i], votes=int(votes[i])) for i in leading if votes[i] > 0],
        )


def _classifier(guarded: Guarded) -> Classifier:
    assert isinstance(guarded.model, Classifier), f"{guarded.model.name} was not checked"
    return guarded.model


def _clean_features(batch: ClassificationBatch, model: Classifier) -> Tensor:
    """What the bare model sees in the clean images; image cosines refer to it."""
    if model.name not in batch.features:
        batch.features[model.name] = Guarded(model).decide(batch.images, batch.keys).features
    return batch.features[model.name]


def _in_top(answers: Sequence[Decision], classes: Tensor, k: int) -> Tensor:
    """Whether each answer accepts and ranks ``classes`` among its first k, ``[R, B]``."""
    return torch.stack([each.in_top(k, classes.to(each.scores.device)) for each in answers])


def _beaten(answers: Sequence[Decision], truth: Tensor) -> Tensor:
    """Whether another class is ahead of the truth, ``[R, B]``; a tie and NaN are no success."""
    found = []
    for scores in (each.scores for each in answers):
        at = truth.to(scores.device)[:, None]
        others = scores.scatter(1, at, float("-inf")).amax(1)
        found.append((others > scores.gather(1, at)[:, 0]) & ~scores.isnan().any(1))
    return torch.stack(found)


def _over_draws(name: str, hits: Tensor, worst: Tensor) -> dict[str, Tensor]:
    """The mean over the fresh draws, the worst of them, and their vote."""
    mean = hits.float().mean(0)
    return {name: mean, f"{name}_worst": worst.float(), f"{name}_vote": (mean > 0.5).float()}


def _typed(rows: Sequence[Record]) -> Sequence[SampleRecord]:
    return cast(Sequence[SampleRecord], rows)


def _success(rows: Sequence[Record], clean: Sequence[Record]) -> dict[str, Metric]:
    return outcomes.attack_success(_typed(rows), _typed(clean))


def _check_scores(scores: Tensor, samples: int, model: Classifier) -> None:
    known = len(model.classes)
    if known < 2:
        raise InvalidInput(f"{model.name} knows {known} class(es); a choice needs two or more")
    if scores.dim() != 2 or len(scores) != samples:
        raise InvalidInput(
            f"{model.name} answers {samples} images with scores of shape {tuple(scores.shape)}; "
            "features() and scores() must keep one row for each image"
        )
    if scores.shape[1] != known:
        raise InvalidInput(
            f"{model.name} gives {scores.shape[1]} scores and names {known} classes; "
            "its classes must be as many, in the order of the scores"
        )
    if bool((scores.isnan() | scores.isposinf()).any()):
        raise InvalidInput(
            f"{model.name} answers clean images with NaN or infinite scores; look at its weights and normalization"
        )


def _probabilities(scores: Tensor) -> bool:
    """Whether every row could be a softmax: within [0, 1], with sum 1."""
    within = bool(((scores >= -_SUM) & (scores <= 1 + _SUM)).all())
    return within and bool(((scores.sum(1) - 1).abs() <= _SUM).all())


def other_than(truth: Tensor, keys: Keys, classes: tuple[str, ...]) -> Tensor:
    """A class for each sample that is neither its own nor called the same, ``[B]``.

    Raises:
        InvalidInput: all classes are called the same.
    """
    called = [plain(name) for name in classes]
    if len(set(called)) < 2:
        raise InvalidInput(f"all classes are called {called[0]!r}; an attacker needs another one")
    count, away = len(classes), keys.integers(len(classes) - 1)
    target = [(int(own) + 1 + step) % count for own, step in zip(truth, away, strict=True)]
    for sample, own in enumerate(truth.tolist()):
        while called[target[sample]] == called[own]:
            target[sample] = (target[sample] + 1) % count
    return torch.tensor(target, dtype=torch.long)


def translated(truth: Tensor, source: Source, model: Classifier) -> Tensor:
    """The source's classes ``[B]`` as the model's, ``[B]``.

    Raises:
        InvalidInput: a label that is no class of the source, or one that the model does not know.
    """
    wrong = truth[(truth < 0) | (truth >= len(source.classes))]
    if len(wrong):
        raise InvalidInput(
            f"the data has the label {int(wrong[0])} and {len(source.classes)} classes; "
            f"labels count from 0 to {len(source.classes) - 1}"
        )
    if model.classes == source.classes:
        return truth
    known = source.indices
    if known is not None and len(model.classes) - 1000 in (0, 1):
        return torch.tensor([known[int(index)] for index in truth]) + len(model.classes) - 1000
    return _by_name(truth, source.classes, model)


def counted(chosen: Tensor, classes: tuple[str, ...], model: Classifier) -> Tensor:
    """Classes ``[B]`` out of ``classes`` as those of another model, ``[B]``.

    Raises:
        InvalidInput: one of them is no class of ``model``.
    """
    if model.classes == classes:
        return chosen
    used, places = torch.unique(chosen, return_inverse=True)
    names = tuple(classes[int(index)] for index in used)
    return _by_name(torch.arange(len(names)), names, model)[places]


def _by_name(chosen: Tensor, names: tuple[str, ...], model: Classifier) -> Tensor:
    known = {plain(name): index for index, name in enumerate(model.classes)}
    ours = [plain(name) for name in names]
    lost = [name for name in ours if name not in known]
    if lost:
        raise InvalidInput(
            f"{model.name} has no class {lost[0]!r} ({len(lost)} of {len(ours)} are unknown); "
            "its labels and those of the data must have the same names"
        )
    return torch.tensor([known[ours[int(index)]] for index in chosen])
