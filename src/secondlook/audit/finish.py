"""The end of a run: ``audit.json``, the gallery and the page, from what is on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from secondlook.audit.examples import examples, read_examples, written
from secondlook.audit.plan import Plan
from secondlook.audit.report.page import html
from secondlook.audit.store import Log, Run, read_json, refuse_links, write_atomic
from secondlook.audit.summary import summarize
from secondlook.errors import BrokenRun
from secondlook.schema import Audit


def finish(plan: Plan, run: Run) -> Audit:
    """Writes ``audit.json``, ``gallery.json`` and ``report.html`` of a run."""
    audit = summarize(plan, run)
    write_atomic(run.folder / "audit.json", audit.model_dump_json(by_alias=True, indent=1).encode())
    write_atomic(run.folder / "gallery.json", written(examples(plan, run)))
    write_page(run.folder)
    return audit


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
    write_atomic(page, html(audit, shown).encode())
    return page


def merge(folders: Sequence[Path], out: Path) -> Run:
    """Puts the shards of one study together; the order of the folders does not matter.

    Raises:
        BrokenRun: the folders are not of one study and one version, or a link in one leads out of
            it.
    """
    for folder in folders:
        refuse_links(folder)
    heads = [read_json(folder / "run.json") for folder in folders]
    for folder, head in zip(folders, heads, strict=True):
        if any(head.get(key) != heads[0].get(key) for key in ("config_hash", "version")):
            raise BrokenRun(f"{folder} and {folders[0]} are of different studies or versions")
        if folder.resolve() == out.resolve():
            raise BrokenRun(f"--out {out} is one of the parts; merge into a folder of its own")
    run = Run.open(out, heads[0])
    known = {json.dumps(record, sort_keys=True) for record in run.records}
    for folder in folders:
        fresh = [r for r in Log(folder / "records.jsonl") if _new(r, known)]
        run.records.append(fresh)
        run.ledger.append(Log(folder / "ledger.jsonl"))
        if (folder / "adversarial").exists():
            _copy(folder / "adversarial", out / "adversarial")
    return run


def _copy(folder: Path, out: Path) -> None:
    try:
        shutil.copytree(folder, out, dirs_exist_ok=True)
    except OSError as error:
        raise BrokenRun(f"{folder} cannot be copied to {out}: {error}; make room there") from None


def _new(record: dict[str, object], known: set[str]) -> bool:
    key = json.dumps(record, sort_keys=True)
    if key in known:
        return False
    known.add(key)
    return True
