"""Runs every check in turn; the typed result, and its table on the console."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final, Literal, NamedTuple, get_args

import torch
from pydantic import Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from secondlook.doctor import behavior, cost, gradients, outputs, preprocessing
from secondlook.doctor.model import Kind, ModelUnderTest, Outcome, Status, failed, skipped
from secondlook.models.base import evaluating
from secondlook.progress import Tick, silent
from secondlook.schema import Plain

SCHEMA: Literal[1] = 1


class Finding(Plain):
    """One check of one model."""

    check: str
    status: Status
    measured: str
    """What was measured; why it was not run, where it was skipped."""
    fix: str = ""
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
    """Height and width of the images."""
    data: str
    """The labeled images; empty where there were none."""
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


class Check(NamedTuple):
    """One check.

    Attributes:
        name: its name in a report.
        run: what it does.
        kinds: the models that it is for.
        vital: whether no other check can be run where it fails.
    """

    name: str
    run: Callable[[ModelUnderTest], Outcome]
    kinds: tuple[Kind, ...] = get_args(Kind)
    vital: bool = False


_NAMING: Final[tuple[Kind, ...]] = ("embedder", "classifier")

CHECKS: Final = (
    Check("accepts [0, 1]", behavior.accepts_unit_range, vital=True),
    Check("output shape", outputs.shape, vital=True),
    Check("rejects other ranges", behavior.rejects_other_ranges),
    Check("passes are counted", behavior.counts_passes),
    Check("eval mode", behavior.eval_mode),
    Check("repeatable", behavior.repeatable),
    Check("batch independence", behavior.batch_independence),
    Check("parameters untouched", behavior.parameters_untouched),
    Check("outputs differ", preprocessing.outputs_differ, _NAMING),
    Check("sensitive to brightness", preprocessing.brightness, _NAMING),
    Check("normalization inside", preprocessing.normalization_inside, _NAMING),
    Check("preprocessing", preprocessing.matches_processor, ("embedder",)),
    Check("gradient reaches the pixels", gradients.reaches_pixels),
    Check("gradient is the derivative", gradients.matches_differences),
    Check("unit vectors", outputs.vectors, _NAMING),
    Check("texts", outputs.texts, ("embedder",)),
    Check("logits", outputs.logits, ("classifier",)),
    Check("output range", outputs.output_range, ("purifier",)),
    Check("output size", outputs.output_size, ("purifier",)),
    Check("stochastic flag", outputs.stochastic_flag, ("purifier",)),
    Check("differentiable flag", outputs.differentiable_flag, ("purifier",)),
    Check("reconstruction quality", outputs.reconstruction, ("purifier",)),
    Check("clean accuracy", preprocessing.clean_accuracy, _NAMING),
    Check("time and memory", cost.time_and_memory),
    Check("default audit", cost.default_audit),
)
"""All checks, in their order."""


def examine(subject: ModelUnderTest, tick: Tick = silent) -> Examination:
    """Runs all checks that fit the model; none ends the others.

    Example:
        ``examine(prepare(load("scenes:clip"))).failed``
    """
    checks = [check for check in CHECKS if subject.kind in check.kinds]
    findings: list[Finding] = []
    with evaluating(subject.modules):
        for number, check in enumerate(checks):
            tick(number, len(checks), check.name)
            blocking = _failed_vital(findings, checks)
            outcome = skipped(f"it cannot be run without {blocking!r}") if blocking else _run(check, subject)
            findings.append(_finding(check, outcome))
    tick(len(checks), len(checks), "done")
    height, width = subject.size
    return Examination(
        model=subject.model.name,
        kind=subject.kind,
        hash=subject.model.hash,
        resolution=[height, width],
        data=subject.data,
        findings=findings,
        versions={"secondlook": version("secondlook"), "torch": torch.__version__},
        threads=torch.get_num_threads(),
    )


def _run(check: Check, subject: ModelUnderTest) -> Outcome:
    """The outcome; an error of the model is a failed check, and ends nothing."""
    try:
        return check.run(subject)
    # A user's model may raise anything.
    except Exception as error:
        text = str(error).strip() or "no message"
        return failed(
            f"the model raised {type(error).__name__}: {text}", "fix what raised it; an audit makes the same calls"
        )


def _failed_vital(findings: list[Finding], checks: list[Check]) -> str:
    """The vital check that has failed, if one has."""
    vital = {check.name for check in checks if check.vital}
    return next((f.check for f in findings if f.status == "fail" and f.check in vital), "")


def _finding(check: Check, outcome: Outcome) -> Finding:
    return Finding(
        check=check.name,
        status=outcome.status,
        measured=outcome.measured,
        fix=outcome.fix,
        figures=_finite(outcome.figures),
    )


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


_STYLES: dict[Status, str] = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def render(found: Examination, console: Console) -> None:
    """Prints all findings, then how many there are of each status."""
    height, width = found.resolution
    console.print(Text.assemble((found.model, "bold"), f", {found.kind}, at {height}x{width}"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for finding in found.findings:
        style = _STYLES[finding.status]
        table.add_row(Text(finding.status.upper(), style=style), Text(finding.check), _describe(finding))
    console.print(table)
    counted = Counter(finding.status for finding in found.findings)
    totals = [f"{counted[status]} {status}" for status in _STYLES if counted[status]]
    console.print(Text(", ".join(totals), style=_STYLES["fail" if found.failed else "pass"]))


def _describe(finding: Finding) -> Text:
    text = Text(finding.measured, style="dim" if finding.status == "skip" else "")
    return text.append(f"\n→ {finding.fix}", style="bold") if finding.fix else text
