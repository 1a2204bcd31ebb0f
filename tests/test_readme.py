"""The Python examples of README and guides run; the files and commands the README names exist."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "tsnn_uq").rglob("*.md"))]


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


NAMED = {f"{page.relative_to(ROOT)}-{i}": text for page in PAGES for i, text in enumerate(examples(page))}


@pytest.mark.parametrize("example", NAMED.values(), ids=NAMED)
def test_example_runs(example, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' own
        exec(compile(example, "example", "exec"), {})


def test_the_readme_has_examples_for_both_kinds_of_user():
    assert any("mc_predict" in example for example in examples(ROOT / "README.md"))
    assert any("snntorch" in example for example in examples(ROOT / "README.md"))


def test_files_it_links_to_are_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_make_targets_it_names_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE))
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
