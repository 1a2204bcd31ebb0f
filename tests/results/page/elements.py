"""HTML read strictly: every element has to be closed by its own end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Element", "parse", "shown", "table"]

VOID = {"br", "img", "link", "meta"}


@dataclass
class Element:
    """An element, with its children and texts in their order."""

    name: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    def text(self) -> str:
        """All text in it."""
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)

    def elements(self) -> Iterator[Element]:
        """Every element in it."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.elements()

    def all(self, name: str, **attributes: str) -> list[Element]:
        """Every element in it of a name and with some attributes (``class_`` for class)."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [e for e in self.elements() if e.name == name and wanted.items() <= e.attributes.items()]


class _Strict(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{self.getpos()}: an attribute twice in <{tag}>"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert tag == self.open.pop().name, f"{self.getpos()}: </{tag}>"

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parse(text: str) -> Element:
    """The root of a page.

    Raises:
        AssertionError: an element is not closed, or an attribute stands twice.
    """
    parser = _Strict()
    parser.feed(text)
    parser.close()
    assert len(parser.open) == 1, f"<{parser.open[-1].name}> is not closed"
    return parser.open[0]


def table(root: Element, caption: str) -> Element:
    """The table whose caption has a text in it."""
    (found,) = [table for table in root.all("table") if caption in table.all("caption")[0].text()]
    return found


def shown(root: Element, caption: str) -> list[dict[str, list[Element]]]:
    """A table's rows: by heading, the numbers in the cell."""
    headings = [heading.text() for heading in table(root, caption).all("thead")[0].all("th")]
    rows = []
    for row in table(root, caption).all("tbody")[0].all("tr"):
        cells = [cell for cell in row.children if isinstance(cell, Element)]
        rows.append({name: cell.all("data") for name, cell in zip(headings, cells, strict=True)})
    return rows
