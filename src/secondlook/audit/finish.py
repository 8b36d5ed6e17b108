"""The end of a run: ``audit.json``, the gallery and the page, from what is on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from secondlook.audit.examples import examples, read_examples, written
from secondlook.audit.plan import Plan
from secondlook.audit.report.page import html
from secondlook.audit.store import Run, read_head, read_json
from secondlook.audit.summary import summarize
from secondlook.drafts import write_atomic
from secondlook.errors import BrokenRun, SecondlookError
from secondlook.places import anonymous, everywhere
from secondlook.schema import Audit

_log = logging.getLogger(__name__)


def finish(plan: Plan, run: Run) -> Audit:
    """Writes ``audit.json``, ``gallery.json`` and ``report.html`` of a run.

    The last two only show what there is: where one of them fails it is said, and the result stands.
    All are to be shared, and name no folder of this machine.
    """
    named = anonymous(plan.study.model_dump(), read_head(run.folder).get("command", ""))

    def change(text: str) -> str:
        # A file's name need not be UTF-8, and JSON has to be.
        return named(text).encode("utf-8", "backslashreplace").decode()

    audit = Audit.model_validate(everywhere(summarize(plan, run).model_dump(by_alias=True), change))
    write_atomic(run.folder / "audit.json", audit.model_dump_json(by_alias=True, indent=1).encode())
    gallery, page = run.folder / "gallery.json", run.folder / "report.html"
    with _decorating(gallery, "the same `secondlook audit` makes it again"):
        write_atomic(gallery, written(examples(plan, run), change))
    with _decorating(page, f"`secondlook report {run.folder}` makes it again"):
        write_page(run.folder)
    return audit


@contextmanager
def _decorating(path: Path, again: str) -> Iterator[None]:
    """What goes wrong in the block loses no result: it is told, and what makes ``path`` again."""
    try:
        yield
    except Exception as error:  # whatever a plug-in's pictures or templates do
        told = str(error) if isinstance(error, SecondlookError) else f"{type(error).__name__}: {error}"
        _log.warning("%s was not made: %s. The result is safe in audit.json, and %s", path, told, again)


def read_audit(folder: Path) -> Audit:
    """The result in a run directory.

    Raises:
        BrokenRun: there is none, or one of another schema.
    """
    try:
        return Audit.model_validate(read_json(folder / "audit.json"))
    except ValidationError as error:
        raise BrokenRun(
            f"{folder / 'audit.json'} does not fit this version ({error.error_count()} fields); "
            "run the audit again, or read it with the version that wrote it"
        ) from None


def write_page(folder: Path) -> Path:
    """Makes ``report.html`` again from ``audit.json`` and ``gallery.json``."""
    audit = read_audit(folder)
    shown = read_examples(folder / "gallery.json")
    page = folder / "report.html"
    write_atomic(page, html(audit, shown).encode("utf-8", "replace"))
    return page
