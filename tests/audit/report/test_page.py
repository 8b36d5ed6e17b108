"""The page is whole, offline, small, honest about failures, and proof against hostile names."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from secondlook.audit.report.glossary import glossary, names
from secondlook.audit.report.matrix import everywhere, verdicts
from secondlook.audit.report.page import flat, html, pixelated, place, size
from secondlook.scenes.source import CAVEAT
from secondlook.schema import Audit, Cell, Check, Headline
from secondlook.tasks.classification import ClassExample

VOID = {"meta", "img", "br", "hr", "link", "input"}
LIMIT = 2_000_000


class Balance(HTMLParser):
    """Fails at a tag that closes what is not open; collects text, ids and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [str(given[k]) for k in ("src", "href", "srcset", "action") if k in given]
        self.ids += [str(given["id"])] if "id" in given else []
        if tag == "img":
            self.images.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text.append(data)


def parsed(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    parser.close()
    return parser


@pytest.fixture(scope="module")
def page(audit: Audit, examples: list[ClassExample]) -> str:
    return html(audit, examples)


@pytest.fixture(scope="module")
def words(page: str) -> str:
    return " ".join(" ".join(parsed(page).text).split())


def test_every_tag_is_closed_and_every_id_is_one(page: str) -> None:
    read = parsed(page)
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))


def test_the_page_asks_nothing_of_any_host(page: str) -> None:
    read = parsed(page)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in read.addresses)
    assert {address[1:] for address in read.addresses if address[0] == "#"} <= set(read.ids)
    assert not re.search(r"<script\s|@import|https?:|url\((?!#)", page)


def test_no_script_runs_but_its_own(page: str) -> None:
    (own,) = parsed(page).scripts
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy and re.findall(r"script-src ([^;]*)", policy[1]) == [f"'sha256-{digest}'"]


def test_twelve_exhibits_of_noise_stay_small(page: str) -> None:
    assert len(page.encode()) < LIMIT


def test_hostile_names_are_text(page: str, words: str, hostile: str) -> None:
    assert "<script>alert" not in page
    assert hostile in words


def test_every_verdict_is_said_and_a_withheld_one_has_no_figure(audit: Audit, words: str) -> None:
    said = re.sub(r"[^\w<>%:;\[\]]", "", words)
    for verdict in verdicts(audit):
        parts = verdict.sentence.removeprefix(verdict.name).replace(": withheld: ", "headline withheld.✕ FAIL", 1)
        for part in (verdict.name, parts.removeprefix(": ")):
            assert re.sub(r"[^\w<>%:;\[\]]", "", part) in said
    assert len(re.findall("headline +withheld", words)) == 2  # the verdict, and its rows in the table


def test_all_states_of_health_stand_there_with_their_details(words: str) -> None:
    for text in ("✓ PASS", "▲ WARN", "✕ FAIL", "the loss fell on 31 of 100 samples"):
        assert text in words


def test_all_parts_are_there_and_the_empty_ones_are_not(page: str, audit: Audit, photographs: Audit) -> None:
    assert {"verdict", "table", "curves", "outcomes", "votes", "gallery", "health", "cost", "provenance"} <= set(
        parsed(page).ids
    )
    bare = set(parsed(html(photographs, [])).ids)
    assert not bare & {"curves", "votes", "gallery"}


def test_only_the_embedded_world_is_called_so(words: str, photographs: Audit) -> None:
    assert CAVEAT in words
    assert CAVEAT not in html(photographs, [])


def test_every_picture_has_words_and_small_ones_keep_their_pixels(page: str) -> None:
    images = parsed(page).images
    assert len(images) == 12 * 7
    assert all(image["alt"] for image in images)
    assert all(image["class"] == "pixels" for image in images)


def test_metrics_that_the_page_does_not_know_are_shown(words: str) -> None:
    assert "cosine clean image" in words
    assert "0.874 ± 0.061 [0.862, 0.886]" in words


def test_provenance_is_told_to_the_end(words: str) -> None:
    for text in ("secondlook audit", "9f2c4e0b7a1d3355", "versions · torch", "5e1f0c88aa92b3d1"):
        assert text in words


def test_an_audit_of_nothing_is_a_page() -> None:
    nothing = Audit(study="empty", title="", provenance={}, cells=[], headline=[])
    assert parsed(html(nothing, [])).open == []


def test_what_is_no_png_is_not_measured() -> None:
    def header(side: int) -> str:
        size = side.to_bytes(4, "big") * 2
        return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + size).decode()

    assert pixelated(header(96))
    assert not pixelated(header(97))
    assert not any(map(pixelated, ("", '"><script>', "QUJD", "é")))
    assert size(header(97)) == (97, 97) and size("QUJD") is None


def test_places_stay_on_the_line() -> None:
    assert [place(x) for x in (-1, 0.5, 2, float("nan"))] == ["0.00%", "50.00%", "100.00%", "0%"]


def test_nested_provenance_is_flattened() -> None:
    assert dict(flat({"a": {"b_c": {"d": 1}}, "e": []})) == {"a · b c · d": "1", "e": "–"}


def test_every_section_is_in_the_navigation_and_words_are_explained(page: str) -> None:
    sections = set(re.findall(r'<h2 id="([^"]+)"', page))
    nav = page[page.index("<nav") : page.index("</nav>")]
    assert sections == set(re.findall(r'href="#([^"]+)"', nav))
    explained = re.findall(r"<dfn>([^<]+)</dfn>", page)
    assert {"taken over", "still right", "adaptive", "withheld", "Overhead"} <= set(explained)


def test_words_are_those_that_the_page_has_and_names_are_explained_by_their_own_lists(audit: Audit) -> None:
    said = {term.word: term.meaning for term in names(audit)}
    assert (
        said["illusion"].startswith("Targeted cross-modal illusion")
        and said["jpeg"] == "The answer for the JPEG of the input."
    )
    assert {"clean", "oblivious", "transfer", "adaptive", "rejected"} <= {term.word for term in glossary(audit)}
    calm = audit.model_copy(
        update={"cells": [cell for cell in audit.cells if cell.knowledge == "clean" and not cell.outcomes.rejected]}
    )
    assert not {"oblivious", "transfer", "adaptive", "rejected"} & {term.word for term in glossary(calm)}


def test_a_check_that_fails_in_several_rows_is_told_once(make_cell: Callable[..., Cell]) -> None:
    few = Check(check="enough samples", status="fail", detail="n = 4; take n = 100 or more")
    alone = Check(check="loss rises", status="fail", detail="it fell")
    cells = [make_cell("clean", 0, 1, health=[few]), make_cell("adaptive", 1, 0, health=[few, alone])]
    page = html(Audit(study="s", title="", provenance={}, cells=cells, headline=[]), [])
    matrix = page[page.index('aria-labelledby="table"') : page.index('aria-labelledby="outcomes"')]
    told = re.sub(r"<details>.*?</details>", "", matrix, flags=re.S)
    assert told.count("enough samples") == 1 and "(all 2 rows)" in told
    assert told.count("it fell") == 1 and told.index("it fell") > told.index("adaptive")


def test_a_warning_of_every_verdict_is_told_once_and_another_beside_its_own(
    make_cell: Callable[..., Cell], make_headline: Callable[..., Headline]
) -> None:
    few = Check(check="enough samples", status="warn", detail="n = 60; take n = 100 or more")
    flat = Check(check="loss rises", status="warn", detail="it fell")
    groups = [
        [
            make_cell(k, hit, kept, defense=defense, health=[few, *more])
            for k, hit, kept in (("clean", 0, 1), ("adaptive", 1, 0))
        ]
        for defense, more in (("jpeg", []), ("noise", [flat]))
    ]
    lines = [make_headline(group) for group in groups]
    page = html(Audit(study="s", title="", provenance={}, cells=sum(groups, []), headline=lines), [])
    top = page[page.index('aria-labelledby="verdict"') : page.index('aria-labelledby="table"')]
    assert top.count("enough samples") == 1 and "take n = 100 or more" in top
    assert top.count("loss rises") == 1 and top.index("loss rises") > top.index("<h3>noise</h3>")
    assert [
        check.check
        for check in everywhere(
            verdicts(Audit(study="s", title="", provenance={}, cells=groups[0], headline=lines[:1]))
        )
    ] == []


def test_what_an_attack_leaves_is_called_as_its_task_calls_it(audit: Audit) -> None:
    cells = [cell.model_copy(update={"task": "unlabeled folder:x", "goal": "untargeted"}) for cell in audit.cells]
    lines = [line.model_copy(update={"task": "unlabeled folder:x", "goal": "untargeted"}) for line in audit.headline]
    page = html(audit.model_copy(update={"cells": cells, "headline": lines}), [])
    top = page[page.index('aria-labelledby="verdict"') : page.index('aria-labelledby="table"')]
    assert top.count('href="#word-still-unchanged">still unchanged</a>') == top.count("; still unchanged:") == 4
    assert "<dfn>still unchanged</dfn>" in page and 'id="word-still-unchanged"' in page
    said = re.sub(r"<(style|script|svg).*?</\1>|<[^>]+>", " ", page, flags=re.S)
    assert not re.findall(r"still right|\bcorrect\b|\bwrong\b|Right,", said)
    assert "Unchanged, changed, or no answer" in said
    drawn = " ".join(re.findall(r'<svg[^>]*aria-label="([^"]*)"', page))
    assert " changed" in drawn and " unchanged" in drawn and not re.findall(r"correct|wrong", drawn)


def test_pictures_and_wide_tables_need_no_script(page: str) -> None:
    pictures = re.findall(r"<img ", page)
    assert pictures and len(pictures) == len(re.findall(r'<details class="picture"><summary>', page))
    hint = re.search(r"\.scroll, nav > div \{([^}]*)\}", page)
    assert hint and hint[1].count(" local") == hint[1].count(" scroll;") + hint[1].count(" scroll,") == 2
