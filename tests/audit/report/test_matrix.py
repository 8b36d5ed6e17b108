"""Headlines say who attacked, how far they got and what was not tried; caveats say of what."""

import pytest

from secondlook.audit.report.matrix import blocks, caveats, foreign, verdicts
from secondlook.data import load
from secondlook.scenes.family import Scenes
from secondlook.scenes.source import CAVEAT
from secondlook.schema import Audit


def build(cells, *headlines):
    return Audit(study="s", title="", provenance={}, cells=cells, headline=list(headlines))


def test_the_sentence_sets_one_who_knows_beside_one_who_does_not(make_cell, make_headline) -> None:
    cells = [
        make_cell("clean", 0, 0.94),
        make_cell("oblivious", 0, 0.8),
        make_cell("transfer", 0.02, 0.8),
        make_cell("adaptive", 0.63, 0.2),
    ]
    (said,) = verdicts(build(cells, make_headline(cells)))
    assert said.sentence == (
        "consensus scenes:vae: an attacker who knows the defense reaches the target on 63 % of "
        "images [53, 72] (n = 100); still right: 20 % [13, 29] — an attacker who does not: 2 % [1, 7]"
    )
    assert said.worst.knowledge == "adaptive"
    assert said.unaware.knowledge == "transfer"


def test_a_missing_adaptive_row_is_said(make_cell, make_headline) -> None:
    cells = [make_cell("clean", 0, 0.9), make_cell("oblivious", 0.04, 0.8)]
    (said,) = verdicts(build(cells, make_headline(cells)))
    assert "an attacker who does not know the defense reaches the target on 4 %" in said.sentence
    assert said.sentence.endswith("an attacker who knows the defense was not tried")


def test_where_nothing_defends_there_is_nothing_to_know(make_cell, make_headline) -> None:
    cells = [
        make_cell("clean", 0, 0.9, defense="undefended"),
        make_cell("oblivious", 0.98, 0.0, defense="undefended"),
        make_cell("adaptive", 0.98, 0.0, defense="undefended"),
    ]
    (said,) = verdicts(build(cells, make_headline(cells)))
    assert said.sentence.startswith("undefended: an attacker reaches the target on 98 %")
    assert said.unaware is None
    assert said.remark == ""


def test_a_withheld_headline_says_why_and_gives_no_figure(make_cell, make_headline) -> None:
    cells = [make_cell("clean", 0, 0.9), make_cell("adaptive", 0.63, 0.2)]
    lost = make_headline(cells, status="withheld", reasons=["loss fell", "n too small"])
    (said,) = verdicts(build(cells, lost))
    assert said.sentence == "consensus scenes:vae: withheld: loss fell; n too small"


def test_a_defense_that_nobody_attacked(make_cell, make_headline) -> None:
    cells = [make_cell("clean", 0, 0.9)]
    (said,) = verdicts(build(cells, make_headline(cells)))
    assert said.sentence == "consensus scenes:vae: nobody attacked it"


def test_namesakes_are_told_apart(make_cell, make_headline) -> None:
    pairs = [
        [make_cell("clean", 0, 0.9, samples=n), make_cell("adaptive", 0.5, 0.5, samples=n, eps=e)]
        for n, e in ((1, 4 / 255), (10, 8 / 255))
    ]
    audit = build([c for pair in pairs for c in pair], *(make_headline(pair) for pair in pairs))
    assert [said.name for said in verdicts(audit)] == [
        "consensus scenes:vae, N = 1 (L∞ 4/255)",
        "consensus scenes:vae, N = 10 (L∞ 8/255)",
    ]


def cautioned(make_cell, task: str, model: str, **provenance: str) -> list[str]:
    rows = [make_cell("clean", 0, 1, task=task, model=model)]
    return caveats(Audit(study="s", title="", provenance=provenance, cells=rows, headline=[]))


@pytest.mark.parametrize("task", ["zeroshot scenes:test", "classification scenes:test"])
def test_caveats_are_those_of_the_data_and_of_the_models(make_cell, task: str) -> None:
    both = cautioned(make_cell, task, "scenes:clip", caveat=CAVEAT)
    of_model = f"scenes:clip: {Scenes.caveat}"
    assert both == [CAVEAT, of_model]
    # A model from elsewhere is not small because the images are rendered, and the other way round.
    assert cautioned(make_cell, task, "hf:openai/clip", caveat=CAVEAT) == [CAVEAT]
    photographs = "classification imagenet:x"
    assert cautioned(make_cell, photographs, "scenes:clip", caveat="") == [of_model]
    assert cautioned(make_cell, photographs, "nosuchfamily:x") == []


def test_the_caveat_of_the_data_is_the_sources_own(tmp_path) -> None:
    assert load("scenes:test").provenance == load("scenes:test").captioned().provenance == CAVEAT
    assert load("overhead:test").captioned().provenance != CAVEAT != ""


def test_a_task_that_is_not_installed_is_shown_by_its_metrics(make_cell) -> None:
    rows = [make_cell(k, 0.1, 0.9, task="depth nowhere:x", goal="blur") for k in ("clean", "adaptive")]
    audit = build(rows)
    assert foreign(audit) == ["depth"]
    (block,) = blocks(audit)
    assert [column.metric for column in block.columns] == ["target_top1", "target_top5", "original_top1"]
    assert foreign(build([make_cell("clean", 0, 1)])) == []
