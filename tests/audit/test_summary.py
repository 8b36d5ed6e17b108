"""From records to figures: shares, intervals, costs, votes, and the shape of ``audit.json``."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from secondlook import statistics
from secondlook.audit import finish
from secondlook.audit.plan import plan
from secondlook.audit.store import Log, Run
from secondlook.audit.summary import costs, summarize
from secondlook.metrics.figures import metrics
from secondlook.places import anonymous, everywhere
from secondlook.schema import Audit
from secondlook.tasks.base import SAMPLED
from tests import tiny
from tests.audit.conftest import Whole
from tests.audit.rows import records
from tests.audit.test_run import figures

METRICS = {"target_top1", "target_top5", "original_top1", "original_top5", "cosine_target", "cosine_original"}
NUMBER = (int, float)
CELL = {
    "task": str,
    "model": str,
    "defense": str,
    "attack": str,
    "knowledge": str,
    "n": int,
    "threat": {"norm": str, "eps": NUMBER},
    "outcomes": {"correct": int, "wrong": int, "rejected": int},
    "ledger": {"forwards": int, "backwards": int, "seconds": NUMBER, "overhead": NUMBER},
    "health": [{"check": str, "status": str, "detail": str}],
}


def fits(value: Any, shape: Any) -> bool:
    """Whether JSON has at least the keys of ``shape``, with values of its types."""
    if isinstance(shape, dict):
        return all(key in value and fits(value[key], inner) for key, inner in shape.items())
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    return isinstance(value, shape) and not isinstance(value, bool)


def no_constant(text: str) -> float:
    raise AssertionError(f"{text} is no JSON")


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=no_constant)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    else:
        yield value


def test_audit_json_has_the_keys_that_others_rely_on(whole: Whole) -> None:
    content = strict((whole.folder / "audit.json").read_text(encoding="utf-8"))
    assert content["schema"] == 1 and content["provenance"] and len(content["headline"]) == 2
    for cell in content["cells"]:
        assert fits(cell, CELL), cell
        assert set(cell["metrics"]) >= METRICS
        for metric in cell["metrics"].values():
            assert metric["low"] <= metric["value"] <= metric["high"]
        assert sum(cell["outcomes"].values()) == cell["n"] == 36
        assert (cell["threat"]["eps"] == 0) == (cell["knowledge"] == "clean")
    assert figures(finish.read_audit(whole.folder)) == figures(whole.audit)


def test_the_provenance_makes_the_run_repeatable(whole: Whole, pictures: Path) -> None:
    found = whole.audit.provenance
    assert set(found["models"]) >= {"tiny:eye", "tiny:other", "tiny:shift"}
    table = json.loads(tiny.study(pictures).model_dump_json())
    change = anonymous(table, "")
    assert found["study"] == everywhere(table, change)
    assert str(pictures) not in json.dumps(found), "where the pictures lie is nobody's business"
    assert found["seed"] == 0 and len(found["config_hash"]) == 16 and len(found["data"]) == 16
    assert found["versions"]["torch"] == torch.__version__ and found["version"]


def test_figures_are_those_of_the_records(whole: Whole) -> None:
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for record in Log(whole.folder / "records.jsonl"):
        by_cell.setdefault(record["cell"], []).append(record)
    for cell in whole.audit.cells:
        rows = by_cell[cell.id]
        assert Counter(r["outcome"] for r in rows) == Counter(
            {k: v for k, v in cell.outcomes.model_dump().items() if v}
        )
        for name in ("target_top1", "original_top5"):
            assert cell.metrics[name].value == pytest.approx(np.mean([r[name] for r in rows]))
        cosines = [r["cosine_target"] for r in rows]
        low, high = stats.t.interval(0.95, 35, np.mean(cosines), stats.sem(cosines))
        found = cell.metrics["cosine_target"]
        assert (found.low, found.high) == pytest.approx((max(low, -1), min(high, 1)))
        assert found.sd == pytest.approx(np.std(cosines, ddof=1))


def test_costs_are_counted_by_the_models(whole: Whole) -> None:
    costs = {(c.defense, c.knowledge): c.ledger for c in whole.audit.cells}
    for known in ("clean", "transfer", "adaptive"):
        assert costs[("undefended", known)].forwards == 36
    assert costs[("undefended", "clean")].attack_forwards == 0
    # Eight steps, each a forward and a backward of each sample.
    assert costs[("undefended", "adaptive")].attack_forwards == 36 * 8
    assert costs[("undefended", "adaptive")].attack_backwards == 36 * 8
    label = "consensus python:tests.tiny:shift"
    # Twenty-four steps of eight draws, each through the purifier and the model.
    assert costs[(label, "adaptive")].attack_forwards == 36 * 24 * 8 * 2
    # Three to five draws through both, and the first look at the input.
    assert 36 * 7 <= costs[(label, "clean")].forwards <= 36 * 11
    assert all(c.overhead > 0 and c.seconds > 0 and c.peak_memory > 0 for c in costs.values())


def test_a_chunk_that_was_done_twice_is_counted_once() -> None:
    line = {
        "cell": "c",
        "attack": {"forwards": 5, "backwards": 5, "seconds": 1.0},
        "decide": {"forwards": 3, "backwards": 0, "seconds": 4.0, "bare_seconds": 2.0, "peak_memory": 7},
    }
    once = costs([{**line, "chunk": 0}, {**line, "chunk": 1}])
    assert (once.forwards, once.attack_forwards, once.seconds, once.overhead) == (6, 10, 8.0, 2.0)
    assert costs([{**line, "chunk": n} for n in (0, 1, 0, 1, 1)]) == once


def test_the_observed_vote_stands_beside_the_bound(whole: Whole) -> None:
    rows = {c.knowledge: c for c in whole.audit.cells if c.defense != "undefended"}
    assert rows["clean"].vote is None
    assert all(c.vote is None for c in whole.audit.cells if c.defense == "undefended")
    for known in ("oblivious", "transfer", "adaptive"):
        vote = rows[known].vote
        etas = [r["eta"] for r in Log(whole.folder / "records.jsonl") if r["cell"] == rows[known].id]
        assert vote is not None and vote.votes == 5 and sum(vote.histogram) == 36
        assert vote.eta == pytest.approx(np.mean(etas))
        bounds = [stats.binom.sf(2, 5, eta) for eta in etas]
        assert vote.bound == pytest.approx(np.mean(bounds))
        assert vote.pooled_bound == pytest.approx(statistics.majority_bound(vote.eta, 5))


def test_a_vote_that_was_rejected_was_not_captured(audited: Callable[..., Audit], tmp_path: Path) -> None:
    audit = audited(
        defenses=[
            {"name": "consensus", "purifier": "python:tests.tiny:shift", "samples": 4, "rule": "majority", "noise": 0.3}
        ],
        knowledge=["oblivious"],
    )
    (row,) = [c for c in audit.cells if c.knowledge == "oblivious"]
    (path,) = tmp_path.glob("*/records.jsonl")
    rows = [r for r in Log(path) if r["cell"] == row.id]
    rejected = [r for r in rows if r["outcome"] == "rejected"]
    assert rejected and row.outcomes.rejected == len(rejected)
    assert all(r["captured"] == 0 for r in rejected)
    assert {r["captured"] for r in rows} == {0, 1}


@pytest.mark.parametrize("samples", [1, 2])
def test_very_few_samples_are_figures_that_json_can_hold(
    pictures: Path, audited: Callable[..., Audit], tmp_path: Path, samples: int
) -> None:
    audit = audited(task={"data": f"folder:{pictures}", "samples": samples})
    assert {c.n for c in audit.cells} == {samples}
    for name in ("audit.json", "gallery.json", "run.json"):
        (path,) = tmp_path.glob(f"*/{name}")
        strict(path.read_text(encoding="utf-8"))
    metric = audit.cells[0].metrics["cosine_target"]
    assert -1 <= metric.low <= metric.value <= metric.high <= 1
    if samples == 1:
        assert (metric.low, metric.high) == (-1, 1)
    assert figures(finish.read_audit(path.parent)) == figures(audit)
    # Nothing in a result is missing for want of a number.
    content = strict((path.parent / "audit.json").read_text(encoding="utf-8"))
    numbers = [v for c in content["cells"] for m in c["metrics"].values() for v in leaves(m)]
    assert all(v is None or math.isfinite(v) for v in numbers)
    assert all(
        {"value", "low", "high"} <= {k for k, v in m.items() if v is not None}
        for c in content["cells"]
        for m in c["metrics"].values()
    )


def test_unknown_values_leave_a_mean_out() -> None:
    found = metrics(records(10, cosine_target=None, suspicion=0.25))
    assert "cosine_target" not in found
    assert (found["suspicion"].value, found["suspicion"].sd) == (0.25, 0.0)


def test_a_result_is_made_again_from_what_is_on_disk(whole: Whole, pictures: Path) -> None:
    study = tiny.study(pictures)
    again = summarize(plan(study), Run(whole.folder)).model_dump()
    assert everywhere(again, anonymous(study.model_dump(), "")) == everywhere(whole.audit.model_dump(), str)


def test_probes_are_written_down(whole: Whole) -> None:
    probes = [line for line in Log(whole.folder / "ledger.jsonl") if "probe" in line]
    assert len(probes) == 2 and all(p["n"] == SAMPLED and p["success"] == 1 for p in probes)
