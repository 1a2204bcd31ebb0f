"""Contenders timed in turn, round by round, and the rows that come of it."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tsnn_uq.files import write_text

__all__ = ["OURS", "Row", "Work", "interleave", "measure", "merge_rows", "rows_of", "write_rows"]

OURS = "tsnn-uq"
MOST_CALLS = 1000


@dataclass(frozen=True)
class Work:
    """Something that several contenders do.

    Attributes:
        contenders: what to call, by name; one is `OURS`.
        turn_seconds: a turn is as many calls as fill this time, at least one.
        most_rounds: no more rounds than these, for a work whose calls take seconds.
        scale: the seconds reported are those of a call times this.
    """

    contenders: Mapping[str, Callable[[], object]]
    turn_seconds: float = 0.5
    most_rounds: int | None = None
    scale: float = 1.0


class Row(NamedTuple):
    """A line of the results; the ratio is the contender's median over ours."""

    work: str
    contender: str
    median_seconds: float
    ratio: float


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    turn_seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of a call of each contender in each round.

    In a round every contender has its turn, so that other work on the machine slows all of them; the order
    moves on by one from round to round, so that none always follows the same other. The first round, one call of
    each, warms up and shows how many calls make a turn. Garbage is collected before each turn, off the clock.

    Args:
        contenders: what to call, by name.
        rounds: rounds that count.
        turn_seconds: least time of a turn, roughly.
        clock: gives seconds.
    """

    def seconds(call: Callable[[], object], calls: int) -> float:
        gc.collect()
        started = clock()
        for _ in range(calls):
            call()
        return (clock() - started) / calls

    names = list(contenders)
    calls = {}
    for name in names:
        one = max(seconds(contenders[name], 1), 1e-9)
        calls[name] = max(1, min(MOST_CALLS, math.ceil(turn_seconds / one)))
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(seconds(contenders[name], calls[name]))
    return taken


def rows_of(work: str, seconds: Mapping[str, Iterable[float]], scale: float = 1.0) -> list[Row]:
    """Medians over rounds, and their ratios to ours."""
    medians = {name: scale * statistics.median(values) for name, values in seconds.items()}
    return [Row(work, name, median, median / medians[OURS]) for name, median in medians.items()]


def measure(name: str, work: Work, rounds: int) -> list[Row]:
    """Time a work, and print the range of the ratios of single rounds."""
    seconds = interleave(work.contenders, min(rounds, work.most_rounds or rounds), work.turn_seconds)
    rows = rows_of(name, seconds, work.scale)
    for row in rows:
        ratios = [theirs / ours for theirs, ours in zip(seconds[row.contender], seconds[OURS], strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})" if row.contender != OURS else ""
        print(f"  {row.contender:16} {row.median_seconds:10.4g} s  {row.ratio:7.2f} times ours {spread}", flush=True)
    return rows


def merge_rows(path: Path, new: Iterable[Row], works: Iterable[str]) -> list[Row]:
    """The rows of a results file with those of works measured again, in the order of `works`; no others."""
    fresh = list(new)
    measured = {row.work for row in fresh}
    old = [Row(*line) for line in pd.read_csv(path).itertuples(index=False)] if path.exists() else []
    kept = [row for row in old if row.work not in measured]
    return [row for work in works for row in (*fresh, *kept) if row.work == work]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV with the columns work, contender, median_seconds and ratio."""
    table = [
        {**row._asdict(), "median_seconds": f"{row.median_seconds:.4g}", "ratio": f"{row.ratio:.3f}"} for row in rows
    ]
    write_text(path, pd.DataFrame(table, columns=list(Row._fields)).to_csv(index=False))
