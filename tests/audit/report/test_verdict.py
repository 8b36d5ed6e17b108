"""The sentence says who attacked, how far they got, and what was not tried."""

from secondlook.audit.report.verdict import embedded, verdicts
from secondlook.audit.schema import Audit


def build(cells, *headlines):
    return Audit(study="s", title="", provenance={}, cells=cells, headline=list(headlines))


def test_the_sentence_sets_one_who_knows_beside_one_who_does_not(make_cell, make_headline) -> None:
    cells = [make_cell("clean", 0, 0.94), make_cell("oblivious", 0, 0.8),
             make_cell("transfer", 0.02, 0.8), make_cell("adaptive", 0.63, 0.2)]  # fmt: skip
    (said,) = verdicts(build(cells, make_headline(cells)))
    assert said.sentence == (
        "consensus scenes:vae: an attacker who knows the defence reaches the target on 63 % of "
        "images [53, 72] (n = 100) — an attacker who does not: 2 % [1, 7]"
    )
    assert said.worst.knowledge == "adaptive"
    assert said.stranger.knowledge == "transfer"


def test_a_missing_adaptive_row_is_said(make_cell, make_headline) -> None:
    cells = [make_cell("clean", 0, 0.9), make_cell("oblivious", 0.04, 0.8)]
    (said,) = verdicts(build(cells, make_headline(cells)))
    assert "an attacker who does not know the defence reaches the target on 4 %" in said.sentence
    assert said.sentence.endswith("an attacker who knows the defence was not tried")


def test_where_nothing_defends_there_is_nothing_to_know(make_cell, make_headline) -> None:
    cells = [make_cell("clean", 0, 0.9, defence="undefended"),
             make_cell("oblivious", 0.98, 0.0, defence="undefended"),
             make_cell("adaptive", 0.98, 0.0, defence="undefended")]  # fmt: skip
    (said,) = verdicts(build(cells, make_headline(cells)))
    assert said.sentence.startswith("undefended: an attacker reaches the target on 98 %")
    assert said.stranger is None
    assert said.remark == ""


def test_a_withheld_headline_says_why_and_gives_no_figure(make_cell, make_headline) -> None:
    cells = [make_cell("clean", 0, 0.9), make_cell("adaptive", 0.63, 0.2)]
    lost = make_headline(cells, status="withheld", reasons=["loss fell", "n too small"])
    (said,) = verdicts(build(cells, lost))
    assert said.sentence == "consensus scenes:vae: withheld: loss fell; n too small"


def test_a_defence_that_nobody_attacked(make_cell, make_headline) -> None:
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
        "consensus scenes:vae, N = 1 (L∞ 4/255)", "consensus scenes:vae, N = 10 (L∞ 8/255)",
    ]  # fmt: skip


def test_the_embedded_world_is_known_by_its_names(audit: Audit, photographs: Audit) -> None:
    assert embedded(audit)
    assert not embedded(photographs)
