"""Do any list of runs, in parallel and resumable: in local processes, or on the workers of a Dask or Ray cluster."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from joblib import Parallel, delayed, parallel_config

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.components.registry import followed, refollow
from tsnn_uq.experiments.run import UnderWay, do_run, require_feasible
from tsnn_uq.experiments.settings import Context, RunProgress, Settings
from tsnn_uq.experiments.storage import is_finished, read_row
from tsnn_uq.files import UNFINISHED, as_path, remove_leftovers, require_writable

__all__ = [
    "After",
    "Failure",
    "Pool",
    "Row",
    "Task",
    "do_runs",
    "open_pool",
    "row_or_raise",
    "run",
    "sweep",
    "tasks_left",
    "waves",
]

Row = dict[str, Any]
GOES_ON = "the same command resumes"
HOUR_S = 3600.0
CONNECT_SECONDS = 30
OBJECT_BYTES = 128 * 2**20  # size of Ray's shared memory; settings and rows are small
# Dask's scheduler always serves HTTP: by default on port 8787 (distributed 2024.8 to 2026.8), with a warning if that
# port is in use. These options choose any free port of the loopback interface, without a dashboard.
DASK_ON_LOOPBACK = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}


@dataclass(frozen=True)
class Pool:
    """Workers to which joblib sends runs.

    Args:
        jobs: number of parallel runs.
        backend: the kind of workers; see `open_pool`.
    """

    jobs: int = 1
    backend: str = "processes"

    @property
    def here(self) -> bool:
        """Whether the workers are child processes of this process."""
        return self.backend == "processes"

    @property
    def lost(self) -> type[Exception]:
        """The exception that joblib raises if a worker was killed."""
        return BrokenProcessPool if self.here else Exception


@contextmanager
def open_pool(backend: str = "processes", *, jobs: int = 1, address: str = "") -> Iterator[Pool]:
    """Context in which joblib uses a backend.

    A cluster that is started here listens only on free ports of the loopback interface, and has no dashboard. Workers
    on other machines need this package, the same versions of its libraries, and the folders of runs and data under the
    same paths. Results are equal to the last bit only on the same kind of CPU.

    Args:
        backend: ``"processes"``, ``"dask"`` or ``"ray"``.
        jobs: number of processes, or of workers of a cluster on this machine.
        address: address of a running cluster, such as ``"tcp://10.0.0.1:8786"`` (Dask) or ``"10.0.0.1:6379"`` (Ray); by
            default a cluster is started on this machine and stopped at the end.

    Raises:
        InputError: the backend is unknown, a library is not installed, or there is no cluster at `address`.
    """
    clusters = {"dask": _dask, "ray": _ray}
    check_choice("backend", backend, ("processes", *clusters))
    check_positive("jobs", jobs, integer=True)
    if backend in clusters:
        with clusters[backend](jobs, address) as workers, parallel_config(backend=backend, n_jobs=-1):
            yield Pool(workers, backend)
    elif address:
        raise InputError(f"address: expected with backend dask or ray; got {address} with processes")
    else:
        with parallel_config(backend="loky", n_jobs=jobs):
            yield Pool(jobs)


@contextmanager
def _dask(jobs: int, address: str) -> Iterator[int]:
    """Connect to a Dask cluster; return the client and the number of workers."""
    distributed: Any = importlib.import_module("distributed")
    options = {"threads_per_worker": 1, "memory_limit": 0, **DASK_ON_LOOPBACK}  # Dask kills workers above a limit
    with ExitStack() as stack:
        try:
            cluster = address or stack.enter_context(distributed.LocalCluster(n_workers=jobs, **options))
            client = stack.enter_context(distributed.Client(cluster, timeout=CONNECT_SECONDS))
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise InputError(f"address: expected a Dask scheduler with workers; got {address}: {error}") from error
        yield sum(client.nthreads().values())


@contextmanager
def _ray(jobs: int, address: str) -> Iterator[int]:
    """Connect to a Ray cluster; return the number of workers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports to its developers
    ray: Any = importlib.import_module("ray")
    local = {"num_cpus": jobs, "object_store_memory": OBJECT_BYTES, "include_dashboard": False}
    try:
        with nullcontext() if address else _ray_on_loopback():
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else local))
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"address: expected that of a Ray cluster; got {address or 'local'}: {error}") from error
    try:
        importlib.import_module("ray.util.joblib").register_ray()
        yield int(ray.cluster_resources()["CPU"])
    finally:
        ray.shutdown()


@contextmanager
def _ray_on_loopback() -> Iterator[None]:
    """Context in which Ray starts on the loopback interface only; on Linux its processes listen on all interfaces.

    Ray itself does this on macOS and Windows. It has no option for it, and reads the environment variable
    ``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER`` only when it is imported.
    """
    constants: Any = importlib.import_module("ray._private.ray_constants")
    before = getattr(constants, "ENABLE_RAY_CLUSTER", True)
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


class Task(NamedTuple):
    """A run, the parent of its folder, and an optional prefix of its name for display."""

    settings: Settings
    runs: Path
    prefix: str = ""

    @property
    def name(self) -> str:
        """The name for display."""
        return f"{self.prefix}{self.settings.name}"

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.runs / self.settings.name

    def teacher(self) -> Task:
        """The float run that this run needs."""
        return self._replace(settings=self.settings.teacher())


class WorkerLost(InputError):
    """A worker was killed while it did a run, or before it began."""


class Failure(NamedTuple):
    """A run that failed, and the reason."""

    name: str
    error: Exception


Result = Row | Failure | None
"""The result of a run; `None` if another process is doing it."""
After = Callable[[Task, Row, RunProgress], object]
"""Function that a worker calls with each finished run; its errors count as errors of the run."""


def waves(tasks: Sequence[Task]) -> list[list[Task]]:
    """Divide runs into waves, in the order in which they can be done: runs of one wave do not need each other.

    Runs that have a float run as a teacher or starting point come after all others. Missing float runs that they need
    are added.
    """
    first = [task for task in tasks if not task.settings.needs_float]
    second = [task for task in tasks if task.settings.needs_float]
    needed = [task.teacher() for task in second if not is_finished(task.folder, task.settings.flat())]
    first += [teacher for teacher in dict.fromkeys(needed) if teacher not in first]
    return [wave for wave in (first, second) if wave]


def tasks_left(tasks: Sequence[Task]) -> list[Task]:
    """The runs that still have to be done, including float runs that others need."""
    return [task for wave in waves(tasks) for task in wave if not is_finished(task.folder, task.settings.flat())]


def run(settings: Settings, runs: str | Path, context: Context = Context()) -> Row:
    """Train and evaluate one network in its folder below `runs`, or resume after an interruption.

    A float run that it needs is looked up in `runs`, and trained if it is missing.

    Args:
        settings: the settings of the run.
        runs: folder of run folders.
        context: where and how it is done.

    Returns:
        The row of the run in the results table.

    Raises:
        InputError: data are missing, the folder has another run, or the loss is not finite.
    """
    return sweep([settings], runs, context)[0]


def sweep(settings: Sequence[Settings], runs: str | Path, context: Context = Context()) -> list[Row]:
    """Do all runs, and return their rows in the order of `settings`; see `do_runs`.

    Raises:
        InputError: before the first run, if a run is not feasible; otherwise, after all other runs, if one failed.
    """
    tasks = [Task(one, as_path(runs)) for one in settings]
    results = do_runs(tasks, context)
    return [row_or_raise(results[task]) for task in tasks]


def row_or_raise(result: Row | Failure) -> Row:
    """Return the row, or raise the error of a failure."""
    if isinstance(result, Failure):
        raise result.error
    return result


def do_runs(
    tasks: Sequence[Task],
    context: Context = Context(),
    *,
    pool: Pool | None = None,
    retry: bool = False,
    begin: Callable[[], object] | None = None,
    after: After | None = None,
) -> dict[Task, Row | Failure]:
    """Do all feasible runs; a failure does not stop the others.

    Finished runs are read, interrupted runs resume, and runs that another process is doing are waited for. Every run
    has its own seed and its own number of threads, so rows do not depend on the number of parallel runs.

    Args:
        tasks: the runs; float runs that they need are added.
        context: where and how runs are done.
        pool: the workers; by default ``context.jobs`` processes.
        retry: whether a failed run is tried once more, from its checkpoint.
        begin: called before the first run, once all runs are known to be feasible.
        after: called with each finished run.

    Returns:
        For each run, including those that were added, its row or the failure.

    Raises:
        InputError: a run is not feasible; nothing was done in this case.
    """
    if pool is None:
        with open_pool(jobs=context.jobs) as pool:
            return do_runs(tasks, context, pool=pool, retry=retry, begin=begin, after=after)
    planned = waves(tasks)
    for task in (task for wave in planned for task in wave):
        require_feasible(task.settings, task.runs, context)
    if begin:
        begin()
    results: dict[Task, Any] = {}
    for wave in planned:
        for task in wave:
            if task.settings.needs_float and isinstance(failure := results.get(task.teacher()), Failure):
                results[task] = Failure(task.name, failure.error)
            elif after is None and is_finished(task.folder, task.settings.flat()):
                results[task] = read_row(task.folder)  # read in this process, since workers take seconds to start
        left = [task for task in wave if task not in results]
        for wait in (False, True):  # wait for the runs of other processes at the end
            if pool.here and 1 in (pool.jobs, len(left)):
                results |= {task: _do(task, context, after, wait) for task in left}
            elif left:
                results |= _send(left, pool, context, after, wait)
            left = [task for task in left if _must_repeat(results[task], retry)]
    return results


def _must_repeat(result: Result, retry: bool) -> bool:
    return result is None or (isinstance(result, Failure) and (retry or isinstance(result.error, WorkerLost)))


def _send(tasks: Sequence[Task], pool: Pool, context: Context, after: After | None, wait: bool) -> dict[Task, Result]:
    """Send runs to the workers of a pool; return their results."""
    parent = os.getpid() if pool.here else None
    with _relayed_progress(context.progress, tasks[0].runs) as messages:
        far = replace(context, progress=_Reporter(messages))
        calls = (delayed(_do_in_worker)(_as_plain_values(task), followed(), parent, far, after, wait) for task in tasks)
        try:
            results = Parallel(n_jobs=min(pool.jobs, len(tasks)), batch_size=1)(calls)
        except pool.lost as error:
            return {task: _without_worker(task, pool, after, error) for task in tasks}
    return dict(zip(tasks, results, strict=True))


def _do(task: Task, context: Context, after: After | None, wait: bool) -> Result:
    try:
        row = do_run(task.settings, task.runs, context, wait=wait, name=task.name)
        if after:
            after(task, row, context.progress)
    except UnderWay:
        return None
    except Exception as error:
        return Failure(task.name, error)
    if wait:  # its progress was reported by the other process
        context.progress(task.name, "predict", 1, 1)
    return row


def _without_worker(task: Task, pool: Pool, after: After | None, error: Exception) -> Result:
    """Handle the loss of a worker: return the row if the run was finished before, otherwise a failure with a remedy."""
    if after is None and is_finished(task.folder, task.settings.flat()):
        return read_row(task.folder)
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    problem = f"backend: expected {pool.backend} workers that keep running; got {reason}; {GOES_ON}"
    if pool.here:
        remedy = "use fewer --jobs if memory is short"
        problem = f"jobs: expected processes that keep running; one was killed; {GOES_ON}; {remedy}"
    return Failure(task.name, WorkerLost(problem))


def _as_plain_values(task: Task) -> tuple[dict[str, Any], Path, str]:
    """A task as plain values; a worker must register components before it can make settings that name them."""
    return task.settings.flat(), task.runs, task.prefix


def _do_in_worker(packed: tuple[dict[str, Any], Path, str], components: Any, parent: int | None, *how: Any) -> Result:
    """Run `_do` in another process."""
    if parent is not None:
        _exit_with_parent(parent)
    refollow(components)
    return _do(Task(Settings.of(packed[0]), *packed[1:]), *how)


@cache
def _exit_with_parent(parent: int) -> None:
    """End this process after its parent has ended, so that a killed command leaves no orphans.

    Windows keeps the process id of a parent that has ended; there the worker ends after its run.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class _Reporter:
    """Report progress from a worker, as lines in a file.

    Between processes that only share a name, a queue would need a process of its own, which would outlive a killed
    sweep.
    """

    messages: Path

    def __call__(self, name: str, stage: str, done: int, total: int) -> None:
        if done % 20 == 0 or done == total:  # a message per step would be too slow
            # The run itself reports a full disk. On a machine that does not see the file it is not created.
            with suppress(OSError):
                there = os.open(self.messages, os.O_WRONLY | os.O_APPEND)
                with open(there, "a", encoding="utf-8", newline="\n") as file:
                    file.write(json.dumps([name, stage, done, total]) + "\n")


@contextmanager
def _relayed_progress(progress: RunProgress, runs: Path) -> Iterator[Path]:
    """Context with a file to which other processes append messages, which this process passes on."""
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
    remove_leftovers(runs, older_than_s=HOUR_S)  # another process may be writing younger ones
    handle, name = tempfile.mkstemp(dir=runs, prefix=f"{UNFINISHED}progress-")
    try:
        with open(handle, encoding="utf-8") as file:
            thread = threading.Thread(target=relay, daemon=True)
            thread.start()
            try:
                yield Path(name)
            finally:
                finished.set()
                thread.join()
    finally:
        with suppress(FileNotFoundError, PermissionError):  # on Windows while another process has it open
            os.unlink(name)
