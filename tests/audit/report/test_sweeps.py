"""A curve joins cells that differ in one value alone."""

from secondlook.audit.report.sweeps import panels


def test_a_grid_gives_one_line_for_each_value_of_the_other_axis(make_cell) -> None:
    cells = [
        make_cell("oblivious", 0.1, 0.9, eps=eps / 255, steps=steps)
        for eps in (8, 2, 4) for steps in (300, 10)
    ]  # fmt: skip
    against_eps, against_steps = panels(cells)
    assert against_eps.axis == "eps"
    assert [line.label for line in against_eps.lines] == ["300 steps", "10 steps"]
    assert [x * 255 for x in against_eps.lines[0].xs] == [2, 4, 8]
    assert against_eps.knowledge == "oblivious"
    assert against_steps.axis == "steps"
    assert [line.xs for line in against_steps.lines] == [(10, 300)] * 3
    assert {line.label for line in against_steps.lines} == {"L∞ 2/255", "L∞ 4/255", "L∞ 8/255"}


def test_votes_are_swept_for_every_attacker_even_under_other_labels(make_cell) -> None:
    cells = [
        make_cell(knowledge, 0.1, 0.9, samples=n, defence=f"consensus scenes:vae {n}")
        for n in (10, 1, 5) for knowledge in ("clean", "oblivious", "adaptive")
    ]  # fmt: skip
    (panel,) = panels(cells)
    assert (panel.axis, panel.name, panel.knowledge) == ("samples", "consensus scenes:vae", "")
    assert [line.label for line in panel.lines] == ["clean", "oblivious", "adaptive"]
    assert all(line.xs == (1, 5, 10) for line in panel.lines)


def test_cells_that_differ_in_more_make_no_curve(make_cell) -> None:
    assert panels([make_cell("oblivious", 0, 1)]) == []
    assert panels([
        make_cell("oblivious", 0, 1, eps=2 / 255, steps=10),
        make_cell("oblivious", 0, 1, eps=4 / 255, steps=50),
        make_cell("adaptive", 0, 1, eps=8 / 255, steps=10),
        make_cell("oblivious", 0, 1, eps=8 / 255, steps=10, model="scenes:clip-vit"),
        make_cell("oblivious", 0, 1, eps=8 / 255, steps=10, surrogates=["scenes:clip-vit"]),
    ]) == []  # fmt: skip


def test_a_crowd_is_cut_by_knowledge(make_cell) -> None:
    cells = [
        make_cell(knowledge, 0.1, 0.9, eps=eps / 255, steps=steps)
        for eps in (2, 8) for steps in (1, 10, 50, 300) for knowledge in ("oblivious", "adaptive")
    ]  # fmt: skip
    against_eps = [panel for panel in panels(cells) if panel.axis == "eps"]
    assert [panel.knowledge for panel in against_eps] == ["oblivious", "adaptive"]
    assert [len(panel.lines) for panel in against_eps] == [4, 4]
