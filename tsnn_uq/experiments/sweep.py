"""Many runs: independent ones side by side, each in its own process, resumable and the same in any number."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Manager
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from tsnn_uq.checks import check_positive
from tsnn_uq.experiments.config import RunConfig
from tsnn_uq.experiments.run import run

__all__ = ["sweep", "waves"]

RunProgress = Callable[[str, str, int, int], object]
"""Called with a run's name, what it does, units done and units in all."""


def waves(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Runs in the order in which they can be done: those in one wave do not need each other.

    Distilled runs come after all others, and the teachers that are not among the runs are added.
    """
    first = [config for config in configs if config.method != "distill"]
    second = [config for config in configs if config.method == "distill"]
    teachers = [config.teacher() for config in second]
    first += [teacher for teacher in dict.fromkeys(teachers) if teacher not in first]
    return [wave for wave in (first, second) if wave]


def sweep(
    configs: Sequence[RunConfig],
    runs: Path,
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    progress: RunProgress | None = None,
) -> list[dict[str, Any]]:
    """Do all runs, `jobs` at a time, and return their rows in the order of `configs`.

    Finished runs are read, interrupted ones go on. Every run has its own seed and its own number of threads,
    so the rows do not depend on `jobs`.

    Args:
        configs: the runs.
        runs: where run folders lie.
        jobs: processes.
        data_dir: where the data lie.
        progress: told, in this process, what each run does.

    Raises:
        InputError: what a run raised; the finished ones stay finished.
    """
    check_positive("jobs", jobs, integer=True)
    tell = progress or (lambda *_: None)
    rows: dict[str, dict[str, Any]] = {}
    for wave in waves(configs):
        if jobs == 1:
            results = [run(c, runs, data_dir=data_dir, progress=_named(c.name, tell)) for c in wave]
        else:
            with _relayed(tell) as messages:
                tasks = (delayed(_run_in_process)(c, runs, data_dir, messages, os.getpid()) for c in wave)
                results = Parallel(n_jobs=jobs, batch_size=1)(tasks)
        rows |= {config.name: row for config, row in zip(wave, results, strict=True)}
    return [rows[config.name] for config in configs]


def _named(name: str, tell: RunProgress) -> Callable[[str, int, int], object]:
    return lambda stage, done, total: tell(name, stage, done, total)


def _run_in_process(
    config: RunConfig, runs: Path, data_dir: Path | None, messages: queue.Queue[Any], parent: int
) -> dict[str, Any]:
    """`run`, reporting through a queue; ends with its parent, so that a killed sweep leaves no orphans."""

    def report(stage: str, done: int, total: int) -> None:
        if os.getppid() != parent:
            os._exit(1)
        if done % 20 == 0 or done == total:  # a message a step would cost more than the step's book-keeping
            messages.put((config.name, stage, done, total))

    return run(config, runs, data_dir=data_dir, progress=report)


@contextmanager
def _relayed(tell: RunProgress) -> Iterator[queue.Queue[Any]]:
    """A queue that other processes can write to, whose messages are told in this one."""
    with Manager() as manager:
        messages = manager.Queue()

        def relay() -> None:
            while (message := messages.get()) is not None:
                tell(*message)

        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        try:
            yield messages
        finally:
            messages.put(None)
            thread.join()
