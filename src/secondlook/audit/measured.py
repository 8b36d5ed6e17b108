"""What the typed result is made of: strict records, and figures with their intervals."""

from __future__ import annotations

from math import nan
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

Measured = Annotated[float, BeforeValidator(lambda value: nan if value is None else value)]
"""A number, or none: a share of nothing. JSON has no word for it but null."""


class Plain(BaseModel):
    """A record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Metric(Plain):
    """A figure with its 95 % interval; not a number where it is a share of nothing."""

    value: Measured
    low: Measured
    high: Measured
    sd: float | None = None
    """Standard deviation over the samples, for means."""
