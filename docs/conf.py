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


def shorten_signature(app: Any, what: str, name: str, thing: Any, *_: Any) -> tuple[str, str | None] | None:
    """Settings are listed with their descriptions; their validators would fill the page."""
    return ("(**settings)", None) if what == "class" and hasattr(thing, "model_fields") else None


def prepare_docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """List what settings are, and keep napoleon from taking text before a colon for the type of a property."""
    if what == "class" and hasattr(thing, "model_fields"):
        lines += ["", "Args:"]
        for field, about in thing.model_fields.items():
            default = "" if about.default_factory or about.is_required() else f" Default: `{about.default!r}`."
            lines.append(f"    {field}: {about.description or 'see above'}.{default}")
        lines.append("")
    if what in ("attribute", "property") and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ")


def skip_internals(app: Any, what: str, name: str, *_: Any) -> bool | None:
    """Leave out what pydantic needs."""
    return True if name == "model_config" else None


def setup(app: Any) -> None:
    """Look at docstrings before napoleon does, whose priority is 500."""
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-skip-member", skip_internals)
