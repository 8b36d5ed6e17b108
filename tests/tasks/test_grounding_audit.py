"""Grounding audits: every hottest place reckoned by hand, and what is shown of it."""

import json
import random

from secondlook.schema import Audit, Cell
from secondlook.tasks.grounding import MapExample
from tests.audit.answers import name, rows
from tests.audit.conftest import Make, Run
from tests.audit.report.test_page import parsed


def cell(audit: Audit, climbed: str, knowledge: str = "adaptive") -> Cell:
    return next(c for c in audit.cells if name(c) == climbed and c.knowledge == knowledge)


def test_every_finger_is_as_reckoned_by_hand(grounding: Make, ran: Run) -> None:
    folder, audit = ran(grounding())
    found = rows(folder)
    assert len(found) == 4 * 8
    for (climbed, sample), record in found.items():
        number = int(sample.removesuffix(".png"))
        places = random.Random(number).sample(range(16), 2)
        x, y = record["peak"]
        place = int(4 * y) * 4 + int(4 * x)
        if climbed == "clean":
            assert place == places[number % 2]
            assert record["original_top1"] == 1 and record["iou50"] == 1
        if climbed == "recolor":
            assert place == places[1 - number % 2]
            assert record["original_top1"] == 0 and record["words"] == [1]
            assert record["inside"] < 0.05
        assert record["success"] == 1 - record["original_top1"]
    by = {name(cell): cell for cell in audit.cells}
    assert by["clean"].metrics["pointing"].value == 1
    assert by["recolor"].metrics["pointing"].value == 0
    assert by["map"].metrics["pointing"].value < 0.5
    assert by["recolor"].metrics["words_changed"].value == 1


def test_checks_are_those_of_the_attack(grounding: Make, ran: Run) -> None:
    """An attack on texts climbs nothing; to ask for a map is no optimization."""
    _, audit = ran(grounding())
    names = {c: [check.check for check in cell(audit, c).health] for c in ("map", "recolor")}
    assert "succeeds without a bound" in names["map"] and "loss rises" in names["map"]
    assert not {"succeeds without a bound", "loss rises"} & set(names["recolor"])
    assert not any("queries" in check for checks in names.values() for check in checks)
    clean = cell(audit, "clean", "clean")
    assert [check.check for check in clean.health] == [
        "enough samples",
        "better than chance",
        "deterministic as it says",
    ]


def test_the_page_shows_where_the_finger_points(grounding: Make, ran: Run) -> None:
    folder, _ = ran(grounding(examples=3))
    page, found = (folder / "report.html").read_text(), rows(folder)
    assert parsed(page).open == []
    for each in json.loads((folder / "gallery.json").read_text()):
        one = MapExample.model_validate(each)
        after = found[one.objective or one.attack, one.sample]
        assert [one.after.x, one.after.y] == after["peak"] and one.before.hit
        assert f'cx="{100 * one.after.x:.2f}" cy="{100 * one.after.y:.2f}"' in page
        assert sum(word.changed for word in one.altered) == sum(after.get("words", [0]))
