"""A guard in front of a model: one verdict on every input, at a false-alarm rate from clean images.

What a service needs of it: ``Guard.load(path)``, ``guard.check(images, ids)`` with a :class:`Verdict` for each,
``guard.stages`` and ``guard.run(stage, …)`` to run the stages one by one, and ``guard.policy``, what the verdicts
depend on. It decides as ``guard.guarded`` does, which an audit attacks.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from secondlook import registry
from secondlook.api.defend import defend
from secondlook.api.inputs import pixels as batch_of
from secondlook.api.subject import Subject
from secondlook.data import images as pictures
from secondlook.defenses.base import Defense
from secondlook.defenses.cascade import Cascaded, Stage, cascade, stages
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.stack import Stack
from secondlook.errors import InvalidInput
from secondlook.guard.policy import Calibration, Policy, read, realized
from secondlook.models.base import Classifier
from secondlook.randomness import Keys

BATCH = 64
"""Images that are looked at together; verdicts do not depend on it."""
Images = Tensor | np.ndarray[Any, Any] | str | Path | Sequence[str | Path]
"""A batch ``[B, C, H, W]`` in [0, 1], or files."""


@dataclass(frozen=True, kw_only=True)
class Votes:
    """How the views of an accepted input voted.

    Attributes:
        drawn: views.
        most: for the first class.
        agree: their share.
    """

    drawn: int
    most: int
    agree: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a guard says of one input.

    Attributes:
        id: what its draws are keyed by; :meth:`Guard.check` with the same id gives the same verdict.
        decision: whether the model's answer may be given.
        suspicion: the largest of the stages that were asked; higher is more likely attacked.
        p_value: the share of clean inputs that are at least so suspicious; uniform, or larger, on clean ones.
        threshold: the largest suspicion that is accepted.
        stage: the one that rejected; the last where none did.
        looks: the suspicion of each stage that was asked, by name.
        votes: of the views of the defense, where it votes and the input was accepted.
        answer: the class or the caption of an accepted input; None of an embedder.
    """

    id: str
    decision: Literal["accepted", "rejected"]
    suspicion: float
    p_value: float
    threshold: float
    stage: str
    looks: dict[str, float]
    votes: Votes | None = None
    answer: str | None = None


class Guard:
    """A model behind a defense that rejects, calibrated and ready.

    Args:
        model: as ``sl.defend`` takes it; a guard that is saved needs its name.
        defense: a name, a defense, or several from the input on, cheap ones first.
        alpha: the share of clean inputs that may be rejected.
        classes: the names of the classes, as in ``sl.defend``.
        calibrate_on: clean images like those that will come, by name: ``folder:pictures``.
        calibrate_samples: how many of them; 0 takes all.

    Raises:
        InvalidInput: the defense rejects nothing, or there are too few clean images for ``alpha``.
        UnknownName: no such model, defense or data.

    Example:
        ``sl.Guard("scenes:classifier", ["squeezing", "multishield"]).check(images)[0].decision``
    """

    def __init__(
        self,
        model: Subject,
        defense: str | Defense | Sequence[str | Defense],
        *,
        alpha: float = 0.05,
        classes: Sequence[str] | None = None,
        calibrate_on: str = "scenes:calibration",
        calibrate_samples: int = 1000,
    ) -> None:
        made = _detecting(defense, alpha, calibrate_on, calibrate_samples)
        found = defend(model, made, classes=classes)
        _ = stages(found)
        self._named = isinstance(model, str)
        self._take(found.fixed, policy_of(found, list(classes or ())))

    @classmethod
    def load(cls, path: Path | str) -> Guard:
        """The guard of a ``guard.toml``; nothing is calibrated anew.

        Raises:
            InvalidInput: the file is no policy, or the model that is here is not the one that it was made for.
            UnknownName: there is no such model or defense.
        """
        policy = read(path)
        settings = dict(policy.defense)
        made: Defense = registry.build("defense", str(settings.pop("name", "")), settings)
        found = defend(policy.model, made, classes=policy.classes or None)
        _ = stages(found)
        _refuse_others(path, policy.hashes, _hashes(found))
        self = cls.__new__(cls)
        self._named = True
        self._take(found, policy)
        return self

    def _take(self, guarded: Guarded, policy: Policy) -> None:
        self.guarded, self.policy, self._lock = guarded, policy, Lock()

    def save(self, path: Path | str) -> None:
        """Writes the policy, from which :meth:`load` makes the same guard.

        Raises:
            InvalidInput: the model is an object, which a file cannot hold.
        """
        if not self._named:
            raise InvalidInput(
                f"{self.guarded.model.name} was given as an object, which no file can hold; "
                "give its name, such as python:module:function"
            )
        self.policy.write(path)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The detectors, in the order that they are asked."""
        return stages(self.guarded)

    @property
    def threshold(self) -> float:
        """The largest suspicion that is accepted."""
        return self.guarded.threshold

    def check(self, images: Images, ids: Sequence[str] | None = None) -> list[Verdict]:
        """A verdict on each image, in their order.

        Args:
            images: a batch ``[B, C, H, W]`` in [0, 1], or one or more files.
            ids: what the draws of each are keyed by. By default they are new ones that nobody can foresee; where a
                client may choose them, an attacker knows the draws.

        Raises:
            InvalidInput: no such images, or not one id for each.
        """
        x = self.pixels(images)
        names = [secrets.token_hex(16) for _ in range(len(x))] if ids is None else [str(each) for each in ids]
        if len(names) != len(x):
            raise InvalidInput(f"{len(names)} ids for {len(x)} images; give one for each")
        with self._lock:
            return [
                verdict
                for at in range(0, len(x), BATCH)
                for verdict in self._verdicts(x[at : at + BATCH], names[at : at + BATCH])
            ]

    async def acheck(self, images: Images, ids: Sequence[str] | None = None) -> list[Verdict]:
        """As :meth:`check`, in a thread: the event loop goes on."""
        return await asyncio.to_thread(self.check, images, ids)

    def pixels(self, images: Images) -> Tensor:
        """The images as they are looked at, ``[B, C, H, W]``; files at the size of the model.

        Raises:
            InvalidInput: they are none.
        """
        if isinstance(images, Tensor | np.ndarray):
            return batch_of(images, "images").float()
        files = [images] if isinstance(images, str | Path) else list(images)
        if not all(isinstance(each, str | Path) for each in files):
            raise InvalidInput("images is a list of other things than files; write torch.stack(images)")
        return pictures.stack([pictures.read(each, self.guarded.size) for each in files], [str(each) for each in files])

    def _verdicts(self, x: Tensor, ids: Sequence[str]) -> list[Verdict]:
        device = self.guarded.model.device
        found = cascade(self.guarded, x.to(device or x.device), Keys.of(0, list(ids)))
        return [self._verdict(found, row, name) for row, name in enumerate(ids)]

    def _verdict(self, found: Cascaded, row: int, name: str) -> Verdict:
        accepted, names = bool(found.accepted[row]), [stage.name for stage in self.stages]
        looks = [float(each) for each in found.each[row].tolist()]
        suspicion = float(found.suspicion[row])
        return Verdict(
            id=name,
            decision="accepted" if accepted else "rejected",
            suspicion=suspicion,
            p_value=self.policy.calibration.p_value(suspicion),
            threshold=self.threshold,
            stage=names[min(int(found.last[row]), len(names) - 1)],
            looks={stage: look for stage, look in zip(names, looks, strict=True) if look == look},
            votes=self._votes(found, row) if accepted else None,
            answer=self._answer(found, row) if accepted else None,
        )

    def _votes(self, found: Cascaded, row: int) -> Votes | None:
        assert found.answers is not None
        tally = found.answers.votes[int(torch.searchsorted(found.rows, row))]
        if not tally.numel() or self.guarded.draws < 2:
            return None
        drawn, most = int(tally.sum()), int(tally.max())
        return Votes(drawn=drawn, most=most, agree=most / drawn)

    def _answer(self, found: Cascaded, row: int) -> str | None:
        assert found.answers is not None
        at, outputs = int(torch.searchsorted(found.rows, row)), found.answers.outputs
        if isinstance(outputs, list):
            return outputs[at]
        if not isinstance(self.guarded.model, Classifier):
            return None
        chosen = int(outputs[at].argmax())
        return self.guarded.classes[chosen] if self.guarded.classes else str(chosen)


def _detecting(defense: Any, alpha: float, data: str, samples: int) -> Defense:
    """The defense at a false rejection of ``alpha``, calibrated on ``data``.

    Raises:
        UnknownName, InvalidInput: it is none, or has nothing that rejects.
    """
    how: dict[str, Any] = {"false_rejection": alpha, "calibrate_on": data, "calibrate_samples": samples}
    several = list(defense) if isinstance(defense, list | tuple) else [defense]
    if len(several) > 1:
        return Stack(stack=several, **how)
    made = (
        registry.build("defense", several[0], {}) if several and isinstance(several[0], str) else (several or [None])[0]
    )
    if not isinstance(made, Defense):
        raise InvalidInput(f"defense={defense!r} is no defense; write 'multishield' or sl.MultiShield()")
    if not set(how) <= {each.name for each in fields(made)}:
        raise InvalidInput(
            f"{made.registered_name} rejects nothing, and a guard has to; put a detector beside it, "
            f'["{made.registered_name}", "magnet"]'
        )
    built: Defense = replace(made, **how)
    return built


def policy_of(found: Guarded, classes: Sequence[str] = ()) -> Policy:
    """The policy of a guarded model whose threshold comes from clean images; a user may have named its classes."""
    source, scores = found.calibration, found.clean_suspicion.sort().values.tolist()
    assert source is not None, "a threshold comes from clean data"
    settings, alpha = registry.describe(found.fixed.defense), found.defense.false_rejection
    return Policy(
        model=found.model.name,
        classes=list(classes),
        defense={key: _plain(value) for key, value in settings.items() if value is not None},
        hashes=_hashes(found),
        calibration=Calibration(
            data=str(getattr(found.defense, "calibrate_on", "")),
            content=source.hash,
            alpha=alpha,
            rate=realized(len(scores), alpha),
            scores=scores,
        ),
    )


def _plain(value: Any) -> Any:
    """As TOML writes it; a model that is an object goes by its name."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value if isinstance(value, str | int | float | bool) else getattr(value, "name", str(value))


def _hashes(found: Guarded) -> dict[str, str]:
    return {part.name: part.hash for part in found.parts}


def _refuse_others(path: Path | str, wanted: dict[str, str], here: dict[str, str]) -> None:
    """Refuses thresholds of other models.

    Raises:
        InvalidInput: a model is another one, or missing.
    """
    for name in sorted({*wanted, *here}):
        if wanted.get(name) != here.get(name):
            raise InvalidInput(
                f"{path}: its thresholds are those of {name} with the hash {wanted.get(name, 'none')}, and what is "
                f"here has {here.get(name, 'none')}; calibrate anew by secondlook guard --calibrate"
            )
