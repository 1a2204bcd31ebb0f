"""HTML from Python values: whatever is not HTML already is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["Html", "element", "joined", "table_row"]

_VOID = {"br", "img"}
_BLOCKS = {
    "dd",
    "details",
    "div",
    "dl",
    "figure",
    "h2",
    "h3",
    "li",
    "nav",
    "p",
    "section",
    "table",
    "tbody",
    "thead",
    "tr",
}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def joined(children: Iterable[object]) -> Html:
    """Children one after the other, those escaped that are no `Html`.

    Example:
        >>> joined(["1 < 2", Html("<br>")])
        '1 &lt; 2<br>'
    """
    return Html("".join(child if isinstance(child, Html) else escape(str(child)) for child in children))


def element(name: str, *children: object, **attributes: object) -> Html:
    """An element with escaped children and attributes.

    An attribute's trailing underscore is dropped, others become hyphens; one that is None is left out, and one that is
    True has no value.

    Example:
        >>> element("p", "a & b", class_="note", aria_label='"quoted"', hidden=True, id=None)
        '<p class="note" aria-label="&quot;quoted&quot;" hidden>a &amp; b</p>\\n'
    """
    parts = [name]
    for key, value in attributes.items():
        title = key.rstrip("_").replace("_", "-")
        if value is not None:
            parts.append(title if value is True else f'{title}="{escape(str(value))}"')
    start = f"<{' '.join(parts)}>"
    end = "" if name in _VOID else f"</{name}>"
    return Html(f"{start}{joined(children)}{end}" + ("\n" if name in _BLOCKS else ""))


def table_row(name: str, *cells: object) -> Html:
    """A row of a table whose first cell names it: `name` may be ``"th"``, for headings, or ``"td"``."""
    first = element("th", cells[0], scope="col" if name == "th" else "row")
    scope = "col" if name == "th" else None
    return element("tr", first, *(element(name, cell, scope=scope) for cell in cells[1:]))
