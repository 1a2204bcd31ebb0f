"""The format of numbers in the report: digits, spreads and powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pandas import DataFrame

__all__ = ["between", "cell", "enough_digits", "interval", "mean_std", "number", "power", "records"]

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"  # similar characters are not allowed in source code
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def records(table: DataFrame) -> list[dict[str, Any]]:
    """The rows of a table by column names."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def number(value: float, digits: int) -> str:
    """Format a number with a true minus sign; empty if it is unknown.

    Example:
        >>> number(-0.123, 2), number(float("nan"), 2)
        ('−0.12', '')
    """
    if value is None or math.isnan(value):
        return ""
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def enough_digits(std: float) -> int:
    """Decimals that show a spread, from two to four.

    Example:
        >>> enough_digits(0.5), enough_digits(0.0022), enough_digits(0.0)
        (2, 3, 2)
    """
    return min(4, max(2, -math.floor(math.log10(std)))) if std > 0 else 2


def mean_std(mean: float, std: float, digits: int) -> str:
    """Format mean ± standard deviation, without the latter if it is unknown.

    Example:
        >>> mean_std(98.5, 0.046, 2)
        '98.50 ± 0.05'
    """
    spread = number(std, digits) if std else ""  # counted quantities do not vary over seeds
    return f"{number(mean, digits)} ± {spread}" if spread else number(mean, digits)


def power(mean: float, std: float = math.nan) -> str:
    """Three digits and a power of ten; the spread has the same power, and both get up to four digits to show it.

    Example:
        >>> power(3.1e10), power(9.2e8, 6.44e5)
        ('3.10 × 10¹⁰', '(9.200 ± 0.006) × 10⁸')
    """
    if mean is None or math.isnan(mean):
        return ""
    exponent = math.floor(math.log10(mean))
    unit = f"{TIMES} 10{str(exponent).translate(SUPERSCRIPTS)}"
    if std is None or math.isnan(std) or std == 0:
        return f"{mean / 10**exponent:.2f} {unit}"
    digits = enough_digits(std / 10**exponent)
    return f"({mean / 10**exponent:.{digits}f} ± {std / 10**exponent:.{digits}f}) {unit}"


def between(values: Iterable[float], digits: int) -> str:
    """The range of some values, or the value if they are all the same.

    Example:
        >>> between([0.2, 0.31, 0.25], 1), between([4, 4], 0)
        ('0.2 to 0.3', '4')
    """
    texts = [number(value, digits) for value in sorted(values)]
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def interval(values: Iterable[float], digits: int) -> str:
    """Format a value and the ends of its interval: ``mean [low, high]``."""
    mean, low, high = (number(value, digits) for value in values)
    return f"{mean} [{low}, {high}]"


def cell(text: str, strong: bool = False) -> dict[str, Any]:
    """A cell of a table in the report."""
    return {"text": text, "strong": bool(strong)}
