"""Standard output and error that take any text, also where they are ASCII: pipes, old terminals, ``LANG=C``."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

__all__ = ["OutputConsole", "accept_any_text"]

NEAREST = {"±": "+-", "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "…": "...", "•": "*"}
HANDLER = "tsnn-uq-nearest"


def _nearest(error: UnicodeError) -> tuple[str, int]:
    """Error handler: the nearest ASCII text for what an encoding lacks, or else an escape such as ``\\xe4``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(NEAREST.get(one) or one.encode("ascii", "backslashreplace").decode() for one in lacking), error.end


codecs.register_error(HANDLER, _nearest)


def accept_any_text() -> None:
    """Let standard output and error replace what their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


class OutputConsole(Console):
    """A console whose tables stay aligned where the encoding lacks a character: replaced before they are laid out."""

    as_json = False  # whether what was measured is printed as JSON in place of all else

    def render_str(self, text: str, **options: Any) -> Text:
        """Markup as text, of characters that the console's encoding has."""
        return super().render_str(text.encode(self.encoding, HANDLER).decode(self.encoding), **options)
