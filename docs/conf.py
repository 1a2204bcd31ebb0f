"""Sphinx: `make docs` builds these pages into docs/_build/, offline; a warning is an error."""

from __future__ import annotations

from typing import Any

import tsnn_uq

project = "tsnn_uq"
author = copyright = "the tsnn_uq developers"
release = version = tsnn_uq.__version__

extensions = [
    "myst_parser",  # pages are Markdown
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # docstrings in Google's form
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "code"  # `this` in a docstring is code, as it is in Markdown

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"tsnn_uq {release}"


def keep_first_line(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from reading a type from the first line of a property, up to a colon; types are annotations."""
    if what in ("attribute", "property") and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ")


def setup(app: Any) -> None:
    """Look at docstrings before napoleon does, whose priority is 500."""
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)
