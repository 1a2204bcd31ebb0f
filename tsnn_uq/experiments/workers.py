"""The workers' side of many runs: tasks sent to them by joblib, and what they tell of their progress."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.backends import Pool
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.folder import is_finished, recorded
from tsnn_uq.files import UNFINISHED, remove_leftovers, require_writable

__all__ = ["Do", "Failure", "Result", "Row", "RunProgress", "Task", "do_all"]

RunProgress = Callable[[str, str, int, int], object]
"""Called with a run's name, what it does, units done and units in all."""
Row = dict[str, Any]
GOES_ON = "the same command goes on from here"
HOUR_S = 3600.0


class Task(NamedTuple):
    """A run, the folder that its folder lies in, and what its name begins with where several such folders are told."""

    config: RunConfig
    runs: Path
    prefix: str = ""

    @property
    def name(self) -> str:
        """What it is called where its progress is told."""
        return f"{self.prefix}{self.config.name}"


class Failure(NamedTuple):
    """A run that could not be done, and why."""

    name: str
    error: Exception


Result = Row | Failure | None
"""What became of a run; `None` if another process has it under way."""
Do = Callable[..., Result]
"""Called with a `Task` and, by name, `progress`."""


def do_all(do: Do, tasks: Sequence[Task], pool: Pool, progress: RunProgress) -> dict[Task, Result]:
    """What `do` returns for each task, done by the workers of a pool, or here if that has only one.

    When a worker is ended from outside, the tasks are sent once more; finished runs are then only read.
    """
    if (pool.here and (pool.jobs == 1 or len(tasks) == 1)) or not tasks:
        return {task: do(task, progress=progress) for task in tasks}
    parent = os.getpid() if pool.here else None
    with _relayed(progress, tasks[0].runs) as messages:
        for again in (True, False):
            calls = (delayed(_do_elsewhere)(do, task, messages, parent) for task in tasks)
            try:
                results = Parallel(n_jobs=min(pool.jobs, len(tasks)), batch_size=1)(calls)
                return dict(zip(tasks, results, strict=True))
            except pool.lost as error:
                if not again:
                    return {task: _what_is_left(task, pool, error) for task in tasks}
    raise AssertionError


def _what_is_left(task: Task, pool: Pool, error: Exception) -> Result:
    """Of a run whose worker, or another, was ended twice: its row if it was done before that."""
    folder = task.runs / task.config.name
    if is_finished(folder):
        return recorded(folder / "result.json", "row")
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    problem = f"backend: expected {pool.backend} workers that live; got {reason}; {GOES_ON}"
    if pool.here:
        problem = "jobs: expected processes that live; one was ended from outside; "
        problem += f"{GOES_ON}; give it fewer --jobs if memory was short"
    return Failure(task.name, InputError(problem))


def _do_elsewhere(do: Do, task: Task, messages: Path, parent: int | None) -> Result:
    """A run in another process, which reports by lines in a file."""
    if parent is not None:
        _end_with(parent)

    def report(name: str, stage: str, done: int, total: int) -> None:
        if done % 20 == 0 or done == total:  # a message a step would cost more than the step's book-keeping
            # A full disk is the run's to report, and a file that the other machine does not see is not made.
            with suppress(OSError), open(os.open(messages, os.O_WRONLY | os.O_APPEND), "a") as file:
                file.write(json.dumps([name, stage, done, total]) + "\n")

    return do(task, progress=report)


@cache
def _end_with(parent: int) -> None:
    """End this process when its parent has ended, so that a killed sweep leaves no orphans."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _relayed(progress: RunProgress, runs: Path) -> Iterator[Path]:
    """A file to which other processes append messages, which are told in this one.

    A file and not a queue, since a queue between processes that know only its name needs a process of its own,
    which would outlive a killed sweep.
    """
    finished = threading.Event()

    def relay() -> None:
        rest = ""
        while True:
            last = finished.wait(0.2)
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                progress(*json.loads(line))
            if last:
                return

    require_writable(runs)
    remove_leftovers(runs, older_than_s=HOUR_S)  # younger ones may be another process's
    with tempfile.NamedTemporaryFile("r", dir=runs, prefix=f"{UNFINISHED}progress-") as file:
        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        try:
            yield Path(file.name)
        finally:
            finished.set()
            thread.join()
