"""The page in a browser: all is drawn, nothing is fetched, nothing needs scrolling sideways, tables sort, it prints."""

from __future__ import annotations

import re

import pytest

from tests.results.page.chromium import EXECUTABLE, open_browser

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium: apt-get install -y chromium")
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
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize(
    ("which", "width", "dark"),
    [("page", 390, False), ("page", 1400, False), ("page", 1400, True), ("families_page", 390, False)],
)
def test_everything_is_drawn_and_fits(browser, request, which, width, dark):
    path = request.getfixturevalue(which)
    browser.open(path, width, dark=dark)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('figure').length") > 5
    assert browser.run(NOT_DRAWN) == []
    assert browser.run(TEXT_OUTSIDE) == []
    assert browser.complaints() == []
    assert browser.fetched() == [path.as_uri()]


def test_a_heading_sorts_up_then_down_as_numbers(browser, page):
    browser.open(page)
    count = browser.run("document.querySelector('table').tHead.rows[0].cells.length")
    assert count == 11
    for column in range(count):
        button = f"document.querySelector('table').tHead.rows[0].cells[{column}].querySelector('button')"
        before = browser.run(COLUMN.format(column))
        for direction in ("ascending", "descending"):
            browser.run(f"{button}.click()")
            assert browser.run(COLUMN.format(column)) == sorted(before, reverse=direction == "descending")
            headings = "[...document.querySelectorAll('table')[0].querySelectorAll('[aria-sort]')]"
            assert browser.run(f"{headings}.map((th) => [th.cellIndex, th.ariaSort])") == [[column, direction]]


def test_numbers_sort_as_numbers_and_what_is_none_comes_last(browser, page):
    browser.open(page)
    assert browser.run("[10, 9, NaN, -1e3, 2.5e-7].sort(compare).map(String)") == [
        *("-1000", "2.5e-7", "9", "10", "NaN")
    ]
    assert browser.run("['seed 10', 'seed 9', 'a'].sort(compare)") == ["a", "seed 9", "seed 10"]


def test_the_keyboard_sorts(browser, page):
    browser.open(page)
    browser.run("document.querySelector('table').tHead.rows[0].cells[1].querySelector('button').focus()")
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent").startswith("accuracy")
    browser.press("Enter", 13, "\r")
    values = browser.run(COLUMN.format(2))
    assert values == sorted(values)
    browser.press(" ", 32, " ")
    assert browser.run(COLUMN.format(2)) == sorted(values, reverse=True)


def test_it_is_whole_without_scripts(browser, page):
    browser.open(page, script=False)
    tree = browser.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
    found = browser.call("DOM.querySelectorAll", nodeId=tree, selector="button")["nodeIds"]
    assert found == []
    rows = browser.call("DOM.querySelectorAll", nodeId=tree, selector="table.sortable tbody tr")["nodeIds"]
    assert len(rows) == 6


def test_it_prints(browser, page):
    browser.open(page)
    content = browser.pdf()
    assert content.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type /Page\b", content))
    assert 5 <= pages <= 20
