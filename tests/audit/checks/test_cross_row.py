"""Checks between rows: one who only asks must not beat one who has the gradient."""

from typing import Any

import pytest

from secondlook.audit.checks import check_group
from secondlook.schema import Cell, Cost
from tests.audit.rows import cell, records


def costs(backwards: int) -> Cost:
    return Cost(forwards=1, backwards=0, seconds=1.0, overhead=1.0, attack_forwards=100, attack_backwards=backwards)


def settings(attack: str) -> dict[str, dict[str, Any]]:
    return {"defense": {"name": "d", "samples": 10}, "attack": {"name": attack}}


def white(hit: float = 0.25, **changes: Any) -> Cell:
    return cell(
        **{"id": "white", "hit": hit, "ledger": costs(100), "attack": "apgd", "settings": settings(str(changes))}
        | changes
    )


def black(hit: float = 0.25, **changes: Any) -> Cell:
    return cell(
        **{"id": "black", "hit": hit, "ledger": costs(0), "attack": "square", "settings": settings("square")} | changes
    )


def rows(**hits: int) -> dict[str, list[dict[str, Any]]]:
    return {name: records(hits=range(count)) for name, count in hits.items()}


@pytest.mark.parametrize(
    ("theirs", "ours", "status"), [(50, 50, "pass"), (20, 90, "pass"), (51, 50, "warn"), (90, 50, "fail")]
)
@pytest.mark.parametrize("knowledge", ["oblivious", "adaptive"])
def test_queries_alone_must_not_win(theirs: int, ours: int, status: str, knowledge: str) -> None:
    cells = [white(ours / 200, knowledge=knowledge), black(theirs / 200, knowledge=knowledge)]
    strong, asking = check_group(cells, rows(white=ours, black=theirs))
    (check,) = strong.health
    assert (check.check, check.status) == ("stronger than queries alone, square", status)
    assert asking.health == []


def test_a_black_box_must_not_beat_who_knows_the_defense() -> None:
    asking = black(0.5, knowledge="black-box")
    knowing, asked = check_group([white(0.1, knowledge="adaptive"), asking], rows(white=20, black=100))
    assert [(check.check, check.status) for check in knowing.health] == [("stronger than black-box", "fail")]
    assert asked.health == []


def test_only_the_best_of_those_with_the_gradient_has_to_win() -> None:
    cells = [white(0.1), white(0.9, id="best"), black(0.5)]
    weak, best, _ = check_group(cells, rows(white=20, best=180, black=100))
    assert [check.status for check in weak.health] == ["warn"]
    assert [check.status for check in best.health] == ["pass"]


def test_of_many_rivals_of_one_kind_the_strongest_is_named_once() -> None:
    cells = [white(0.5), cell("oblivious", id="a", hit=0.2), cell("oblivious", id="b", hit=0.6)]
    found = check_group(cells, rows(white=100, a=40, b=120))[0]
    named = [check.check for check in found.health]
    assert named == ["stronger than oblivious", "spends what the oblivious attack spends"]
    assert "on 10.0 points more of" in found.health[0].detail


def test_more_of_an_attack_that_does_not_see_the_defense_may_be_easier_to_notice() -> None:
    less, more = (cell("oblivious", hit=h, eps=e / 255) for h, e in ((0.9, 4), (0.2, 8)))
    (_, above) = check_group([less, more], {c.id: records() for c in (less, more)})
    assert [check.status for check in above.health] == ["warn"]


def knowing(**attack: Any) -> Cell:
    return white(0.9, id=repr(attack), settings={"defense": {"name": "d"}, "attack": {"name": "apgd", **attack}})


def unknowing(**attack: Any) -> Cell:
    settings = {"defense": {"name": "d"}, "attack": {"name": "illusion", **attack}}
    return cell("oblivious", id="oblivious", hit=0.1, attack="illusion", settings=settings)


def spent(*cells: Cell) -> list[Any]:
    """What is said of the budget of each adaptive row."""
    found = check_group(cells, {each.id: records(hits=range(20)) for each in cells})
    name = "spends what the oblivious attack spends"
    return [next((c for c in each.health if c.check == name), None) for each in found if each.knowledge == "adaptive"]


@pytest.mark.parametrize(
    ("own", "others", "said"),
    [
        ({"steps": 30}, {"steps": 100}, "30 steps of 100"),
        ({"steps": 100}, {"steps": 100, "draws": 4}, "1 draws of 4"),
        ({"steps": 100, "draws": 4}, {"steps": 100, "restarts": 2}, "1 restarts of 2"),
        ({"steps": 100, "draws": 4, "restarts": 2}, {"steps": 100, "restarts": 2}, ""),
        ({"queries": 500}, {"steps": 100}, ""),
    ],
)
def test_who_knows_the_defense_spends_no_less(own: Any, others: Any, said: str) -> None:
    (found,) = spent(knowing(**own), unknowing(**others))
    assert found.status == ("fail" if said else "pass")
    assert said in found.detail


def test_one_adaptive_row_that_spends_enough_is_enough() -> None:
    poor, rich = spent(knowing(steps=30), knowing(steps=100), unknowing(steps=100))
    assert (poor.status, rich.status) == ("warn", "pass")


def test_without_an_oblivious_row_there_is_nothing_to_compare() -> None:
    assert spent(knowing(steps=30)) == [None]


@pytest.mark.parametrize(("right", "status"), [(150, "fail"), (101, "pass"), (100, "pass"), (20, "pass")])
def test_a_model_that_is_better_under_attack_is_seen(right: int, status: str) -> None:
    cells = [cell("clean", id="clean", hit=0.5), white(0.5)]
    found = check_group(cells, {"clean": records(hits=range(100)), "white": records(hits=range(200 - right))})
    (check,) = [each for each in found[1].health if each.check == "no better under attack than clean"]
    assert check.status == status


@pytest.mark.parametrize(("surrogate", "status"), [("scenes:clip", "warn"), ("scenes:clip-fare", "pass")])
def test_a_surrogate_among_the_encoders_is_told(surrogate: str, status: str) -> None:
    given = {"defense": {"name": "mirrorcheck", "encoders": "scenes:clip-vit, scenes:clip"}, "attack": {"name": "pgd"}}
    (found,) = check_group([cell("transfer", id="a", surrogates=[surrogate], settings=given)], rows(a=10))
    said = {check.check: check for check in found.health}
    check = said["the surrogate is none of the detector's encoders"]
    assert check.status == status and surrogate in check.detail
    (plain,) = check_group([cell("transfer", id="a", surrogates=[surrogate])], rows(a=10))
    assert not any("encoders" in check.check for check in plain.health)
