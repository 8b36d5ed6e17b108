"""What a plan is reckoned to take is what its jobs take, of what is left alone."""

from pathlib import Path

from secondlook.audit.api import run_study
from secondlook.audit.estimate import Cost, Costs, measured, stored, unit
from secondlook.audit.integrity import Done
from secondlook.audit.plan import Plan, Shard, partition, plan
from secondlook.audit.run import execute
from secondlook.audit.store import Run as Directory
from secondlook.audit.study import shipped
from secondlook.progress import silent
from tests.audit.conftest import Make, Run


def test_forwards_are_no_more_than_is_said(any_study: Make, ran: Run) -> None:
    """Each attack's forwards of the ledger lie below its bound, and are not far from it."""
    study = any_study()
    folder, _ = ran(study)
    made = plan(study)
    costs, rows = measured(made, silent), {row.id: row for row in made.rows}
    for line in Directory(folder).ledger:
        row = rows.get(line.get("cell", ""))
        if row is not None and row.spec and line["attack"]:
            said = costs.attack(row.spec).forwards * (len(made.task.rows) if made.task.collective else study.batch)
            assert line["attack"]["forwards"] <= said * 1.01 + 1, (row.label, row.spec.settings)


def test_what_is_done_is_not_reckoned_again(classification: Make, tmp_path: Path) -> None:
    study = classification()
    made, folder = plan(study), tmp_path / "run"
    parts = partition(len(made.task.rows), study.batch, 1)
    before = Costs().jobs(Done(made, Directory(folder)), parts)
    assert {job.kind for job in before} >= {row.id for row in made.rows}
    run_study(study, folder)
    assert Costs().jobs(Done(made, Directory(folder)), parts) == []
    (folder / "records.jsonl").unlink()
    again = Costs().jobs(Done(made, Directory(folder)), parts)
    # The adversarials are there, and are no more made.
    assert len(again) == len(parts) * len(made.rows) and {job.seconds for job in again} <= {
        1.0 * len(p.at) for p in parts
    }


def test_an_attack_that_rows_share_is_reckoned_once(retrieval: Make, classification: Make, tmp_path: Path) -> None:
    for make in (retrieval, classification):
        made = plan(make())
        parts = partition(len(made.task.rows), made.study.batch, 1)
        costs = Costs({spec.id: Cost(100.0) for spec in made.specs}, {row.id: Cost() for row in made.rows})
        jobs = costs.jobs(Done(made, Directory(tmp_path / "none")), parts)
        attacked = [job.seconds for job in jobs if job.kind not in _checks(made)]
        assert sum(attacked) == 100 * len(made.specs) * len(made.task.rows)


def _checks(made: Plan) -> set[str]:

    return {each.id for each in made.sanity.values()} | {aim.id for of in made.aims.values() for aim in of.values()}


def test_a_run_says_what_it_takes_before_it_begins(classification: Make, tmp_path: Path) -> None:
    said, order = list[str](), list[str]()

    def notify(text: str) -> None:
        said.append(text)
        order.append("told")

    made = plan(classification())
    execute(made, tmp_path / "run", Shard(), lambda done, of, what: order.append(what), notify=notify)
    assert len(said) == 1 and said[0].startswith("about ") and " at most on this machine: " in said[0]
    assert f"{len(made.rows)} rows" in said[0]
    first = next(number for number, what in enumerate(order) if what.startswith("row "))
    assert order.index("told") < first
    said.clear()
    execute(made, tmp_path / "run", Shard(), silent, notify=notify)
    assert said == [], "nothing is left, and nothing is said"


def test_studies_of_the_package_have_their_time() -> None:
    costs = stored()
    assert set(costs) <= set(shipped()) and {"default", "own"} <= set(costs)
    assert all(cost > 0 for cost in costs.values()) and 0 < unit() < 1
