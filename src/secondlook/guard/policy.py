"""``guard.toml``: which model, which detectors, which thresholds, and from what clean images they come."""

from __future__ import annotations

import tomllib
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import beta

from secondlook.data.decoding import refuse_irregular
from secondlook.drafts import write_whole
from secondlook.errors import InvalidInput

_LARGEST = 4_000_000
"""Bytes of a policy that is read."""

Share = Annotated[float, Field(gt=0, lt=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Calibration(_Table):
    """Where the thresholds come from.

    Attributes:
        data: the clean images, by name.
        content: the hash of their bytes.
        alpha: the share of clean inputs that may be rejected.
        rate: between what the share lies that really is, with 95 %: it is a Beta variable over the
            draw of the clean images (Vovk 2012, Angelopoulos and Bates 2023, section 3.2).
        scores: the suspicions of the clean images that the last threshold comes from, sorted.
    """

    data: str
    content: str
    alpha: Share
    rate: tuple[float, float]
    scores: list[float] = Field(min_length=1)

    def p_value(self, suspicion: float) -> float:
        """The share of clean inputs that are at least so suspicious, conformal: ``(1 + #) / (n + 1)``."""
        above = sum(score >= suspicion for score in self.scores)
        return (1 + above) / (len(self.scores) + 1)


Kind = Literal["clean", "attacked", "dearest"]
"""Of inputs: as they come, made to fool the guard, and made to cost it what they can."""


class Spent(_Table):
    """What one input costs, in the mean.

    Attributes:
        stages: that are asked about it.
        forwards: passes of a sample through any network.
    """

    stages: float = Field(ge=0)
    forwards: float = Field(ge=0)


class Audited(_Table):
    """What an attacker reached who knows the guard.

    Attributes:
        study: the audit, by name.
        config: its hash.
        threat: norm and eps.
        attack: the attackers, of whom the worst counts for each image.
        n: images.
        through: the share that got a wrong answer past the guard, and the interval of 95 %.
        spent: on ``clean`` inputs, on those of the attack (``attacked``) and on those that are made to cost
            as much as they can (``dearest``); empty where that was not measured.
    """

    study: str
    config: str
    threat: str
    attack: str
    n: int = Field(gt=0)
    through: tuple[float, float, float]
    spent: dict[Kind, Spent] = {}

    @property
    def said(self) -> str:
        """The result as a sentence."""
        share, low, high = (100 * each for each in self.through)
        return f"who knows this guard gets through on {share:.0f} % [{low:.0f}, {high:.0f}] ({self.threat})"

    @property
    def cost(self) -> str:
        """What an attacker can make the guard spend, as a phrase; empty where that was not measured."""
        clean, dearest = (self.spent.get(name) for name in ("clean", "dearest"))
        if clean is None or dearest is None or not clean.forwards:
            return ""
        return (
            f"an input made to cost it takes {dearest.forwards / clean.forwards:.2f} times the {clean.forwards:.1f} "
            f"passes of a clean one, {dearest.stages:.2f} stages for {clean.stages:.2f}"
        )


class Policy(_Table):
    """All that a guard is made of.

    Attributes:
        format: of the file.
        model: the name of the model.
        classes: its classes, where a user has named them.
        defense: the settings of the defense, thresholds as numbers.
        hashes: of every model inside, by name.
        calibration: where the thresholds come from.
        audited: what an attacker reached who knows all this; None where nobody has tried.
    """

    format: Literal[1] = 1
    model: str
    classes: list[str] = []
    defense: dict[str, Any]
    hashes: dict[str, str]
    calibration: Calibration
    audited: Audited | None = None

    def write(self, path: Path | str) -> None:
        """Writes the file, whole or not at all.

        Raises:
            InvalidInput: it cannot be written there.
        """
        table = self.model_dump(mode="json", exclude_none=True, exclude_defaults=False)
        write_whole(Path(path), tomli_w.dumps(table).encode())


def read(path: Path | str) -> Policy:
    """The policy of a file.

    Raises:
        InvalidInput: there is none, or it is no policy; the field is named.
    """
    place = Path(path)
    refuse_irregular(place)
    try:
        if place.stat().st_size > _LARGEST:
            raise InvalidInput(f"{place} is larger than {_LARGEST:,} bytes, which no policy is; look what it holds")
        table = tomllib.loads(place.read_text(encoding="utf-8-sig"))
    except InvalidInput:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{place} cannot be read as a policy ({error}); make one by secondlook guard --calibrate"
        ) from error
    try:
        return Policy.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidInput(f"{place}: {field}: {first['msg']}; make it anew by secondlook guard --calibrate") from error


def realized(samples: int, alpha: float) -> tuple[float, float]:
    """Between what the share of rejected clean inputs lies, with 95 %, after a calibration on so many.

    Example:
        ``realized(1000, 0.05)`` is about (0.037, 0.064)
    """
    rank = ceil(round((samples + 1) * (1 - alpha), 9))
    low, high = beta.interval(0.95, samples + 1 - rank, rank)
    return float(low), float(high)
