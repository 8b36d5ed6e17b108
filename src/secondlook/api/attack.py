"""One call that attacks a model on a batch, and believes nothing but a fresh decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic

import torch
from torch import Tensor

from secondlook import registry
from secondlook.api.defend import guarded
from secondlook.api.inputs import Array, back, carried, radius, signal_of
from secondlook.api.subject import Subject, home
from secondlook.attacks.apgd import APGD
from secondlook.attacks.autoattack import AutoAttack
from secondlook.attacks.base import Attack, AttackResult, Objective
from secondlook.attacks.fab import FAB
from secondlook.attacks.illusion import Illusion
from secondlook.attacks.square import Square
from secondlook.bounds import natural
from secondlook.decision import Outcome
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.labels import labels
from secondlook.ledger import Ledger, counting
from secondlook.models.base import Classifier
from secondlook.models.runtime import engine
from secondlook.models.runtime.memory import halving
from secondlook.objectives.base import Goal, GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding, Targeted
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.progress import Tick, progress as bar
from secondlook.randomness import Keys
from secondlook.signals import Signal
from secondlook.threat import Norm, Threat

COSINE_TEMPERATURE = 0.05
"""Of the softmax over cosines in a targeted attack; over logits it is 1."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Adversarials(Generic[Array]):
    """What an attack has made of a batch.

    Attributes:
        x: the inputs ``[B, C, H, W]``, or ``[B, T]``, as arrays of the kind, dtype and device that were given.
        success: ``[B]`` bool, whether a fresh decision on ``x`` is what the attacker wants: a
            wrong answer, or the target. A tie, a NaN and a rejection are no success.
        outcome: of that decision, one for each sample.
        by: the attack that fooled each sample; ``clean`` where nothing had to be done, and empty
            where nothing did.
        forwards: samples that the model was shown in the whole call, counted by the model.
        backwards: samples whose gradient was taken.
        seconds: of the whole call.
        notices: what is to be known of how the inputs were made.
    """

    x: Array
    success: Array
    outcome: tuple[Outcome, ...]
    by: tuple[str, ...]
    forwards: int
    backwards: int
    seconds: float
    notices: tuple[str, ...] = ()

    @property
    def robust_accuracy(self) -> float:
        """Share of the samples that are still answered correctly."""
        return self.outcome.count(Outcome.CORRECT) / len(self.outcome)

    def __repr__(self) -> str:
        found = Counter(self.outcome)
        counts = ", ".join(f"{found[kind]} {kind}" for kind in Outcome)
        spent = f"{self.forwards:,} forwards, {self.backwards:,} backwards, {self.seconds:.1f} s"
        return f"Adversarials({len(self.outcome)} samples: {counts}; {spent})"


@torch.inference_mode(False)
def attack(
    model: Subject | Guarded,
    x: Array,
    y: object,
    attack: str | Attack = "autoattack",
    *,
    eps: float | str | None = None,
    norm: Norm = "linf",
    snr: float | None = None,
    target: object = None,
    seed: int = 0,
    draws: int = 1,
    batch_size: int | None = None,
    progress: bool = True,
    device: str | None = None,
    grid: int | None = None,
    classes: Sequence[str] | None = None,
    **settings: Any,
) -> Adversarials[Array]:
    """Attacks a batch, and says on which samples that succeeded.

    The model is put into eval mode and back; its parameters' ``.grad`` and the caller's arrays are
    left alone. Whatever is wrong already costs no attack, where the model is deterministic.

    Args:
        model: an ``nn.Module`` or another function from pixels in [0, 1], or from sounds, to logits ``[B, K]``, a
            name such as ``scenes:classifier``, a model of this package, or what
            :func:`~secondlook.api.defend.defend` returns. Normalization belongs inside.
        x: images ``[B, C, H, W]`` in [0, 1] or sounds ``[B, T]`` in [-1, 1], a torch tensor or a
            NumPy array, fp32 or fp64.
        y: the right classes ``[B]``.
        attack: a name, see ``secondlook attacks``, or an attack such as ``sl.APGD(steps=20)``.
        eps: the radius in pixel units, ``8 / 255``; of a sound in shares of full scale, ``0.002``.
        norm: ``linf``, ``l2`` or ``l1``; the last is of images alone.
        snr: of sounds instead of ``eps``: the least signal-to-noise ratio in dB, ``30``.
        target: the classes ``[B]`` that are wanted, or one for all; None wants any wrong one.
        seed: of all random draws. Results do not depend on ``batch_size`` or order.
        draws: fresh draws of a randomized defense in each step.
        batch_size: samples that are attacked together; None takes all that fit into memory.
        progress: whether what takes over two seconds shows a bar.
        device: where a model of this package is put; your own stays where it is, and the batch is
            brought to it.
        grid: the highest level of a pixel in a file, 255 for 8 bits, whose grid the result is put
            on; of a sound 32,768 for 16-bit samples. None gives floats.
        classes: the names of the classes, which makes a zero-shot classifier of an embedder.
        settings: of the attack, where it is given by name.

    Raises:
        UnknownName: no such model, attack or setting; the nearest are offered.
        InvalidInput: something does not fit; the message says what to write.

    Example:
        ``attack(net, x, y, eps=8 / 255).success``
    """
    form = signal_of(x)
    clean = carried(x, form)
    truth = labels(y, len(clean)).clone()
    wanted = None if target is None else _target(target, truth)
    threat = _threat(form, norm, eps, snr, grid, clean)
    optimizer = _built(attack, settings, targeted=wanted is not None)
    size = _positive(len(clean) if batch_size is None else batch_size, "batch_size")
    seed = natural("seed", seed)
    victim = guarded(model, classes, form)
    clean = clean.to(_place(victim, clean.device, device))
    call = _Call(
        victim=victim,
        optimizer=optimizer,
        threat=threat,
        clean=clean,
        truth=truth.to(clean.device),
        wanted=None if wanted is None else wanted.to(clean.device),
        draws=_positive(draws, "draws"),
        keys=Keys.of(seed, range(len(clean))),
    )
    with (
        bar(call.name, len(clean), show=progress) as tick,
        counting(lambda forwards: tick(tick.done, what=f"{forwards:,} forwards")) as ledger,
    ):
        parts = call.parts(size, tick)
    return _joined(x, parts, ledger, call.notices, form)


def _threat(
    form: Signal, norm: Norm, eps: float | str | None, snr: float | None, grid: int | None, clean: Tensor
) -> Threat:
    """The ball, by its radius or by the ratio of signal to noise.

    Raises:
        InvalidInput: neither or both are given, or they do not fit; a sound is silent, where the ratio counts.
    """
    if eps is None and snr is None:
        raise InvalidInput("eps=None is not a number; write 8/255, or snr=30 for sounds, the least ratio in dB")
    if eps is not None and snr is not None:
        raise InvalidInput(f"eps={eps} and snr={snr}; write one of eps and snr")
    if snr is not None:
        norm, eps = "snr", snr
    levels = None if grid is None else _grid(grid, clean, form)
    threat = Threat(norm=norm, eps=radius(eps), grid=levels, signal=form)
    threat.radius(clean)
    return threat


@dataclass(frozen=True)
class _Part:
    """Some of the samples, attacked and decided on."""

    x: Tensor
    success: Tensor
    outcome: list[Outcome]
    by: list[str]
    notices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Call:
    """One attack on one batch, of which it does some of the samples at a time."""

    victim: Guarded
    optimizer: Attack
    threat: Threat
    clean: Tensor
    truth: Tensor
    wanted: Tensor | None
    draws: int
    keys: Keys

    @property
    def name(self) -> str:
        """Of the attack."""
        return str(getattr(self.optimizer, "registered_name", type(self.optimizer).__name__))

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be known of the attack before it is made."""
        sees_more = self.draws > 1 or getattr(self.optimizer, "draws", 0) > 1
        if not self.victim.stochastic or sees_more:
            return ()
        if isinstance(self.optimizer, AutoAttack) and self.optimizer.version == "rand":
            return ()
        return ("the defense is randomized, and each step saw one draw of it; write draws=20",)

    def parts(self, size: int, tick: Tick) -> list[_Part]:
        """All samples, so many at a time, or as many as fit into memory."""
        parts: list[_Part] = []
        done, count = 0, len(self.clean)
        while done < count:
            some = range(done, min(done + size, count))
            made, fits = halving(partial(self._part, some), len(some))
            parts, done, size = [*parts, *made], some.stop, min(size, fits)
            tick(done, count, "")
        return parts

    def _part(self, some: range, fitting: slice) -> _Part:
        """Decides on clean samples, attacks those that need it, and decides anew."""
        some = some[fitting]
        rows = torch.arange(some.start, some.stop, device=self.clean.device)
        before, _ = self._decided(self.clean[rows], rows, "clean")
        todo = rows if self.victim.stochastic else rows[~before]
        x, by = self.clean[rows].clone(), ["clean"] * len(rows)
        notices: tuple[str, ...] = ()
        if len(todo):
            found = self._attacked(todo)
            x[todo - some.start], notices = found.x.to(x), found.notices
            for row, name in zip(todo.tolist(), self._names(found, len(todo)), strict=True):
                by[row - some.start] = name
        success, outcome = self._decided(x, rows, "fresh")
        by = [name if won else "" for name, won in zip(by, success.tolist(), strict=True)]
        return _Part(x, success, outcome, by, notices)

    def _attacked(self, rows: Tensor) -> AttackResult:
        clean, keys = self.clean[rows], self.keys[rows]
        return self.optimizer(self._objective(rows), clean, self.threat, keys)

    def _objective(self, rows: Tensor) -> Objective:
        """What the attacker wants of the guarded model, which says itself whether it rejects."""
        if self.wanted is not None:
            goal = self._goal(self.wanted[rows])
            return GuardedObjective(goal=goal, victim=self.victim, draws=self.draws)
        untargeted = Untargeted(truth=self.truth[rows])
        return UntargetedObjective(goal=untargeted, victim=self.victim, draws=self.draws)

    def _goal(self, wanted: Tensor) -> Goal:
        """The wanted classes' votes; an illusion is embedded where their texts are."""
        model = self.victim.model
        assert isinstance(model, Classifier)
        vectors = model.class_features(wanted) if isinstance(self.optimizer, Illusion) else None
        if vectors is not None:
            return AlignEmbedding(vectors=vectors.to(self.clean.device), classes=wanted)
        return Targeted(classes=wanted, temperature=COSINE_TEMPERATURE if model.cosine else 1.0)

    def _decided(self, x: Tensor, rows: Tensor, purpose: str) -> tuple[Tensor, list[Outcome]]:
        """Whether a decision is what the attacker wants, ``[A]`` bool, and its outcomes."""
        decision = self.victim.decide(x, self.keys[rows].fold(purpose))
        scores, truth = decision.scores, self.truth[rows]
        labels(truth, classes=scores.shape[1])
        if self.wanted is not None:
            labels(self.wanted, classes=scores.shape[1], field="target")
            won = _lead(scores, self.wanted[rows]) > 0
        else:
            won = _lead(scores, truth) < 0
        known = ~(scores.isnan() | scores.isposinf()).any(1)
        outcome = [
            each if sure or each is not Outcome.CORRECT else Outcome.WRONG
            for each, sure in zip(decision.outcomes(truth), known.tolist(), strict=True)
        ]
        return won & known & decision.accepted, outcome

    def _names(self, found: AttackResult, count: int) -> list[str]:
        """Which attack made each sample, of a composed one the member."""
        if found.by is None:
            return [self.name] * count
        return [self.name if member < 0 else found.members[member] for member in found.by.tolist()]


def _joined(
    like: Array, parts: list[_Part], ledger: Ledger, notices: Iterable[str], form: Signal
) -> Adversarials[Array]:
    """The parts as one result, in arrays of the kind of ``like``."""
    every = [*notices, *(notice for part in parts for notice in part.notices)]
    return Adversarials(
        x=back(form.natural(torch.cat([part.x for part in parts])), like),
        success=back(torch.cat([part.success for part in parts]), like),
        outcome=tuple(each for part in parts for each in part.outcome),
        by=tuple(each for part in parts for each in part.by),
        forwards=ledger.forwards,
        backwards=ledger.backwards,
        seconds=ledger.seconds,
        notices=tuple(dict.fromkeys(every)),
    )


def _lead(scores: Tensor, classes: Tensor) -> Tensor:
    """How far the scores ``[B, K]`` of ``classes`` are above the best of the others, ``[B]``."""
    at = classes[:, None]
    return scores.gather(1, at)[:, 0] - scores.scatter(1, at, float("-inf")).amax(1)


def _target(target: object, truth: Tensor) -> Tensor:
    """The wanted classes ``[B]``.

    Raises:
        InvalidInput: they do not fit, or one of them is the right class.
    """
    every = [target] * len(truth) if isinstance(target, int) else target
    wanted = labels(every, len(truth), field="target").to(truth.device).clone()
    if bool((same := wanted == truth).any()):
        row = int(same.nonzero()[0])
        raise InvalidInput(f"target of sample {row} is {int(wanted[row])}, its right class; want another one")
    return wanted


def _built(attack: object, settings: dict[str, Any], targeted: bool) -> Attack:
    """The attack; one that may maximize a loss of its own takes the target's where there is one.

    Raises:
        UnknownName, InvalidInput: there is none, or it knows no target.
    """
    if isinstance(attack, str):
        made: Any = registry.build("attack", attack, settings)
    elif settings:
        raise InvalidInput(
            f"{', '.join(settings)} beside an attack that is made already; write them into it, or "
            "name it: attack='pgd', steps=20"
        )
    else:
        made = attack
    if isinstance(made, type):
        raise InvalidInput(f"attack={made.__name__} is a class; write {made.__name__}()")
    if not isinstance(made, Attack):
        raise InvalidInput(f"attack={made!r} is no attack; write 'autoattack' or sl.APGD()")
    if targeted and isinstance(made, APGD | Square):
        return replace(made, loss="")
    if targeted and isinstance(made, AutoAttack | FAB):
        raise InvalidInput(
            f"{type(made).__name__} wants any wrong class, and there is a target; write "
            "attack='apgd', or leave target out"
        )
    return made


def _positive(value: int, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{field}={value!r}; write a whole number from 1")
    return value


def _grid(grid: int, clean: Tensor, form: Signal) -> int:
    """The grid, which has to be one that the clean inputs are on.

    Raises:
        InvalidInput: it is none, or some value lies between its levels.
    """
    levels = clean * (_positive(grid, "grid") * form.span)
    if float((levels - levels.round()).abs().max()) > 1e-2:
        raise InvalidInput(
            f"x lies between the levels of grid={grid}, and no file holds it; write (x * {grid}).round() / {grid}"
        )
    return grid


def _place(victim: Guarded, own: torch.device, wanted: str | None) -> torch.device:
    """Where the batch has to be; a model of this package is put where it is ``wanted``.

    Raises:
        InvalidInput: no such device, or a user's own network is elsewhere.
    """
    here = home(victim.modules)
    if here is not None and here.type == "meta":
        raise InvalidInput(f"{victim.model.name} is on the device meta; load its weights first")
    if wanted is None:
        return here or own
    place = engine.device(wanted)
    if isinstance(victim.model.device, torch.device) and here not in (None, place):
        raise InvalidInput(f"{victim.model.name} is on {here} and device={wanted!r}; write model.to({wanted!r})")
    for part in victim.parts:
        part.to(place)
    return place
