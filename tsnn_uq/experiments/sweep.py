"""Many runs: independent ones side by side, each in its own process, resumable and the same in any number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tsnn_uq.experiments.backends import Pool, open_pool
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.folder import is_finished
from tsnn_uq.experiments.locks import UnderWay
from tsnn_uq.experiments.measure import silent
from tsnn_uq.experiments.run import require_feasible, run
from tsnn_uq.experiments.workers import Failure, Result, Row, RunProgress, Task, do_all

__all__ = ["Failure", "Row", "RunProgress", "Task", "attempt", "count_runs", "sweep", "waves"]

After = Callable[[Task, Row, RunProgress], object]


def waves(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Runs in the order in which they can be done: those in one wave do not need each other.

    Those that are taught by a float run, or start from one, come after all others; float runs that are not among the
    runs are added.
    """
    first = [config for config in configs if not config.needs_float]
    second = [config for config in configs if config.needs_float]
    teachers = [config.teacher() for config in second]
    first += [teacher for teacher in dict.fromkeys(teachers) if teacher not in first]
    return [wave for wave in (first, second) if wave]


def count_runs(configs: Sequence[RunConfig], runs: Path) -> int:
    """How many runs `sweep` has still to do, the float ones that others need among them."""
    return sum(not is_finished(runs / config.name) for wave in waves(configs) for config in wave)


def sweep(
    configs: Sequence[RunConfig],
    runs: Path,
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    checkpoint_seconds: float = 20.0,
    progress: RunProgress = silent,
) -> list[Row]:
    """Do all runs, `jobs` at a time, and return their rows in the order of `configs`.

    Finished runs are read, interrupted ones go on, and those that another process does now are waited for. Every run
    has its own seed and its own number of threads, so the rows do not depend on `jobs`.

    Args:
        configs: the runs.
        runs: where run folders lie.
        jobs: processes.
        data_dir: where the data lie.
        checkpoint_seconds: least time between two checkpoints of a run.
        progress: told, in this process, what each run does.

    Returns:
        A row a run, as `tsnn_uq.experiments.run` gives it.

    Raises:
        InputError: before any run is begun, if one cannot be; else, after all others are done, what a run raised.
    """
    tasks = [Task(config, runs) for config in configs]
    options: dict[str, Any] = {"data_dir": data_dir, "checkpoint_seconds": checkpoint_seconds}
    with open_pool(jobs=jobs) as pool:
        results = attempt(tasks, pool, progress=progress, **options)
    for result in results.values():
        if isinstance(result, Failure):
            raise result.error
    return [row for task in tasks if isinstance(row := results[task], dict)]


def attempt(
    tasks: Sequence[Task],
    pool: Pool,
    *,
    data_dir: Path | None = None,
    checkpoint_seconds: float = 20.0,
    tries: int = 1,
    after: After | None = None,
    progress: RunProgress = silent,
) -> dict[Task, Row | Failure]:
    """Do all runs that can be done, whatever becomes of the others.

    Args:
        tasks: the runs; float ones that others need are added.
        pool: who does them.
        data_dir: where the data lie.
        checkpoint_seconds: least time between two checkpoints of a run.
        tries: how often a run is begun, or goes on from its checkpoint, before its error is a failure.
        after: what to do with each finished run, by the worker that did or read it; its errors are the run's.
        progress: told, in this process, what each run does.

    Returns:
        Of each run, also those that were added, its row or why there is none.

    Raises:
        InputError: before any run is begun, if one cannot be.
    """
    planned = _planned(tasks)
    for task in (task for wave in planned for task in wave):
        require_feasible(task.config, task.runs)
    do = partial(_do, data_dir=data_dir, checkpoint_seconds=checkpoint_seconds, tries=tries, after=after)
    results: dict[Task, Any] = {}
    for wave in planned:
        for task in wave:
            if task.config.needs_float and isinstance(failure := results[_teacher(task)], Failure):
                results[task] = Failure(task.name, failure.error)
            elif after is None and is_finished(task.runs / task.config.name):
                results[task] = do(task, progress=progress)  # read here: a worker takes seconds to start
        results |= do_all(do, [task for task in wave if task not in results], pool, progress)
        elsewhere = [task for task in wave if results[task] is None]
        results |= do_all(partial(do, wait=True), elsewhere, pool, progress)
    return results


def _planned(tasks: Sequence[Task]) -> list[list[Task]]:
    """The waves of all folders, side by side."""
    folders: dict[tuple[Path, str], list[RunConfig]] = {}
    for config, runs, prefix in tasks:
        folders.setdefault((runs, prefix), []).append(config)
    planned: list[list[Task]] = [[], []]
    for (runs, prefix), configs in folders.items():
        for wave, found in zip(planned, waves(configs), strict=False):
            wave += [Task(config, runs, prefix) for config in found]
    return planned


def _teacher(task: Task) -> Task:
    return task._replace(config=task.config.teacher())


def _do(
    task: Task,
    *,
    data_dir: Path | None,
    checkpoint_seconds: float,
    tries: int,
    after: After | None,
    wait: bool = False,
    progress: RunProgress = silent,
) -> Result:
    options: dict[str, Any] = {"data_dir": data_dir, "checkpoint_seconds": checkpoint_seconds, "wait": wait}
    for again in reversed(range(tries)):
        try:
            row = run(task.config, task.runs, progress=partial(progress, task.name), **options)
            if after:
                after(task, row, progress)
        except UnderWay:
            return None
        except Exception as error:
            if not again:
                return Failure(task.name, error)
        else:
            if wait:  # whoever did it told others
                progress(task.name, "predict", 1, 1)
            return row
    raise AssertionError("tries: expected at least 1")
