"""Sphinx: `make docs` builds these pages into docs/_build/, offline; a warning is an error."""

from __future__ import annotations

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
