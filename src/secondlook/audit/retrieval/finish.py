"""The end of a retrieval's run: the result, the gallery and the page."""

from __future__ import annotations

from secondlook.audit.finish import publish
from secondlook.audit.retrieval.gallery import exhibits
from secondlook.audit.retrieval.matrix import SearchPlan
from secondlook.audit.retrieval.summary import summarise
from secondlook.audit.schema import Audit
from secondlook.audit.store import Run


def finish(plan: SearchPlan, run: Run) -> Audit:
    """Writes ``audit.json``, ``gallery.json`` and ``report.html`` of a run."""
    audit = summarise(plan, run)
    return publish(audit, exhibits(plan, run) if audit.cells else [], run)
