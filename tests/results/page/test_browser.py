"""The page in a browser: all is drawn, nothing is fetched, nothing needs scrolling sideways, tables sort, it prints."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tsnn_uq.results.page import figure_section, write_report

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium: apt-get install -y chromium"),
]
NOT_DRAWN = """
[...document.querySelectorAll("img, svg")].filter((drawing) => {
  const box = drawing.getBoundingClientRect();
  return box.width <= 0 || box.height <= 0 || (drawing.localName === "img" && drawing.naturalWidth <= 0);
}).map((drawing) => drawing.outerHTML.slice(0, 200))
"""
TEXT_OUTSIDE = """
[...document.querySelectorAll("figure svg")].flatMap((drawing) => {
  const page = drawing.getBoundingClientRect();
  return [...drawing.querySelectorAll("text")].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.left < page.left - 1 || box.right > page.right + 1;
  }).map((text) => text.textContent);
})
"""
COLUMN = """
[...document.querySelector("table").tBodies[0].rows].map((row) => Number(row.cells[{0}].querySelector("data").value))
"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root has no sandbox, a container little shared memory.
        browser = playwright.chromium.launch(
            executable_path=EXECUTABLE, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def drawn_families(families, tmp_path_factory) -> Path:
    """The report of the families, with one figure each."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_section, "STORED", {"Reliability": figure_section.STORED["Reliability"]})
        write_report(families, path)
    return path


@contextmanager
def opened(browser, path, *, width=1400, script=True, dark=False) -> Iterator:
    """The page in a window of a width in pixels; what it complains of and fetches is in `said` and `fetched`."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, java_script_enabled=script, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.said, page.fetched = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.fetched.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()


@pytest.mark.parametrize(
    ("which", "width", "dark"),
    [
        ("drawn_page", 390, False),
        ("drawn_page", 1400, False),
        ("drawn_page", 1400, True),
        ("drawn_families", 390, False),
    ],
)
def test_everything_is_drawn_and_fits(browser, request, which, width, dark):
    path = request.getfixturevalue(which)
    with opened(browser, path, width=width, dark=dark) as page:
        assert page.evaluate("innerWidth") == width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("figure").count() > 5
        assert page.evaluate(NOT_DRAWN) == []
        assert page.evaluate(TEXT_OUTSIDE) == []
        assert page.said == []
        assert [url for url in page.fetched if not url.startswith("data:")] == [path.as_uri()]


def test_a_heading_sorts_up_then_down_as_numbers(browser, drawn_page):
    with opened(browser, drawn_page) as shown:
        headings = shown.locator("table").first.locator("thead th")
        assert headings.count() == 12
        for column in range(12):
            before = shown.evaluate(COLUMN.format(column))
            for direction in ("ascending", "descending"):
                headings.nth(column).locator("button").click()
                assert shown.evaluate(COLUMN.format(column)) == sorted(before, reverse=direction == "descending")
                said = "[...document.querySelector('table').querySelectorAll('[aria-sort]')]"
                assert shown.evaluate(f"{said}.map((th) => [th.cellIndex, th.ariaSort])") == [[column, direction]]


def test_numbers_sort_as_numbers_and_what_is_none_comes_last(browser, drawn_page):
    with opened(browser, drawn_page) as shown:
        assert shown.evaluate("[10, 9, NaN, -1e3, 2.5e-7].sort(compare).map(String)") == [
            *("-1000", "2.5e-7", "9", "10", "NaN")
        ]
        assert shown.evaluate("['seed 10', 'seed 9', 'a'].sort(compare)") == ["a", "seed 9", "seed 10"]


def test_the_keyboard_sorts(browser, drawn_page):
    with opened(browser, drawn_page) as shown:
        shown.locator("table").first.locator("thead th").nth(1).locator("button").focus()
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.textContent").startswith("accuracy")
        shown.keyboard.press("Enter")
        values = shown.evaluate(COLUMN.format(2))
        assert values == sorted(values)
        shown.keyboard.press("Space")
        assert shown.evaluate(COLUMN.format(2)) == sorted(values, reverse=True)


def test_it_is_whole_without_scripts(browser, drawn_page):
    with opened(browser, drawn_page, script=False) as shown:
        assert shown.locator("button").count() == 0
        assert shown.locator("table.sortable tbody tr").count() == 6


def test_it_prints(browser, drawn_page):
    with opened(browser, drawn_page) as shown:
        content = shown.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF-")
    assert 5 <= len(re.findall(rb"/Type /Page\b", content)) <= 20
