"""The Python examples of README and guides run; the files and commands the README names exist."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.peers import peer
from tsnn_uq.checks import InputError
from tsnn_uq.engine import Engine
from tsnn_uq.training import REGULARIZERS, forward_batch, make_regularizer, regularizer_terms

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


OWN_LOOP = next(text for text in NAMED.values() if "make_regularizer" in text)


@pytest.mark.parametrize("name", [*REGULARIZERS, "variance:5+outliers:0.5+membrane:0.1"])
def test_the_loop_of_the_readme_takes_every_term(name):
    """Two steps; the term has a gradient, and one that needs more than logits says so."""
    loop = OWN_LOOP.replace('"default"', repr(name)).replace(".split(128)", ".split(128)[:2]")
    assert f"make_regularizer({name!r})" in loop
    found: dict[str, Any] = {}
    exec(compile(loop, "loop", "exec"), found)
    assert found["loss"].isfinite()
    term = found["regularizer"].term(found["forward"])
    assert term.isfinite()
    assert term.requires_grad == (name != "none")
    more = set(re.findall("`([a-z-]+)`", README.partition("Five terms need more than")[2].partition("The others")[0]))
    mc_logits = torch.zeros(2, 128, 10)
    if more & set(regularizer_terms(name)):
        with pytest.raises(InputError, match="got logits alone"):
            found["regularizer"](mc_logits, found["labels"])
    else:
        assert found["regularizer"](mc_logits, found["labels"]).isfinite()


@pytest.mark.parametrize("name", ["snntorch hidden", "spikingjelly multi", "norse loop"])
def test_what_knows_our_networks_alone_refuses_others_and_names_the_remedy(name):
    model, inputs, _ = peer(name, 0.5)
    if name != "spikingjelly multi":  # a Sequential, which the engine takes
        with pytest.raises(InputError, match="from_nir"):
            Engine(model)
    with pytest.raises(InputError, match="from_nir"):
        forward_batch(model, inputs, torch.zeros(6, dtype=torch.long), make_regularizer("membrane"), seed=0, step=0)


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
