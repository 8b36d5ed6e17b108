"""The detectors of a guarded model one after the other: an input leaves at the first that rejects it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from secondlook.decision import Decision
from secondlook.defenses.base import Answer, Detector
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.models.base import evaluating
from secondlook.models.runtime.engine import exactly
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One detector of a guarded model.

    Attributes:
        name: of the detector.
        reads_answers: whether it needs what the model says.
        suspicion: of inputs, a key for each, and what the model says of them, ``[B]`` in the units of the
            guarded model's threshold.
    """

    name: str
    reads_answers: bool
    suspicion: Callable[[Tensor, Keys, Answer], Tensor]


@dataclass(frozen=True, kw_only=True)
class Cascaded:
    """What became of ``B`` inputs.

    Attributes:
        accepted: ``[B]`` bool.
        suspicion: ``[B]``, the largest of the stages that were asked.
        each: ``[B, S]``, of every stage; NaN of one that was not reached.
        last: ``[B]``, the place of the stage that rejected, S where none did.
        answers: what the model says of the inputs ``rows``, in their order.
        rows: the inputs that the model was asked about, ``[R]``.
    """

    accepted: Tensor
    suspicion: Tensor
    each: Tensor
    last: Tensor
    answers: Decision | None
    rows: Tensor


def stages(guarded: Guarded) -> tuple[Stage, ...]:
    """The detectors of a guarded model, in the order of its stack.

    Raises:
        InvalidInput: it has none, and rejects nothing.
    """
    detector = guarded.detector
    if detector is None:
        raise InvalidInput(
            f"{guarded.defense.registered_name} in front of {guarded.model.name} rejects nothing, and a guard has to; "
            'put a detector beside it, ["consensus", "magnet"]'
        )
    if detector.links:
        return tuple(
            Stage(name=link.label, reads_answers=link.detector.reads_answers, suspicion=link.scaled)
            for link in detector.links
        )
    name = f"{guarded.defense.registered_name} {guarded.defense.variant}".strip()
    return (Stage(name=name, reads_answers=detector.reads_answers, suspicion=lambda *of: detector.inspect(*of).value),)


def cascade(guarded: Guarded, x: Tensor, keys: Keys) -> Cascaded:
    """Decides as ``guarded`` does, and asks no detector about an input that one before it has rejected.

    Args:
        guarded: a model behind a defense that rejects.
        x: inputs ``[B, C, H, W]`` in [0, 1].
        keys: one for each input.

    Raises:
        InvalidInput: as :func:`stages`, or not one key for each input.
    """
    if len(keys) != len(x):
        raise InvalidInput(f"{len(keys)} keys for {len(x)} inputs; one key for each")
    with torch.no_grad(), evaluating(guarded.modules), exactly(guarded.parts):
        going = _Remaining(guarded, x, keys)
        for at, stage in enumerate(stages(guarded)):
            going.through(at, stage)
        return going.end()


@dataclass
class _Remaining:
    """Inputs on their way through the stages."""

    guarded: Guarded
    x: Tensor
    keys: Keys
    answered: Decision | None = None
    rows: Tensor = field(init=False)
    asked: Tensor = field(init=False)

    def __post_init__(self) -> None:
        assert self.guarded.detector is not None
        self.detector: Detector = self.guarded.detector
        count, device = len(self.x), self.x.device
        self.rows, self.asked = torch.arange(count, device=device), torch.zeros(0, dtype=torch.long, device=device)
        self.each = torch.full((count, len(stages(self.guarded))), float("nan"), device=device)
        self.last = torch.full((count,), self.each.shape[1], device=device)
        self.inner = self.guarded.detector_keys(self.keys)

    def through(self, at: int, stage: Stage) -> None:
        """One stage; what it rejects leaves."""
        if not len(self.rows):
            return
        answer = self.answer() if stage.reads_answers else Answer()
        found = stage.suspicion(self.x[self.rows], self.inner[self.rows], answer)
        self.each[self.rows, at] = found.to(self.each.dtype)
        passed = self.detector.accepts(found, answer.scores, self.guarded.threshold)
        self.last[self.rows[~passed]] = at
        self.rows = self.rows[passed]

    def answer(self) -> Answer:
        """What the model says of those that are left, as a detector may use it."""
        decided = self.decided()
        outputs, at = decided.outputs, torch.searchsorted(self.asked, self.rows)
        return self.guarded.read([outputs[row] for row in at.tolist()] if isinstance(outputs, list) else outputs[at])

    def decided(self) -> Decision:
        """The model's answers to those that are left, asked for when they are first needed."""
        if self.answered is None:
            self.asked = self.rows
            self.answered = self.guarded.ungated.decide(self.x[self.rows], self.keys[self.rows])
        return self.answered

    def end(self) -> Cascaded:
        """Those that are left are answered, but for what is no answer."""
        if len(self.rows):
            decided = self.decided()
            silent = ~decided.accepted[torch.searchsorted(self.asked, self.rows)]
            if self.detector.reads_captions:
                blank = [not text.strip() for text in self.answer().captions]
                silent = silent | torch.tensor(blank, dtype=torch.bool, device=silent.device)
            self.last[self.rows[silent]] = self.each.shape[1] - 1
            self.rows = self.rows[~silent]
        accepted = torch.zeros(len(self.x), dtype=torch.bool, device=self.x.device)
        accepted[self.rows] = True
        most = self.each.nan_to_num(nan=float("-inf")).amax(1)
        return Cascaded(
            accepted=accepted, suspicion=most, each=self.each, last=self.last, answers=self.answered, rows=self.asked
        )
