"""What a reader meets: figures with what they are of, marked words, and checks that can fail."""

import io
import json
import re
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from secondlook.audit.finish import read_audit, write_page
from secondlook.audit.report import curves, recalls
from secondlook.audit.report.console import render
from secondlook.audit.report.sweeps import panels
from secondlook.audit.report.words import measure, share, title
from secondlook.audit.retrieval.gallery import words
from secondlook.audit.schema import Audit, Cell, Metric
from secondlook.tasks.retrieval_metrics import asr, recall
from tests.audit.report.test_page import parsed
from tests.audit.retrieval import dials
from tests.audit.retrieval.conftest import Run
from tests.audit.retrieval.test_run import rows


def cell(audit: Audit, attacked: str) -> Cell:
    return next(c for c in audit.cells if c.settings["attack"].get("attacked") == attacked)


def test_figures_are_those_of_the_records_with_what_they_are_of(audited: Run) -> None:
    folder, audit = audited()
    found, names = rows(folder), dials.Colours(10).ids
    names = tuple(sorted(names))
    for attacked in ("query", "gallery", "both"):
        made = cell(audit, attacked)
        for way in ("image_to_text", "text_to_image"):
            before, after = (
                [r if isinstance(r, list) else [r] for r in (found[s, n][way] for n in names)]
                for s in ("clean", attacked)
            )
            for k in (1, 5, 10):
                rate, lost = recall(after, k), asr(before, after, k)
                assert made.metrics[f"{way}_r{k}"].value == rate.interval.value
                assert made.denominators[f"{way}_r{k}"] == rate.of
                assert made.metrics[f"{way}_asr{k}"].value == pytest.approx(
                    lost.interval.value, nan_ok=True
                )
                assert made.denominators[f"{way}_asr{k}"] == lost.of
        assert made.denominators["text_to_image_r1"] == 21
        assert made.outcomes.correct == made.metrics["image_to_text_r1"].value * 10
    changed = cell(audit, "both").metrics["words_changed"]
    assert (changed.value, changed.sd) == (1, 0)
    assert audit.provenance["captions that say what another image's does"] == 2


def test_captions_that_say_the_same_have_figures_where_there_are_such(audited: Run) -> None:
    _, shared = audited()
    assert shared.cells[0].metrics["alike_image_to_text_r1"].value == 1
    assert shared.cells[0].metrics["image_to_text_r1"].value < 1
    # The second image, which bears the first one's caption as its third, is not among the first.
    task = {"name": "retrieval", "data": "dials:10", "samples": 0, "captions": 2}
    _, apart = audited(task=task)
    assert not [name for name in apart.cells[0].metrics if name.startswith("alike")]


def test_the_headline_is_the_worst_of_all_rows_search_by_search(audited: Run) -> None:
    folder, audit = audited()
    (headline,) = audit.headline
    found, names = rows(folder), dials.Colours(10).ids
    settings = ("query", "gallery", "both")
    worst = [max(found[s, name]["reached"] for s in settings) for name in names]
    assert headline.worst_reached is not None
    assert headline.worst_reached.value == pytest.approx(sum(worst) / 10)
    assert headline.status == "withheld"
    assert headline.reasons == [
        "adaptive: enough samples failed: n = 10; an interval may be 53 points wide"
    ]


def test_the_page_shows_searches_before_and_after(audited: Run) -> None:
    folder, _ = audited()
    page = (folder / "report.html").read_text()
    read = parsed(page)
    assert read.open == [] and len(read.ids) == len(set(read.ids))
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in read.addresses)
    text = " ".join(" ".join(read.text).split())
    assert "image to text ASR@1" in text and "of 21" in text
    gallery = json.loads((folder / "gallery.json").read_text())
    assert [wall["attacked"] for wall in gallery] == ["both", "both"]
    first = gallery[0]
    changed = [word["text"] for word in first["altered"] if word["changed"]]
    assert len(changed) == 1 and f"<mark>{changed[0]}</mark>" in page
    assert len(first["texts_before"]) == len(first["images_after"]) == 5
    assert first["texts_before"][0]["right"] and first["images_before"][0]["right"]
    # Written anew from what lies there, it is the same page.
    assert write_page(folder).read_text() == page


def test_the_gallery_shows_the_side_that_is_searched(audited: Run) -> None:
    task = {"name": "retrieval", "data": "dials:10", "samples": 0, "attacked": ["query"]}
    for attacked, marked in (("query", False), ("both", True)):
        folder, _ = audited(task={**task, "attacked": [attacked]})
        (first, *_) = json.loads((folder / "gallery.json").read_text())
        found = [word["changed"] for hit in first["texts_after"] for word in hit["words"]]
        assert any(found) == marked


def test_the_console_says_it_in_a_table(audited: Run) -> None:
    folder, _ = audited()
    held = io.StringIO()
    render(read_audit(folder), Console(file=held, width=120))
    text = held.getvalue()
    assert "attacked: gallery" in text and "R@1, %" in text and "adaptive" in text


def test_attackers_are_set_side_by_side_over_eps(audited: Run) -> None:
    _, audit = audited(threat={"eps": ["8/255", "40/255"]})
    (panel,) = panels(audit.cells)
    assert panel.metrics == ("image_to_text_r1", "text_to_image_r1")
    assert [line.xs for line in panel.lines] == [(8 / 255, 40 / 255)] * 3


def test_every_attacker_has_a_curve_for_each_cut_and_direction(audited: Run) -> None:
    folder, audit = audited(threat={"eps": ["8/255", "40/255"]})
    found = recalls.recalls(audit.cells)
    assert [curve.xs for curve in found] == [(0.0, 8 / 255, 40 / 255)] * 3
    assert {curve.cells[0].knowledge for curve in found} == {"clean"}
    both = next(c for c in found if c.cells[-1].settings["attack"]["attacked"] == "both")
    for way in recalls.WAYS:
        drawn = recalls.picture(both, way)
        assert [f">R@{k}<" in drawn for k in (1, 5, 10)] == [True] * 3
        assert drawn.count("<circle") == 9 and drawn.count('class="band') == 3
        for cell in both.cells:
            assert share(cell.metrics[f"{way}_r5"], cell.n) in drawn
    page = (folder / "report.html").read_text()
    assert page.count(recalls.picture(both, "text_to_image")) == 1


def test_one_budget_is_no_curve(audited: Run) -> None:
    folder, audit = audited()
    assert not recalls.recalls(audit.cells)
    assert "against the attacker’s budget" not in (folder / "report.html").read_text()


def test_recalls_stand_at_their_height(audited: Run) -> None:
    _, audit = audited(threat={"eps": ["8/255", "40/255"]})
    curve = recalls.recalls(audit.cells)[0]
    drawn = recalls.picture(curve, "image_to_text")
    value = curve.cells[-1].metrics["image_to_text_r1"].value
    height = curves.BOTTOM - value * (curves.BOTTOM - curves.TOP)
    spots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert float(spots[8][1]) == pytest.approx(height, abs=0.01)
    assert [float(x) for x, _ in spots[:3]] == sorted(float(x) for x, _ in spots[:3])


def checks(made: Cell) -> dict[str, str]:
    return {check.check: check.status for check in made.health}


def test_checks_of_an_attack_that_attacks(audited: Run) -> None:
    _, audit = audited()
    found = checks(cell(audit, "both"))
    assert found["succeeds without a bound"] == "pass"
    assert found["loss rises"] == "pass"
    assert found["enough samples"] == "fail"
    assert "succeeds without a bound" not in checks(cell(audit, "gallery"))


def test_checks_of_one_that_does_not(audited: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    search = dials.Swap.search

    def idle(self: Any, victims: Any, pairs: Any, threat: Any, keys: Any) -> Any:
        made = search(self, victims, pairs, threat, keys)
        return made._replace(images=pairs.images, captions=pairs.captions)

    monkeypatch.setattr(dials.Swap, "search", idle)
    _, audit = audited()
    assert checks(cell(audit, "both"))["succeeds without a bound"] == "fail"


def test_a_surrogate_that_is_the_victim_is_no_transfer(audited: Run) -> None:
    name = "python:tests.audit.retrieval.dials:dial"
    _, audit = audited(surrogates=[name], knowledge=["clean", "transfer"])
    assert checks(cell(audit, "both"))["surrogate is another model"] == "fail"


def test_more_of_the_budget_must_not_help(audited: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, audit = audited(threat={"eps": ["8/255", "40/255"]})
    found = [checks(c) for c in audit.cells if c.threat.eps > 0.1]
    assert {each["more eps does not help the defender"] for each in found} <= {"pass", "warn"}


def test_a_share_of_nothing_is_written_and_read_again(
    audited: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that finds nothing has nothing to lose: its ASR is of no search."""
    monkeypatch.setattr(dials.Dial, "encode_image", lambda self, x: 0 * x[:, :, 0, 0])
    folder, audit = audited(knowledge=["clean", "adaptive"])
    attacked = cell(audit, "both")
    assert attacked.denominators["image_to_text_asr1"] == 0
    again = cell(read_audit(folder), "both")
    assert isnan(again.metrics["image_to_text_asr1"].value)
    assert again.metrics["image_to_text_r1"] == attacked.metrics["image_to_text_r1"]
    assert parsed(write_page(folder).read_text()).open == []


def test_how_figures_are_written() -> None:
    figure = Metric(value=0.25, low=0.1, high=0.5)
    assert title("text_to_image_r10") == "text to image R@10"
    assert title("alike_image_to_text_r1") == "image to text R@1, captions alike"
    assert measure("image_to_text_asr1", figure, 100) == "25 % [10, 50]"
    assert measure("image_to_text_drop5", figure, 100) == "+25.0 [+10.0, +50.0] points"
    assert measure("mean_recall", figure, 100) == "25 % [10, 50]"


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("a red star", "a blue star", ["blue"]),
        ("a red star", "a red star", []),
        ("a star", "a very big star", ["very", "big"]),
        ("the the cat", "the cat", []),
    ],
)
def test_marked_words(before: str, after: str, marked: list[str]) -> None:
    assert [word.text for word in words(before, after) if word.changed] == marked


def test_a_finished_run_is_not_searched_again(
    audited: Run, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from secondlook.audit.api import run_study
    from secondlook.audit.retrieval.judge import Judge

    folder, audit = audited()

    def search(self: Judge, cell: Any) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(Judge, "search", search)
    made = len(dials.Swap.made)
    again = run_study(study(), Path(folder))
    assert again.cells == audit.cells and len(dials.Swap.made) == made
