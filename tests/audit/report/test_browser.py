"""The page in a real browser: at a phone's width and a desk's, light and dark, with scripts and without."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from secondlook.audit.report.page import html
from secondlook.schema import Audit
from secondlook.tasks.classification import ClassExample
from tests.audit.report import test_detection

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

PHONE, TABLET, DESK = (390, 844), (768, 1024), (1280, 900)
LOOKS = [*((size, scheme) for size in (PHONE, DESK) for scheme in ("light", "dark")), (TABLET, "light")]
QUESTIONS = (Path(__file__).parent / "browser.js").read_text("utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser without a window; the tests are skipped where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no chromium with its chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    profile = tmp_path_factory.mktemp("profile")
    for switch in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={profile}")
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page(audit: Audit, examples: list[ClassExample], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a page lies that has detectors, a withheld verdict, a figure that is lacking and hostile names."""
    first, *others = audit.cells
    lacking = {name: found for name, found in first.metrics.items() if name != "cosine_clean_image"}
    cells = [first.model_copy(update={"metrics": lacking}), *others, *test_detection.rows()]
    whole = audit.model_copy(update={"cells": cells})
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(whole, examples), "utf-8")
    return path.as_uri()


@pytest.fixture
def look(browser: Any, page: str) -> Callable[..., Any]:
    """Opens the page in a window of some size, light or dark, with scripts or without, or as it is printed."""

    def opened(size: tuple[int, int] = DESK, scheme: str = "light", scripts: bool = True, media: str = "") -> Any:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        scheme = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        browser.get_log("browser")
        load(browser, page, scripts)
        return browser

    return opened


def load(browser: Any, page: str, scripts: bool) -> None:
    """Loads the page, anew where a busy browser has let scripts run, or not, as the page before had it."""
    for _ in range(5):
        browser.get(page)
        if bool(browser.find_elements(By.CSS_SELECTOR, ".filter")) == scripts:
            return


def ask(browser: Any, question: str) -> Any:
    """What ``browser.js`` says of the page."""
    return browser.execute_script(f"{QUESTIONS}\nreturn {question}")


def column(browser: Any, number: int) -> list[float]:
    """The values of a column of the main table, from the top down."""
    return [float(value) for value in ask(browser, f"values({number})")]


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_all_fits_can_be_read_and_begins_with_the_verdict(look: Callable[..., Any], size: Any, scheme: str) -> None:
    browser = look(size, scheme)
    assert (ask(browser, "outside()"), ask(browser, "unhinted()"), ask(browser, "pale()")) == ([], [], [])
    opening = browser.find_element(By.CSS_SELECTOR, ".opening")
    assert opening.text and opening.rect["y"] + opening.rect["height"] < size[1]
    assert browser.get_log("browser") == []


def test_pictures_come_before_the_tenth_screen_of_a_phone(look: Callable[..., Any]) -> None:
    browser = look(PHONE)
    assert 0 < browser.find_element(By.CSS_SELECTOR, ".example img").rect["y"] < 10 * PHONE[1]


@pytest.mark.parametrize("scripts", [True, False])
def test_a_picture_fills_the_window_and_goes_back(look: Callable[..., Any], scripts: bool) -> None:
    browser = look(PHONE, scripts=scripts)
    picture = browser.find_element(By.CSS_SELECTOR, ".picture summary")
    image = picture.find_element(By.TAG_NAME, "img")
    small = image.size["width"]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    picture.click()
    assert small < 0.3 * PHONE[0] and image.size["width"] > 0.9 * PHONE[0]
    picture.send_keys(Keys.ESCAPE) if scripts else picture.click()
    assert image.size["width"] == small


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_a_header_sorts_up_and_down_and_gives_the_groups_back(look: Callable[..., Any], size: Any) -> None:
    browser = look(size)
    written, groups = column(browser, 3), ask(browser, "headings()")
    header = browser.find_elements(By.CSS_SELECTOR, ".matrix thead th")[3]
    button = header.find_element(By.TAG_NAME, "button")
    assert header.get_attribute("aria-sort") == "none" and button.text == "original top-1"
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert header.get_attribute("aria-sort") == "ascending" and column(browser, 3) == sorted(written) != written
    assert "undefended" in browser.find_element(By.CSS_SELECTOR, ".matrix tr.row th").text and not ask(
        browser, "headings()"
    )
    button.send_keys(Keys.ENTER)
    assert header.get_attribute("aria-sort") == "descending" and column(browser, 3) == sorted(written, reverse=True)
    button.send_keys(Keys.SPACE)
    assert header.get_attribute("aria-sort") == "none" and column(browser, 3) == written
    assert ask(browser, "headings()") == groups > 1


def test_a_failed_check_stays_below_its_row(look: Callable[..., Any]) -> None:
    browser = look()
    for number in (1, 2):
        browser.find_elements(By.CSS_SELECTOR, ".matrix thead button")[number].send_keys(Keys.ENTER)
        assert ask(browser, 'document.querySelector("tr.why").previousElementSibling.matches("tr.row.fail")')


def test_what_has_no_figure_comes_last_both_ways(look: Callable[..., Any]) -> None:
    up, down = ask(look(), "lacking()")
    assert up[-1] == down[-1] == "nan" and up.count("nan") == down.count("nan") == 1
    figures = [float(value) for value in up[:-1]]
    assert figures == sorted(figures) and [float(value) for value in down[:-1]] == sorted(figures, reverse=True)


def test_words_filter_the_rows_of_all_tables(look: Callable[..., Any]) -> None:
    browser = look()
    every = ask(browser, "shown()")
    fields = browser.find_elements(By.CSS_SELECTOR, ".filter input")
    fields[0].send_keys("scenes:VAE adaptive")
    assert ask(browser, "shown()") == [row for row in every if "scenes:vae" in row and "adaptive" in row]
    assert ask(browser, "headings()") == 1
    assert {field.get_attribute("value") for field in fields} == {"scenes:VAE adaptive"}
    assert browser.find_element(By.CSS_SELECTOR, ".filter output").text == f"1 of {len(every)} rows"
    clear = (Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    fields[1].send_keys(*clear, "nothing like it")
    assert ask(browser, "shown()") == []
    fields[0].send_keys(*clear)
    assert ask(browser, "shown()") == every


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_nothing_is_missing_without_scripts(look: Callable[..., Any], size: Any) -> None:
    whole = ask(look(size), "[shown(), all('h2').length]")
    browser = look(size, scripts=False)
    assert (ask(browser, "outside()"), ask(browser, "unhinted()")) == ([], [])
    assert ask(browser, "[shown(), all('h2').length]") == whole
    assert not browser.find_elements(By.CSS_SELECTOR, "thead button, .filter, [aria-sort]")


def test_on_paper_there_is_no_navigation_and_all_is_unfolded(look: Callable[..., Any]) -> None:
    browser = look((720, 1000), "dark", media="print")
    assert ask(browser, '["nav", ".filter"].map((name) => style(document.querySelector(name)).display)') == ["none"] * 2
    assert ask(browser, "style(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert ask(browser, "folded()") == []
