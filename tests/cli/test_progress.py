"""A bar with the time left on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tsnn_uq.cli import progress
from tsnn_uq.cli.progress import RunBars


class Clock:
    """A clock that only moves when told."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def drive(bars, clock):
    """Two runs of a hundred seconds each, one after the other, told of every second."""
    with bars:
        for run in ("a", "b"):
            for second in range(1, 81):
                clock.now += 1
                bars(run, "train", second, 80)
            for second in range(1, 21):
                clock.now += 1
                bars(run, "predict", second, 20)


def test_plain_lines_are_few_and_say_the_time_left(clock):
    plain = console(False)
    drive(RunBars(plain, runs=2), clock)
    lines = plain.file.getvalue().splitlines()
    assert 10 <= len(lines) <= 22
    assert lines[-1].split() == ["100%", "b:", "predict", "20/20"]
    assert any(line.startswith(" 50%  a: predict 20/20, about 2 min left") for line in lines)
    assert all(
        re.fullmatch(r"[ \d]{3}%  [ab]: (train|predict) \d+/\d+(, about \d+ (s|min) left)?", line) for line in lines
    )


def test_the_time_left_leaves_out_what_an_earlier_call_did(clock):
    plain = console(False)
    with RunBars(plain, runs=1) as bars:
        bars("a", "train", 50, 100)  # resumed here
        clock.now += 20
        bars("a", "train", 75, 100)
    # 0.2 of the run in 20 s, and 0.4 are left
    assert plain.file.getvalue() == " 60%  a: train 75/100, about 40 s left\n"


def test_a_terminal_gets_bars(clock):
    terminal = console(True)
    drive(RunBars(terminal, runs=2), clock)
    text = terminal.file.getvalue()
    assert "all 2 runs" in text
    assert "left" in text
    assert "100%" in text
