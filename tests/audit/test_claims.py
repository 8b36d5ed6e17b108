"""Claim cards: what they must say, whose they are, and what an audit tells beside them."""

import tomllib
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any

import pytest

from secondlook import registry
from secondlook.audit.claims import card_of, claimed, read_card
from secondlook.audit.headline import headlines
from secondlook.audit.plan import plan
from secondlook.audit.study import read
from secondlook.errors import InvalidInput
from secondlook.schema import Cell, ClaimCard, Diagnosis, PublishedFigure
from secondlook.statistics import wilson
from tests import tiny
from tests.audit.rows import cell, records

CARD = """
paper = "P"
built = "published"
about = "all of it"
[[figures]]
robust = 72.6
source = "summary"
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_every_test_time_defense_has_a_card_and_every_card_a_defense() -> None:
    registered = {name: registry.find("defense", name) for name in registry.names("defense")}
    names = {name for name, cls in registered.items() if ".defenses.test_time." in cls.__module__}
    assert len(names) > 10
    for name in names:
        card = card_of(name)
        assert card is not None, f"{name} has no card"
        after = "(after " in registry.summary("defense", name).replace("*", "")
        assert (card.built == "after") == after, name
    from secondlook.defenses import test_time

    folder = Path(test_time.__path__[0]) / "claims"
    assert {path.stem for path in folder.iterdir()} == names
    assert card_of("jpeg") is None
    # The study of claims has them all, and what they are read beside.
    assert {table["name"] for table in read("referee").defenses} == names | {"undefended"} and read("referee").claims


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("paper", "papre"), "unknown key 'papre'; did you mean paper?"),
        (('about = "all of it"', ""), "about is missing"),
        (("robust", "robsut"), "unknown key 'figures.0.robsut'; did you mean robust?"),
        (("72.6", "172.6"), "figures.0.robust = 172.6"),
        (("robust = 72.6", ""), "figures.0: it has neither robust nor gain; write in note"),
        (("robust = 72.6", "gain = [7]"), "a gain is over something"),
        (("robust = 72.6", 'gain = [1, 2, 3]\nover = "x"'), "figures.0.gain"),
        (('"summary"', '"memory"'), "figures.0.source = 'memory'"),
        (('"published"', '"perhaps"'), "built = 'perhaps'"),
        (("robust = 72.6", 'robust = 72.6\neps = "wide"'), "'wide' is no finite number"),
        (("[[figures]]", "arxiv = '2502'\n[[figures]]"), "arxiv = '2502'"),
        (("[[figures]]", "[[figures"), "is no TOML"),
    ],
)
def test_what_is_wrong_in_a_card_is_named(written: Callable[[str], str], change: tuple[str, str], said: str) -> None:
    with pytest.raises(InvalidInput, match="mine.toml") as refused:
        read_card(written(CARD.replace(*change)))
    assert said in str(refused.value)


def test_a_card_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere.toml is no such file"):
        read_card("nowhere.toml")
    monkeypatch.setenv("CARDS", str(tmp_path / "secretly"))
    with pytest.raises(InvalidInput) as refused:
        read_card("${CARDS}/mine.toml")
    assert "${CARDS}" in str(refused.value) and "secretly" not in str(refused.value)


def test_a_claim_has_an_interval_where_its_samples_are_known() -> None:
    of = PublishedFigure(robust=72.6, n=1000, source="summary").metric
    assert of is not None and (of.value, of.low, of.high) == pytest.approx(wilson(726, 1000))
    alone = PublishedFigure(robust=72.6, source="summary").metric
    assert alone is not None and alone.value == pytest.approx(0.726) and isnan(alone.low)


def test_the_chief_figure_is_the_first_that_says_how_robust() -> None:
    card = ClaimCard.model_validate(tomllib.loads(CARD))
    gain = PublishedFigure(gain=(7,), over="x", source="summary")
    assert card.model_copy(update={"figures": (gain, *card.figures)}).chief is card.figures[0]
    assert card.model_copy(update={"figures": (gain, gain)}).chief is gain


def test_a_defense_may_be_for_some_models_alone(tmp_path: Path) -> None:
    folder, eye, third = tiny.write_folder(tmp_path / "images", 6), "python:tests.tiny:eye", "python:tests.tiny:third"
    tables = [{"name": "undefended"}, {"name": "ttc", "models": [third]}]
    made = plan(tiny.study(folder, models=[eye, third], defenses=tables)).rows
    found = {(row.guarded.model.name, row.settings["name"]) for row in made}
    assert found == {("tiny:eye", "undefended"), ("tiny:third", "undefended"), ("tiny:third", "ttc")}
    with pytest.raises(InvalidInput, match="is no list of names; write models"):
        tiny.study(folder, defenses=[{"name": "ttc", "models": third}])
    # Where another model is audited in place of them, it is left out.
    assert {row.settings["name"] for row in plan(tiny.study(folder, models=[eye], defenses=tables)).rows} == {
        "undefended"
    }


def rows_of(cells: list[Cell], **hits: range) -> dict[str, list[Any]]:
    return {c.id: records(hits=hits.get(c.id, range(0))) for c in cells}


def test_what_is_left_is_taken_sample_by_sample_for_each_knowledge(masked: Diagnosis) -> None:
    known = ("clean", "oblivious", "black-box", "adaptive")
    cells = [cell(each, id=each) for each in known]
    cells += [cell("adaptive", id="other", diagnosis=masked)]
    found = rows_of(cells, oblivious=range(40), adaptive=range(20, 60), other=range(50, 90))
    card = ClaimCard.model_validate(tomllib.loads(CARD))
    told = headlines(cells, found)
    (one,) = claimed(cells, told, found, {"clean": card})
    (left,) = one.budgets
    shares = {name: metric.value for name, metric in left.kept.items()}
    assert shares == {"oblivious": 160 / 200, "black-box": 1.0, "adaptive": 130 / 200}
    assert left.worst == told[0].worst_original_top1 and left.worst.value == 110 / 200
    assert one.card == card and one.row == "clean" and left.verdict == "masked" and not left.withheld
    assert (one.forwards, one.backwards) == (1.0, 0.0)
    # Where nobody has a card there is nothing to tell.
    assert claimed(cells, told, found, {}) == []


@pytest.fixture
def masked() -> Diagnosis:
    return Diagnosis(
        verdict="masked", sentence="", reasons=[], n=8, manners={}, cosines=[], slopes=[], forwards=1, backwards=1
    )


def test_a_study_takes_cards_by_name_or_by_path(tmp_path: Path, written: Callable[[str], str]) -> None:
    folder = tiny.write_folder(tmp_path / "images", 6)
    shift = {"name": "consensus", "purifier": "python:tests.tiny:shift", "samples": 5}
    ttc = {"name": "ttc"}

    def made(claims: bool, **claim: Any) -> Any:
        tables = [{"name": "undefended"}, {**shift, **claim}, ttc]
        return plan(tiny.study(folder, claims=claims, defenses=tables)).rows

    told = {row.settings["name"]: row.card for row in made(True, claim=written(CARD))}
    assert told["undefended"] is None
    assert told["consensus"] is not None and told["consensus"].paper == "P"
    assert told["ttc"] == card_of("ttc") is not None
    # A card of one's own needs no more than its table; and no row depends on what was published.
    alone, without = made(False, claim=written(CARD)), made(False)
    assert {row.settings["name"] for row in alone if row.card} == {"consensus"}
    assert [row.id for row in alone] == [row.id for row in without] and not any(row.card for row in without)
    with pytest.raises(InvalidInput, match="claim = 3 is no path"):
        made(False, claim=3)
    with pytest.raises(InvalidInput, match="nowhere.toml is no such file"):
        made(False, claim="nowhere.toml")
