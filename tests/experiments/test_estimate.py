"""How long runs will take, against how long they took."""

from __future__ import annotations

import time
from itertools import count

import pytest

from tests.helpers.events import write_nmnist
from tests.helpers.experiments import tiny
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, run
from tsnn_uq.experiments.estimate import Kind, describe_estimate, estimate_run, estimate_runs, format_duration
from tsnn_uq.experiments.runner import Task

SECONDS = {"direct": 3.0, "float": 2.0, "distill": 7.0}


def tasks(configs, runs):
    return [Task(config, runs) for config in configs]


def total(kinds):
    """How many runs there are, and the seconds of all."""
    return sum(kind.runs for kind in kinds), sum(kind.runs * kind.seconds for kind in kinds)


@pytest.fixture
def known(monkeypatch):
    """Runs that take a number of seconds by their method; gives the list of those that were timed."""
    timed = []

    def seconds(settings, context):
        timed.append(settings)
        return SECONDS[settings.method.name]

    monkeypatch.setattr("tsnn_uq.experiments.estimate.estimate_run", seconds)
    return timed


def test_an_estimate_is_near_what_a_run_takes(tmp_path, monkeypatch):
    """By a clock of this process's own work, which does not go on while the machine does other things."""
    monkeypatch.setattr("time.monotonic", time.process_time)
    config = tiny(hidden=(64,), steps=8, epochs=8, train_limit=160, samples=8)
    guessed = min(estimate_run(config) for _ in range(2))  # a few steps are soon disturbed
    started = time.process_time()
    row = run(config, tmp_path)
    assert row["train_seconds"] / 5 < guessed < 5 * (time.process_time() - started)


def test_epochs_samples_and_inputs_count_as_often_as_they_are(monkeypatch):
    monkeypatch.setattr("time.monotonic", count().__next__)  # each look at the clock takes a second

    def seconds(**settings):
        return estimate_run(tiny(**settings))

    epoch = seconds(epochs=3) - seconds(epochs=2)
    assert epoch > 0
    assert seconds(epochs=202) - seconds(epochs=2) == pytest.approx(200 * epoch)
    assert seconds(epochs=3, train_limit=128) - seconds(epochs=2, train_limit=128) == pytest.approx(2 * epoch)
    four = seconds(samples=8) - seconds(samples=4)
    assert four > 0
    assert seconds(samples=400) - seconds(samples=4) == pytest.approx(99 * four)


@pytest.mark.parametrize("settings", [{"family": "plif"}, {"method": "indirect"}, {"folds": 3}, {"train_limit": 0}])
def test_every_kind_of_run_can_be_timed(settings):
    assert 0 < estimate_run(tiny(**settings)) < 600


def test_events_are_timed_as_they_are(tmp_path):
    write_nmnist(tmp_path / "nmnist", train=12, test=2)
    settings = tiny(family="slayer", data="nmnist", steps=20, bin_ms=15.0, coding="events", train_limit=0)
    assert estimate_run(settings, Context(tmp_path)) > 0
    with pytest.raises(InputError, match="nmnist: expected a folder"):
        estimate_run(settings, Context(tmp_path / "absent"))


def test_seeds_are_timed_once_and_finished_runs_cost_nothing(known, tmp_path):
    configs = [tiny(method=method, seed=seed) for method in ("float", "direct") for seed in (0, 1)]
    assert total(estimate_runs(tasks(configs, tmp_path))) == (4, 10.0)
    assert [settings.method.name for settings in known] == ["float", "direct"]
    run(configs[3], tmp_path)
    assert total(estimate_runs(tasks(configs, tmp_path))) == (3, 7.0)
    assert total(estimate_runs(tasks(configs[3:], tmp_path))) == (0, 0.0)


def test_a_distilled_run_costs_its_teacher_too(known, tmp_path):
    distilled = tiny(method="distill")
    assert total(estimate_runs(tasks([distilled], tmp_path))) == (2, 9.0)
    assert total(estimate_runs(tasks([distilled, tiny()], tmp_path))) == (2, 9.0)
    run(tiny(), tmp_path)
    assert total(estimate_runs(tasks([distilled], tmp_path))) == (1, 7.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0 s"), (0.2, "1 s"), (89.5, "90 s"), (90.0, "2 min"), (5399.0, "90 min"), (5400.0, "1.5 h")],
)
def test_times_as_one_says_them(seconds, words):
    assert format_duration(seconds) == words


def test_no_more_runs_go_side_by_side_than_there_are():
    assert describe_estimate([Kind(tiny(), 3, 100.0)], jobs=8) == "3 runs to train, about 2 min with 3 side by side"
    assert describe_estimate([Kind(tiny(), 1, 300.0)], jobs=8) == "1 run to train, about 5 min"
    assert describe_estimate([], jobs=8) == "0 runs to train, about 0 s"


def test_progress_of_timing_ends_at_its_whole(monkeypatch, tmp_path):
    monkeypatch.setattr("tsnn_uq.experiments.estimate.estimate_run", lambda *_: 1.0)
    seen = []
    kinds = [tiny(), tiny(epochs=3), tiny(epochs=4)]
    estimate_runs(tasks(kinds, tmp_path), Context(progress=lambda *step: seen.append(step)))
    assert len({run for run, *_ in seen}) == 1  # shares of one task, not of a task for each kind
    assert [step[2:] for step in seen] == [(1, 3), (2, 3), (3, 3)]
