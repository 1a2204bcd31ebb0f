"""The examples of the pages in docs/ run and give what they show; links lead somewhere."""

from __future__ import annotations

import doctest
import re
import warnings
from pathlib import Path

import pytest
import torch

from tests.helpers.peers import library

PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
LIBRARIES = {"snntorch": "snntorch", "spikingjelly": "spikingjelly", "norse": "norse.torch", "nir": "nir"}


def examples(page: Path) -> str:
    """The Python of a page, one example after the other."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_give_what_they_show(page):
    if page.stem in LIBRARIES:
        library(LIBRARIES[page.stem])
    test = doctest.DocTestParser().get_doctest(examples(page), {}, page.name, str(page), 0)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' own
        report: list[str] = []
        failures, count = doctest.DocTestRunner().run(test, out=report.append)
    assert failures == 0, "".join(report)
    assert count > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            path, _, section = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not section or section in sections(target), link


def sections(page: Path) -> set[str]:
    """The names by which links lead to a page's sections."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_there_is_a_page_for_each_kind_of_user():
    assert {page.stem for page in PAGES} >= {*LIBRARIES, "pytorch"}
