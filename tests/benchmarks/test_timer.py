"""Contenders have their turns, and ratios are of medians; by a clock of our own."""

from __future__ import annotations

import gc

import pytest

from tests.benchmarks.timer import OURS, Row, Work, interleave, measure, rows_of


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch):
    """Of all the garbage of a test process, before each of a hundred turns."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class Clock:
    """Tells a time that goes on only by what is called."""

    def __init__(self):
        self.now, self.called = 0.0, []

    def __call__(self):
        return self.now

    def takes(self, name, seconds):
        def call():
            self.called.append(name)
            self.now += seconds

        return call


def test_contenders_take_turns_after_a_round_that_does_not_count():
    clock = Clock()
    seconds = interleave({"a": clock.takes("a", 1.0), "b": clock.takes("b", 3.0)}, rounds=3, clock=clock)
    assert "".join(clock.called) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {"a": [1.0] * 3, "b": [3.0] * 3}


def test_a_turn_of_something_quick_is_many_calls():
    clock = Clock()
    seconds = interleave({"a": clock.takes("a", 1.0), "b": clock.takes("b", 4.0)}, 1, turn_seconds=4.0, clock=clock)
    assert "".join(clock.called) == "ab" + "aaaa" + "b"
    assert seconds == {"a": [1.0], "b": [4.0]}


def test_ratios_are_of_medians_to_ours():
    rows = rows_of("work", {"other": [6.0, 100.0, 5.0], OURS: [2.0, 1.0, 50.0]}, scale=10.0)
    assert rows == [Row("work", "other", 60.0, 3.0), Row("work", OURS, 20.0, 1.0)]


def test_measure_times_every_contender(capsys):
    calls = []
    work = Work({OURS: lambda: calls.append("us"), "other": lambda: calls.append("them")}, 0.0, most_rounds=2)
    rows = measure("work", work, rounds=5)
    assert [(row.work, row.contender) for row in rows] == [("work", OURS), ("work", "other")]
    assert sorted(calls) == ["them"] * 3 + ["us"] * 3
    assert "times ours" in capsys.readouterr().out
