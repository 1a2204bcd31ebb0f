"""Many runs: independent ones side by side, each in its own process, resumable and the same in any number."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.folder import is_finished
from tsnn_uq.experiments.measure import silent
from tsnn_uq.experiments.run import require_feasible, run
from tsnn_uq.files import UNFINISHED, remove_leftovers, require_writable

__all__ = ["RunProgress", "count_runs", "sweep", "waves"]

RunProgress = Callable[[str, str, int, int], object]
"""Called with a run's name, what it does, units done and units in all."""


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
) -> list[dict[str, Any]]:
    """Do all runs, `jobs` at a time, and return their rows in the order of `configs`.

    Finished runs are read, interrupted ones go on. Every run has its own seed and its own number of threads,
    so the rows do not depend on `jobs`.

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
        InputError: before any run is begun, if one cannot be; else what a run raised, and the finished ones stay
            finished.
    """
    check_positive("jobs", jobs, integer=True)
    planned = waves(configs)
    for config in (config for wave in planned for config in wave):
        require_feasible(config, runs)
    do = partial(run, runs=runs, data_dir=data_dir, checkpoint_seconds=checkpoint_seconds)
    rows: dict[str, dict[str, Any]] = {}
    for wave in planned:
        if jobs == 1 or len(wave) == 1:
            results = [do(config, progress=partial(progress, config.name)) for config in wave]
        else:
            results = _in_processes(do, wave, min(jobs, len(wave)), runs, progress)
        rows |= {config.name: row for config, row in zip(wave, results, strict=True)}
    return [rows[config.name] for config in configs]


def _in_processes(
    do: Callable[..., dict[str, Any]], wave: Sequence[RunConfig], jobs: int, runs: Path, progress: RunProgress
) -> list[dict[str, Any]]:
    with _relayed(progress, runs) as messages:
        tasks = (delayed(_run_in_process)(do, config, messages, os.getpid()) for config in wave)
        try:
            return Parallel(n_jobs=jobs, batch_size=1)(tasks)
        except BrokenProcessPool as error:
            remedy = "the same command goes on from here; give it fewer --jobs if memory was short"
            raise InputError(f"jobs: expected processes that live; one was ended from outside; {remedy}") from error


def _run_in_process(
    do: Callable[..., dict[str, Any]], config: RunConfig, messages: Path, parent: int
) -> dict[str, Any]:
    """A run in a process of its own, which reports by lines in a file."""
    _end_with(parent)

    def report(stage: str, done: int, total: int) -> None:
        if done % 20 == 0 or done == total:  # a message a step would cost more than the step's book-keeping
            with suppress(OSError), messages.open("a") as file:  # a full disk is the run's to report
                file.write(json.dumps([config.name, stage, done, total]) + "\n")

    return do(config, progress=report)


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
    remove_leftovers(runs)
    with tempfile.NamedTemporaryFile("r", dir=runs, prefix=f"{UNFINISHED}progress-") as file:
        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        try:
            yield Path(file.name)
        finally:
            finished.set()
            thread.join()
