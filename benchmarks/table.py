"""Markdown tables of finished runs, for docs/results.md: ``python -m benchmarks.table RUN…``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from secondlook.audit.finish import read_audit
from secondlook.audit.report.words import is_share
from secondlook.audit.schema import Audit, Cell, Metric

SHOWN = {
    "targeted": ("target_top1", "target_top5", "original_top1"),
    "untargeted": ("correct", "wrong", "rejected"),
    "retrieval": ("image_to_text_r1", "text_to_image_r1", "mean_recall"),
    "unsay": ("right", "whole", "cider", "bleu4", "said", "verbatim"),
    "say": ("right", "whole", "cider", "bleu4", "said", "verbatim"),
    "grounding": ("pointing", "iou50", "overlap", "inside", "cosine"),
}
HIDDEN = {"name", "label", "purifier"}


def share(metric: Metric) -> str:
    """A share in points with its interval."""
    return f"{100 * metric.value:.1f} [{100 * metric.low:.0f}, {100 * metric.high:.0f}]"


def figure(cell: Cell, name: str) -> str:
    """A figure of a row: shares in points, others as they are."""
    metric = cell.metrics.get(name)
    if metric is None:
        return "–"
    if is_share(name):
        return share(metric)
    return f"{metric.value:.2f} [{metric.low:.2f}, {metric.high:.2f}]"


def varied(cells: Sequence[Cell], part: str) -> list[str]:
    """The settings that differ among the attacked cells."""
    tables = [cell.settings[part] for cell in cells if cell.settings.get(part)]
    keys = {key for table in tables for key in table} - HIDDEN
    return sorted(k for k in keys if len({repr(t.get(k)) for t in tables if k in t}) > 1)


def settings(cell: Cell, keys: dict[str, list[str]]) -> Iterator[str]:
    """Those settings of a cell, in words."""
    for part, names in keys.items():
        table: dict[str, Any] = cell.settings.get(part, {})
        yield from (f"{name}={table[name]}" for name in names if name in table)


def table(audit: Audit) -> Iterator[str]:
    """The lines of one run's table."""
    keys = {part: varied(audit.cells, part) for part in ("defence", "attack")}
    several = len({cell.model for cell in audit.cells}) > 1
    shown = SHOWN[audit.cells[0].goal]
    yield f"n = {audit.cells[0].n}, seed {audit.provenance['seed']}"
    yield ""
    aimed = any("cosine_target" in cell.metrics for cell in audit.cells)
    columns = [*shown, *(["cos target"] if aimed else []), "overhead"]
    yield f"| defence | attacker | eps | settings | {' | '.join(columns)} |"
    yield "|---|---|---|---|" + "---|" * len(columns)
    for cell in audit.cells:
        name = f"{Path(cell.model).stem}: {cell.defence}" if several else cell.defence
        eps = f"{cell.threat.eps * 255:.3g}/255" if cell.threat.eps else "–"
        cosine = cell.metrics.get("cosine_target")
        towards = f" {cosine.value:.2f} ± {cosine.sd:.2f} |" if cosine else " – |" if aimed else ""
        shares = " | ".join(figure(cell, name) for name in shown)
        words = ", ".join([cell.attack, *settings(cell, keys)])
        yield (
            f"| {name} | {cell.knowledge} | {eps} | {words} | {shares} |{towards} "
            f"{cell.ledger.overhead:.1f}× |"
        )


def detections(audit: Audit) -> Iterator[str]:
    """The lines of a table of detectors: told right, caught, AUROC, and who is ahead."""
    keys = {"attack": ["objective", "weight", "through"]}
    yield "| detector | attacker | accuracy | caught at 5 % | AUROC | the first one's less its |"
    yield "|---|---|---|---|---|---|"
    for cell in audit.cells:
        found = cell.detection
        if found is None or found.auroc is None:
            continue
        words = ", ".join(dict.fromkeys([cell.knowledge, cell.attack, *settings(cell, keys)]))
        caught = found.calibrated.get("0.05")
        cells = [
            share(found.sorting.accuracy) if found.sorting else "–",
            share(caught.tpr) if caught and caught.tpr else "–",
            _plain(found.auroc), _plain(found.ahead) if found.ahead else "–",
        ]  # fmt: skip
        yield f"| {cell.defence} | {words} | {' | '.join(cells)} |"


def _plain(metric: Metric) -> str:
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def main(folders: Sequence[str]) -> None:
    """Prints the table of each run."""
    for folder in folders:
        audit = read_audit(Path(folder))
        print(f"\n### {audit.title}\n")
        print("\n".join(table(audit)))
        if any(cell.detection and cell.detection.auroc for cell in audit.cells):
            print("\n" + "\n".join(detections(audit)))
        for headline in audit.headline:
            eps, success = headline.threat.eps * 255, headline.success
            worst = share(success) if success else "–"
            where = f"{headline.defence}, {headline.goal}, {eps:.3g}/255"
            print(f"\nworst of all, {where}: {worst} ({headline.status})")


if __name__ == "__main__":
    main(sys.argv[1:])
