"""The section on resubmission: where its lines stand, what is said, and when there is none of it."""

import re

import pytest

from secondlook.audit.report.page import html
from secondlook.audit.report.resubmission import sent_again, sentence
from secondlook.audit.report.svg import LEFT, RIGHT, SHARES
from secondlook.audit.resubmission import curve
from secondlook.schema import Audit, Cell
from tests.audit.report.conftest import cell
from tests.audit.report.test_page import parsed

TRIES = 16


def again(tries: int = TRIES) -> Cell:
    """A third of the inputs always gets through, a third at one of four tries, a third never."""
    hits = [tries] * 4 + [tries // 4] * 4 + [0] * 4
    made = curve([{"through": each} for each in hits], tries)
    return cell("adaptive", 0.4, 0.3, n=12, defense="noise", resubmission=made)


def spots(drawn: str, kind: str) -> list[tuple[float, float]]:
    (line,) = re.findall(rf'<path[^>]*class="{kind}[^>]* d="([^"]*)"', drawn)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) (\S+)", line)]


def test_lines_begin_at_one_try_and_end_at_the_last() -> None:
    drawn, made = sent_again(again()), again().resubmission
    assert made is not None
    for kind, shares in (("line", made.chance), ("half", made.independent)):
        found = spots(drawn, kind)
        assert len(found) == TRIES
        assert (found[0][0], found[-1][0]) == (LEFT, RIGHT)
        assert [y for _, y in found] == pytest.approx([SHARES(share) for share in shares], abs=0.01)
    # Equal ratios of tries are equally far apart.
    x = [x for x, _ in spots(drawn, "line")]
    assert x[3] - x[1] == pytest.approx(x[7] - x[3], abs=0.02)


def test_the_ends_are_told_in_words() -> None:
    assert sentence(again()) == (
        "One try: 42\u00a0% [19, 68]; at least one of 16: 67\u00a0% [39, 86], were all inputs alike >99.9\u00a0%."
    )


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_few_tries_have_a_chart(tries: int) -> None:
    assert "NaN" not in sent_again(again(tries)) and "nan" not in sent_again(again(tries))


def test_the_section_is_there_where_something_was_sent_again(photographs: Audit) -> None:
    bare = parsed(html(photographs, []))
    assert "resubmission" not in bare.ids and "#resubmission" not in bare.addresses
    made = Audit(
        study="s", title="", provenance={}, cells=[cell("clean", 0, 0.9, defense="noise"), again()], headline=[]
    )
    page = html(made, [])
    assert "resubmission" in parsed(page).ids and "#resubmission" in parsed(page).addresses
    assert page.count('aria-label="At least one of k tries gets through.') == 1
    assert sentence(again()).replace(">", "&gt;") in page
