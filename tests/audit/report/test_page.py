"""The page is whole, offline, small, honest about failures, and proof against hostile names."""

import base64
import re
from html.parser import HTMLParser

import pytest

from secondlook.audit.report.matrix import verdicts
from secondlook.audit.report.page import flat, html, pixelated, place
from secondlook.scenes.source import CAVEAT
from secondlook.schema import Audit
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
        if "style" not in self.open:
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
    assert not re.search(r"<script|@import|https?:|url\((?!#)", page)


def test_twelve_exhibits_of_noise_stay_small(page: str) -> None:
    assert len(page.encode()) < LIMIT


def test_hostile_names_are_text(page: str, words: str, hostile: str) -> None:
    assert "<script>" not in page
    assert hostile in words


def test_every_verdict_is_said_and_a_withheld_one_has_no_figure(audit: Audit, words: str) -> None:
    said = re.sub(r"[^\w<>%:;\[\]]", "", words)
    for verdict in verdicts(audit):
        sentence = verdict.sentence.replace("withheld: ", "headline withheld.✕ FAIL")
        assert re.sub(r"[^\w<>%:;\[\]]", "", sentence) in said
    assert words.count("headline withheld") == 2  # the verdict, and its rows in the table


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


def test_places_stay_on_the_line() -> None:
    assert [place(x) for x in (-1, 0.5, 2, float("nan"))] == ["0.00%", "50.00%", "100.00%", "0%"]


def test_nested_provenance_is_flattened() -> None:
    assert dict(flat({"a": {"b_c": {"d": 1}}, "e": []})) == {"a · b c · d": "1", "e": "–"}


def test_every_section_is_in_the_navigation_and_words_are_explained(page: str) -> None:
    sections = set(re.findall(r'<h2 id="([^"]+)"', page)) - {"verdict"}
    nav = page[page.index("<nav") : page.index("</nav>")]
    assert sections == set(re.findall(r'href="#([^"]+)"', nav))
    explained = re.findall(r"<dfn>([^<]+)</dfn>", page)
    assert {"taken over", "still right", "adaptive", "withheld"} <= set(explained)


def test_pictures_can_be_opened_and_wide_tables_hint_at_more_without_a_script(page: str) -> None:
    pictures = re.findall(r"<img [^>]*>", page)
    assert pictures and all('tabindex="0"' in picture for picture in pictures)
    opened = re.search(r"\.example img:focus \{([^}]*)\}", page)
    hint = re.search(r"\.scroll \{([^}]*)\}", page)
    assert opened and "position: fixed" in opened[1] and "object-fit: contain" in opened[1]
    assert hint and hint[1].count(" local") == hint[1].count(" scroll;") + hint[1].count(" scroll,") == 2
