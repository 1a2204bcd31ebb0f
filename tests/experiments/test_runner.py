from __future__ import annotations

import multiprocessing
import os
import select
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.experiments import contents, tiny, without_time
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, run, sweep
from tsnn_uq.experiments.run import lock_path
from tsnn_uq.experiments.runner import Task, _exit_with_parent, tasks_left, waves

GRID = [tiny(method=method, seed=seed) for method in ("float", "direct") for seed in (0, 1)]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def tasks(configs, runs=Path("runs")):
    return [Task(config, runs) for config in configs]


def count_runs(configs, runs):
    return len(tasks_left(tasks(configs, runs)))


def test_what_a_run_needs_is_in_an_earlier_wave():
    distilled = [tiny(method="distill", seed=seed) for seed in (0, 1)]
    others = [tiny(method="indirect"), tiny(seed=0)]

    def planned(configs):
        return [[task.settings for task in wave] for wave in waves(tasks(configs))]

    assert planned([*distilled, *others]) == [[*others, tiny(seed=1)], distilled]
    assert planned(others) == [others]
    assert planned(distilled) == [[tiny(seed=0), tiny(seed=1)], distilled]
    assert planned([]) == []


def test_a_finished_run_needs_no_teacher_any_more(tmp_path):
    distilled = tiny(method="distill")
    row = run(distilled, tmp_path)
    shutil.rmtree(tmp_path / tiny().name)
    assert run(distilled, tmp_path) == row
    assert names_in(tmp_path) == [distilled.name]


@pytest.mark.slow
def test_rows_do_not_depend_on_jobs_nor_on_the_order(tmp_path):
    backwards = sweep(GRID[::-1], tmp_path / "one")[::-1]
    together = sweep(GRID, tmp_path / "two", Context(jobs=2))
    assert [without_time(row) for row in together] == [without_time(row) for row in backwards]
    for config in GRID:
        assert contents(tmp_path / "one" / config.name) == contents(tmp_path / "two" / config.name)
    assert names_in(tmp_path / "two") == names_in(tmp_path / "one") == sorted(config.name for config in GRID)
    assert sweep(GRID, tmp_path / "two") == together


def test_a_sweep_that_grows_keeps_what_is_done(tmp_path):
    assert count_runs(GRID, tmp_path) == 4
    first = sweep(GRID[:1], tmp_path)
    assert count_runs(GRID, tmp_path) == 3
    distilled = tiny(method="distill", seed=5)
    assert count_runs([distilled], tmp_path) == 2
    assert sweep([*GRID[:1], distilled], tmp_path)[0] == first[0]
    assert count_runs([distilled], tmp_path) == 0


@pytest.mark.slow
def test_progress_of_other_processes_is_told_in_this_one(tmp_path):
    calls = []
    sweep(GRID[:2], tmp_path, Context(jobs=2, progress=lambda *call: calls.append((*call, os.getpid()))))
    ends = {
        (config.name, stage, total, total, os.getpid())
        for config in GRID[:2]
        for stage, total in (("train", 4), ("predict", 540))
    }
    assert ends <= set(calls)
    others = [call for call in calls if call not in ends]  # one in 20 is told, as 180 inputs are
    assert {call[1:4] for call in others} == {("predict", 180, 540)}
    assert len(calls) == len(ends) + 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_run_raises_is_one_line_and_the_finished_ones_stay(tmp_path, jobs):
    configs = [tiny(), tiny(method="direct", learning_rate=1e38)]
    run(configs[0], tmp_path)
    with pytest.raises(InputError, match="loss: expected a finite number"):
        sweep(configs, tmp_path, Context(jobs=jobs))
    assert count_runs(configs, tmp_path) == 1


def test_each_run_is_found_feasible_once(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("tsnn_uq.experiments.runner.require_feasible", lambda settings, *_: seen.append(settings.name))
    sweep([tiny(), tiny(method="distill", seed=1)], tmp_path)
    assert seen == ["dropout-none-float-0", "dropout-none-float-1", "dropout-all-distill-1"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_done_is_refused_before_the_first_run(tmp_path, jobs):
    with pytest.raises(InputError, match="quantized_part: expected layers of the kind 'conv'"):
        sweep([tiny(), tiny(method="direct", quantized_part="conv")], tmp_path, Context(jobs=jobs))
    assert names_in(tmp_path) == []
    run(tiny(method="direct"), tmp_path)
    with pytest.raises(InputError, match="expected a folder made with epochs = 3"):
        sweep([tiny(epochs=3), tiny(method="direct", epochs=3)], tmp_path, Context(jobs=jobs))
    assert names_in(tmp_path) == [tiny(method="direct").name]
    # A teacher too.
    run(tiny(), tmp_path)
    with pytest.raises(InputError, match="dropout-none-float-0: expected a folder made with epochs = 3"):
        sweep([tiny(method="distill", epochs=3)], tmp_path, Context(jobs=jobs))


@pytest.mark.parametrize("jobs", [0, -1, 1.5])
def test_bad_numbers_of_jobs_are_refused(tmp_path, jobs):
    with pytest.raises(InputError, match="jobs: expected a positive whole number"):
        sweep(GRID, tmp_path, Context(jobs=jobs))


def test_a_worker_ends_with_the_process_that_waits_for_it():
    """The pipe is open as long as one of the two lives."""
    read, write = os.pipe()
    command = os.fork()
    if command == 0:
        if os.fork() == 0:
            _exit_with_parent.__wrapped__(os.getppid())
            time.sleep(600)
        signal.pause()
    os.close(write)
    assert select.select([read], [], [], 1.5)[0] == []
    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)
    assert os.read(read, 1) == b""


@pytest.mark.slow
def test_a_process_ended_from_outside_is_one_line_and_the_sweep_goes_on(tmp_path):
    def kill_all(name, stage, done, total):
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)

    configs = [tiny(seed=seed, epochs=80) for seed in (0, 1)]
    with pytest.raises(InputError, match="jobs: expected processes that keep running"):
        sweep(configs, tmp_path, Context(jobs=2, checkpoint_seconds=0, progress=kill_all))
    assert count_runs(configs, tmp_path) == 2
    # A killed process leaves the files of its locks, which hold nothing.
    left = [lock_path(tmp_path / config.name).name for config in configs]
    assert set(names_in(tmp_path)) - set(left) == {config.name for config in configs}
    assert [row["seed"] for row in sweep(configs, tmp_path)] == [0, 1]
    assert names_in(tmp_path) == [config.name for config in configs]
