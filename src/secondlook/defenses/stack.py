"""A stack: several defenses in front of one model, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from secondlook import registry
from secondlook.bounds import Natural, Share
from secondlook.data import load
from secondlook.data.base import Samples, Source
from secondlook.defenses.base import (
    Adaptation,
    Answer,
    Defense,
    Detector,
    DetectorDefense,
    Gradient,
    Regeneration,
    Suspicion,
)
from secondlook.defenses.calibration import samples_needed
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.voting import Rule
from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.randomness import Keys
from secondlook.registry import register

SMALLEST = 1e-6
"""The least spread of a suspicion that is divided by."""


@register("defense", "stack")
@dataclass(frozen=True, kw_only=True)
class Stack(Defense):
    """Several defenses as one: transforms one after the other, detectors joined, one aggregation.

    The first transform sees the input, and each further one what the one before has made of it. The
    answers for the views of the one defense that has several are aggregated by its rule; one at most
    may adapt itself to the model. Every detector looks at the input itself. What any of them finds
    suspicious is rejected: a suspicion counts by how far it is above the detector's own threshold at
    an M-th of ``false_rejection``, in units of its own spread, both from one half of the held-out clean
    images, and the threshold of the largest comes from the other half (split conformal), so that
    a clean input that is exchangeable with those is rejected with probability ``<= false_rejection``.

    Attributes:
        stack: names, tables of settings or defenses, from the input on; ``jpeg,mirrorcheck`` is two.
        false_rejection: the share of clean inputs that all detectors together may reject; 0 leaves
            ``threshold`` and ``scales``.
        threshold: the largest joint suspicion that is accepted where nothing is calibrated.
        scales: of each detector its own threshold and spread, ``[[0.2, 0.05], …]``, where nothing is calibrated.
        calibrate_on: clean data, by name; never the data that is evaluated.
        calibrate_samples: how many of its images; 0 takes all.

    Raises:
        InvalidInput: fewer than two defenses, one twice, a stack in the stack, two that vote or two that
            adapt, too few clean images for the two halves, or thresholds that are not those of the detectors.
        UnknownName: there is no such defense, or setting of one.

    Example:
        ``sl.defend(model, ["jpeg", "multishield"])``
    """

    stack: Any = ("jpeg", "noise")
    false_rejection: Share = 0.05  # type: ignore[misc]
    threshold: float = float("inf")  # type: ignore[misc]
    scales: Any = ()
    calibrate_on: str = "scenes:calibration"
    calibrate_samples: Natural = 1000  # type: ignore[misc]

    def __post_init__(self) -> None:
        made = tuple(_built(each) for each in _listed(self.stack))
        plain = tuple(_plain(each) for each in made)
        _refuse_misfits(made, plain)
        object.__setattr__(self, "_members", tuple(self._sharing(each, made) for each in made))
        object.__setattr__(self, "stack", plain)
        detecting = self._detecting(made)
        object.__setattr__(self, "scales", _scales(self.scales, detecting, self.false_rejection))
        object.__setattr__(self, "_halves", self._halved() if detecting and self.false_rejection else ())

    @property
    def members(self) -> tuple[Defense, ...]:
        """The defenses, from the input on."""
        found: tuple[Defense, ...] = self.__dict__["_members"]
        return found

    @property
    def transforms(self) -> bool:
        """Whether any member shows the model other views."""
        return any(each.transforms for each in self.members)

    @property
    def models(self) -> tuple[Model, ...]:
        """Those of all members."""
        return tuple(model for each in self.members for model in each.models)

    @property
    def stochastic(self) -> bool:
        """Whether any member draws."""
        return any(each.stochastic for each in self.members)

    @property
    def differentiable(self) -> bool:
        """Each member goes its own way: a gradient where it has one, past it where it has none."""
        return True

    @property
    def count(self) -> int:
        """The views of the one that votes."""
        return self._voting.count

    @property
    def rule(self) -> Rule:  # type: ignore[override]
        """The rule of the one that votes."""
        return self._voting.rule

    @property
    def early_stop(self) -> bool:  # type: ignore[override]
        """Whether the one that votes stops early."""
        return self._voting.early_stop

    @property
    def stop_error(self) -> float:  # type: ignore[override]
        """The error at which it does."""
        return self._voting.stop_error

    @property
    def smoothing(self) -> float:
        """That of the first transform: what follows the noise is a part of the classifier."""
        return next((each.smoothing for each in self.members if each.transforms), 0.0)

    @property
    def calibration(self) -> Source | None:
        """The half of the clean images that the threshold of the whole comes from; None without a detector."""
        halves: tuple[Source, ...] = self.__dict__["_halves"]
        return halves[1] if halves else None

    @property
    def variant(self) -> str:
        """The names of the members."""
        return " + ".join(f"{each.registered_name} {each.variant}".strip() for each in self.members)

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        """One view of each input through all members."""
        return self.views(x, keys, 1)

    def views(self, x: Tensor, keys: Keys, draws: int, first: int = 0, gradient: Gradient = "full") -> Tensor:
        """As of any defense; a member without a gradient of use is passed straight on."""
        made = x.repeat_interleave(draws, 0) if draws > 1 else x
        each = keys.repeat(draws, first)
        for at, member in enumerate(self.members):
            if member.transforms:
                made = member.views(made, each.fold("stack", at), 1, gradient=gradient)
        return made

    def adaptation(self, model: Model) -> Adaptation | None:
        """That of the member that has one."""
        found = [made for each in self.members if (made := each.adaptation(model)) is not None]
        return found[0] if found else None

    def detector(self, model: Model) -> Detector | None:
        """All detectors of the members, joined; None where nothing is ever rejected."""
        found = [(at, made) for at, each in enumerate(self.members) if (made := each.detector(model)) is not None]
        if not found:
            return None
        return JointDetector(links=tuple(self._link(model, *each, row, len(found)) for row, each in enumerate(found)))

    def fixed(self, guarded: Any) -> Defense:
        """With the thresholds and spreads of all its detectors."""
        if guarded.detector is None:
            return self
        scales = [list(link.scale) for link in guarded.detector.links]
        return replace(self, false_rejection=0.0, threshold=guarded.threshold, scales=scales)

    def _link(self, model: Model, at: int, made: Detector, row: int, of: int) -> Link:
        """The detector of the member ``at``, the ``row``-th ``of`` all."""
        halves: tuple[Source, ...] = self.__dict__["_halves"]
        known = self.scales[row] if self.scales else None
        label = f"{self.members[at].registered_name} {self.members[at].variant}".strip()
        rate, half = (self.false_rejection / of, halves[0]) if halves else (0.0, None)
        limit = known[0] if known else self.threshold
        alone = Alone(whole=self, built=made, rate=rate, half=half, threshold=limit)
        return Link(label=label, at=at, detector=made, alone=Guarded(model, alone), known=known)

    @property
    def _voting(self) -> Defense:
        """The member that has several views; the first where none has."""
        return max(self.members, key=lambda each: each.count)

    def _detecting(self, made: Sequence[Defense]) -> int:
        return sum(type(each).detector is not Defense.detector for each in made)

    def _sharing(self, member: Defense, made: Sequence[Defense]) -> Defense:
        """A detecting member as it is calibrated here: at its share of the rate, on the stack's data."""
        if not isinstance(member, DetectorDefense) or not self.false_rejection:
            return member
        return replace(
            member,
            false_rejection=self.false_rejection / self._detecting(made),
            calibrate_on=self.calibrate_on,
            calibrate_samples=self.calibrate_samples,
        )

    def _halved(self) -> tuple[Source, Source]:
        """The clean images in two halves, by their names.

        Raises:
            InvalidInput: either half is too small.
        """
        source = load(self.calibrate_on)
        rows = Keys.of(0, source.ids).fold("calibrate").order()[: self.calibrate_samples or None]
        wanted = samples_needed(self.false_rejection / self._detecting(self.members))
        if len(rows) // 2 < wanted:
            raise InvalidInput(
                f"{len(rows)} clean images of {self.calibrate_on!r} are halved, and each half needs {wanted} or more "
                f"for {self._detecting(self.members)} detector(s) at false_rejection={self.false_rejection:g}; "
                f"write calibrate_samples = {2 * wanted} or more"
            )
        return Half(source, rows[::2]), Half(source, rows[1::2])


class Half(Source):
    """Some images of a source.

    Args:
        source: all of them.
        rows: which.
    """

    rounded = False

    def __init__(self, source: Source, rows: Sequence[int]) -> None:
        self.source, self._rows = source, tuple(rows)
        self.ids = tuple(source.ids[row] for row in rows)
        self.classes, self.prompt, self.provenance = source.classes, source.prompt, source.provenance

    @property
    def content(self) -> tuple[str, ...]:
        """The bytes of the whole."""
        return self.source.content

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows`` of these."""
        return self.source.read([self._rows[row] for row in rows], size)


@dataclass(frozen=True, kw_only=True)
class Alone(Defense):
    """A stack of which one detector alone can reject.

    Attributes:
        whole: the stack.
        built: the detector.
        rate: the false rejection that its threshold is for.
        half: the clean images that it comes from; None where ``threshold`` decides.
        threshold: the largest suspicion that is accepted where nothing is calibrated.
    """

    whole: Stack
    built: Detector
    rate: float
    half: Source | None
    threshold: float  # type: ignore[misc]

    registered_name = "stack"

    @property
    def transforms(self) -> bool:
        """As of the whole."""
        return self.whole.transforms

    @property
    def models(self) -> tuple[Model, ...]:
        """Those of the whole."""
        return self.whole.models

    @property
    def stochastic(self) -> bool:
        """As of the whole."""
        return self.whole.stochastic

    @property
    def count(self) -> int:
        """As of the whole."""
        return self.whole.count

    @property
    def rule(self) -> Rule:  # type: ignore[override]
        """As of the whole."""
        return self.whole.rule

    @property
    def early_stop(self) -> bool:  # type: ignore[override]
        """As of the whole."""
        return self.whole.early_stop

    @property
    def stop_error(self) -> float:  # type: ignore[override]
        """As of the whole."""
        return self.whole.stop_error

    @property
    def false_rejection(self) -> float:  # type: ignore[override]
        """The share of the whole's that is the detector's."""
        return self.rate

    @property
    def calibration(self) -> Source | None:
        """The half that the whole does not take its threshold from."""
        return self.half

    def views(self, x: Tensor, keys: Keys, draws: int, first: int = 0, gradient: Gradient = "full") -> Tensor:
        """As of the whole."""
        return self.whole.views(x, keys, draws, first, gradient)

    def detector(self, model: Model) -> Detector:
        """The one."""
        return self.built

    def adaptation(self, model: Model) -> Adaptation | None:
        """As of the whole."""
        return self.whole.adaptation(model)


@dataclass(frozen=True, kw_only=True)
class Link:
    """One detector of several.

    Attributes:
        label: how it is called.
        at: its place in the stack, which its draws are keyed by.
        detector: the detector.
        alone: the stack of which it alone can reject.
        known: its scale, where that has been measured before.
    """

    label: str
    at: int
    detector: Detector
    alone: Guarded
    known: tuple[float, float] | None = None

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The threshold that the detector would have alone, and the spread of its clean suspicions."""
        if self.known is not None:
            return self.known
        spread = float(self.alone.clean_suspicion.float().std())
        return max(self.alone.threshold, self.detector.least_threshold), max(spread, SMALLEST)

    def inspect(self, x: Tensor, keys: Keys, answer: Answer) -> Suspicion:
        """What the detector makes of inputs; classes are put into its own words."""
        said = answer.captions if self.detector.reads_captions else ()
        if answer.scores is not None:
            said = [self.detector.caption_of(name) for name in said]
        return self.detector.inspect(x, keys.fold("stack", self.at), Answer(answer.scores, said))

    def scaled(self, x: Tensor, keys: Keys, answer: Answer) -> Tensor:
        """How far its suspicion is above its own threshold, in units of its spread, ``[B]``."""
        return self.of(self.inspect(x, keys, answer).value)

    def of(self, found: Tensor) -> Tensor:
        """A suspicion of its detector in those units."""
        threshold, spread = self.scale
        return (found - threshold) / spread


@dataclass(frozen=True, kw_only=True)
class JointDetector(Detector):
    """Several detectors, any of which may reject.

    Attributes:
        links: the detectors.
    """

    links: tuple[Link, ...] = ()

    @property
    def parts(self) -> tuple[Model, ...]:
        """Those of all detectors."""
        return tuple(part for link in self.links for part in link.detector.parts)

    @property
    def reads_captions(self) -> bool:  # type: ignore[override]
        """Whether any of them does."""
        return any(link.detector.reads_captions for link in self.links)

    @property
    def reads_answers(self) -> bool:  # type: ignore[override]
        """Whether any of them does."""
        return any(link.detector.reads_answers for link in self.links)

    @property
    def stochastic(self) -> bool:
        """Whether any of them draws."""
        return any(link.detector.stochastic for link in self.links)

    @property
    def alone(self) -> Mapping[str, Guarded]:
        """The same defense with one of the detectors, by its label."""
        return {link.label: link.alone for link in self.links} if len(self.links) > 1 else {}

    def forget(self) -> None:
        """All of them do."""
        for link in self.links:
            link.detector.forget()

    @property
    def regeneration(self) -> Regeneration | None:
        """That of the first detector that paints."""
        return next((made for link in self.links if (made := link.detector.regeneration) is not None), None)

    def regenerated(self, captions: Sequence[str], keys: Keys) -> Tensor | None:
        """What the first detector that paints has painted."""
        for link in self.links:
            made = link.detector.regenerated(captions, keys.fold("stack", link.at))
            if made is not None:
                return made
        return None

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """The largest of all, ``[B]``."""
        return self.inspect(x, keys, Answer(captions=captions)).value

    def inspect(self, x: Tensor, keys: Keys, answer: Answer) -> Suspicion:
        """How far each suspicion is above its detector's threshold, in units of its spread; the largest counts."""
        found = [link.inspect(x, keys, answer) for link in self.links]
        each = torch.stack([link.of(one.value) for link, one in zip(self.links, found, strict=True)], 1)
        others = [one.auxiliary for one in found if one.auxiliary is not None]
        return Suspicion(each.amax(1), torch.cat(others, 1) if others else None, each)


def _listed(given: object) -> list[Any]:
    """What a user has written, as a list."""
    if isinstance(given, str):
        return [name.strip() for name in given.split(",")]
    if not isinstance(given, list | tuple):
        raise InvalidInput(f'stack = {given!r} is no list of defenses; write ["jpeg", "multishield"]')
    return list(given)


def _scales(given: object, detecting: int, rate: float) -> tuple[tuple[float, float], ...]:
    """Thresholds and spreads that have been measured before, one of each for a detector.

    Raises:
        InvalidInput: they are not, or there are none where nothing is calibrated, or some where something is.
    """
    rows: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not rows and (rate or not detecting):
        return ()
    if rate:
        raise InvalidInput(
            f"stack: scales beside false_rejection={rate:g}, which calibrates them; leave one of them out"
        )
    if not rows:
        raise InvalidInput("stack: false_rejection = 0 leaves no threshold of the whole; write 0.05 for 5 %")
    try:
        made = tuple((float(limit), float(spread)) for limit, spread in rows)
    except (TypeError, ValueError):
        made = ()
    if len(made) != detecting or not all(isfinite(limit) and 0 < spread < inf for limit, spread in made):
        raise InvalidInput(
            f"stack: scales = {given!r} is no threshold and positive spread of each of {detecting} detector(s)"
        )
    return made


def _built(given: object) -> Defense:
    """The defense that a name or a table says, or that is given.

    Raises:
        UnknownName, InvalidInput: it is none, or has no such setting.
    """
    if isinstance(given, Defense):
        return given
    table = {"name": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise InvalidInput(f'stack: {given!r} is no defense; write "jpeg" or {{name = "jpeg", quality = 50}}')
    settings = {key: value for key, value in table.items() if key != "name"}
    made: Defense = registry.build("defense", table["name"], settings)
    return made


def _plain(member: Defense) -> dict[str, Any]:
    """Its name and what of its settings is not as usual; a model that is an object goes by its name."""
    if not member.registered_name:
        raise InvalidInput(f"stack: {type(member).__name__} is not registered; put @register above it")
    usual = {f.name: f.default for f in fields(type(member))}
    settings = {key: value for key, value in registry.describe(member).items() if value != usual.get(key)}
    return {key: getattr(value, "name", value) for key, value in settings.items()}


def _refuse_misfits(made: Sequence[Defense], plain: Sequence[Mapping[str, Any]]) -> None:
    """Refuses what makes no stack.

    Raises:
        InvalidInput: see :class:`Stack`.
    """
    names = [each.registered_name for each in made]
    if len(made) < 2:
        raise InvalidInput(f"stack = {names} is {len(made)} defense(s); write two or more, or the one alone")
    if any(isinstance(each, Stack) for each in made):
        raise InvalidInput("stack holds a stack; write all of its members in one list")
    if twice := [name for name, table in zip(names, plain, strict=True) if list(plain).count(table) > 1]:
        raise InvalidInput(f"stack has {twice[0]!r} twice with equal settings; write each once")
    voting = [name for name, each in zip(names, made, strict=True) if each.count > 1]
    if len(voting) > 1:
        raise InvalidInput(f"{' and '.join(voting)} vote, and a stack has one aggregation; write samples = 1 for one")
    adapting = [name for name, each in zip(names, made, strict=True) if type(each).adaptation is not Defense.adaptation]
    if len(adapting) > 1:
        raise InvalidInput(f"{' and '.join(adapting)} adapt themselves to the model; a stack takes one of them")
