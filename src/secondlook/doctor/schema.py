"""The typed result of an examination: what ``secondlook doctor --json`` writes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from secondlook.audit.schema import Plain
from secondlook.doctor.outcome import Status
from secondlook.doctor.patient import Kind

SCHEMA: Literal[1] = 1


class Finding(Plain):
    """One check of one model."""

    check: str
    status: Status
    measured: str
    """What was seen; why it was not asked, where it was skipped."""
    mend: str = ""
    """What to do; empty where nothing is wrong."""
    figures: dict[str, float | None] = Field(default_factory=dict)
    """The numbers behind ``measured``; seconds and bytes where it is about costs, null for what
    is no finite number."""


class Examination(Plain):
    """A whole examination."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    model: str
    kind: Kind
    hash: str
    resolution: list[int]
    """Height and width of the pictures that were shown."""
    data: str
    """The labelled images; empty where there were none."""
    versions: dict[str, str]
    threads: int
    findings: list[Finding]

    model_config = Plain.model_config | {"populate_by_name": True}

    @property
    def failed(self) -> bool:
        """Whether any check failed."""
        return any(finding.status == "fail" for finding in self.findings)

    def of(self, check: str) -> Finding:
        """What one check has found."""
        return next(finding for finding in self.findings if finding.check == check)
