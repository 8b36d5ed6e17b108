"""A task from elsewhere is shown as its view says; one that is not installed, plainly."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from secondlook import registry
from secondlook.audit.examples import UnknownExample, read_examples, written
from secondlook.audit.headline import headlines
from secondlook.audit.report import html, markdown
from secondlook.errors import BrokenRun
from secondlook.schema import Audit
from secondlook.tasks.view import PLAIN, Column, Curve, Example, GoalView, Table, View, view_of
from tests.audit.report.conftest import HOSTILE, cell, headline, share
from tests.audit.report.test_page import parsed

NAMES = ("captioning", "classification", "grounding", "retrieval", "zeroshot")


class DepthExample(Example):
    error: str


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How far things are away."""

    view: ClassVar[View] = View(
        goals=(
            GoalView(
                name="blur",
                deed="blurs the depth of",
                gauge="blurred",
                record="blurred",
                columns=("delta1", "rmse"),
                note="<em>δ₁</em>: near enough.",
                drawn=("delta1",),
                also=("flatten",),
            ),
        ),
        columns=(Column(metric="delta1", title="δ₁", unit="share"), Column(metric="rmse", title="RMSE, m")),
        things="rooms",
        outcome="Of a depth map: whether δ₁ holds.",
        tables=(Table(title="Every cut", metrics=("delta1", "delta2"), note="By its cut."),),
        curves=(Curve(title="near enough", lines={"δ₁": "delta1"}),),
        example=DepthExample,
        gallery="Depth before and after.",
        template='{% from "macros.html.jinja" import heading %}{{ heading(example) }}'
        '<p class="depth">off by {{ example.error }}</p>',
    )


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in registry._entries:
        registry.names(kind)
    copies = {kind: dict(entries) for kind, entries in registry._entries.items()}
    monkeypatch.setattr(registry, "_entries", copies)
    registry.register("task", "depth")(Depth)


def audit() -> Audit:
    rows = [
        cell(
            knowledge,
            0.1,
            0.9,
            task="depth rooms:x",
            goal="blur",
            eps=eps / 255,
            metrics={
                "delta1": share(value),
                "rmse": share(0.3),
                "delta2": share(0.97),
                "success": share(1 - value),
                "original_top1": share(value),
            },
        )
        for knowledge, eps, value in (("clean", 0, 0.9), ("adaptive", 4, 0.5), ("adaptive", 8, 0.2))
    ]
    said = headline(rows, goal="blur", worst_reached=share(0.8), worst_target_top1=None)
    return Audit(study="d", title="", provenance={}, cells=rows, headline=[said])


def example(error: str = "3 m") -> DepthExample:
    return DepthExample(
        task="depth", sample="room-1", model="m", defense="jpeg", attack="pgd", knowledge="adaptive", error=error
    )


def text(page: str) -> str:
    return " ".join(" ".join(parsed(page).text).split())


def test_a_task_from_elsewhere_is_shown_as_it_says() -> None:
    page = html(audit(), [example()])
    said = text(page)
    for part in (
        "blurs the depth of 80 % of rooms",
        "RMSE, m",
        "δ₁ : near enough.",
        "Every cut",
        "0.970 [0.915, 0.990]",
        "Of a depth map: whether δ₁ holds.",
        "Depth before and after.",
        "off by 3 m",
        "near enough",
    ):
        assert part in said, part
    assert parsed(page).open == [] and "not installed" not in said
    assert "<em>δ₁</em>" in page
    assert "| δ₁ | RMSE, m | n |" in markdown(audit())


def test_what_an_example_holds_is_text() -> None:
    page = html(audit(), [example(HOSTILE)])
    assert "<script>alert" not in page and f"off by {HOSTILE}" in text(page)


def test_an_example_is_read_as_the_type_of_its_task(tmp_path: Path) -> None:
    path = tmp_path / "gallery.json"
    assert read_examples(path) == []
    path.write_bytes(written([example()], str))
    assert read_examples(path) == [example()]
    path.write_text('[{"task": "depth"}]')
    with pytest.raises(BrokenRun, match="is no gallery"):
        read_examples(path)


def test_what_is_not_installed_is_shown_plainly_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gallery.json"
    path.write_bytes(written([example(HOSTILE)], str))
    del registry._entries["task"]["depth"]
    assert view_of("depth rooms:x") is PLAIN
    (shown,) = read_examples(path)
    assert isinstance(shown, UnknownExample)
    page = html(audit(), [shown])
    said = text(page)
    assert "The task depth is not installed here" in said and HOSTILE in said
    assert parsed(page).open == [] and "<script>alert" not in page
    for part in ("delta1", "reaches the goal on 80 % of images"):
        assert part in said, part
    assert "The task depth is not installed here" in markdown(audit())


def test_the_headline_counts_what_the_view_says_and_rows_of_the_goals_it_names() -> None:
    clean, weak, strong = audit().cells
    flat = strong.model_copy(update={"id": "flat", "goal": "flatten"})
    strong = weak.model_copy(update={"id": "blur", "threat": flat.threat})
    sound = {"original_top1": 0.0, "success": 0.0}
    records = {
        row.id: [{"sample": f"s{i}", **sound, "blurred": float(i == at)} for i in range(4)]
        for at, row in enumerate((clean, strong, flat))
    }
    blur, flatten = headlines([clean, strong, flat], records)
    assert blur.rows == ["blur", "flat"] and flatten.rows == ["flat"]
    assert blur.worst_reached is not None and blur.worst_reached.value == 0.5
    assert flatten.worst_reached is not None and flatten.worst_reached.value == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_a_view_that_is_whole(name: str) -> None:
    view = view_of(name)
    assert view.goals and view.example is not Example and view.template
    for goal in view.goals:
        assert len(goal.columns) >= 3 and set(goal.brief) <= set(goal.columns)
        assert goal.deed and goal.note and set(goal.drawn) <= set(goal.columns)
    metrics = [column.metric for column in view.columns]
    assert len(metrics) == len(set(metrics))
    assert view.goal("something else").columns == ()
