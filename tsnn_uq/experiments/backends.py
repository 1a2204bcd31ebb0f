"""Where runs are done: processes of this machine, or the workers of a Dask or Ray cluster, all of them by joblib."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from joblib import parallel_config

from tsnn_uq.checks import InputError, check_choice, check_positive

__all__ = ["BACKENDS", "Pool", "open_pool"]

CONNECT_SECONDS = 30
OBJECT_BYTES = 128 * 2**20  # of Ray's shared memory; settings and rows are small
# Dask's scheduler always serves HTTP: without an address on port 8787 (distributed 2024.8 to 2026.8), with a warning
# if that is taken. This is any free port of the loopback interface, and no dashboard on it.
DASK_ON_LOOPBACK = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}


@dataclass(frozen=True)
class Pool:
    """Workers that joblib sends runs to.

    Args:
        jobs: how many runs go side by side.
        backend: which kind of workers they are; see `BACKENDS`.
        lost: what joblib raises when a worker was killed.
    """

    jobs: int = 1
    backend: str = "processes"
    lost: tuple[type[Exception], ...] = (BrokenProcessPool,)

    @property
    def here(self) -> bool:
        """Whether the workers are children of this process."""
        return self.backend == "processes"


@contextmanager
def open_pool(backend: str = "processes", *, jobs: int = 1, address: str = "") -> Iterator[Pool]:
    """Make joblib use a backend as long as the context lasts.

    A cluster started here listens on free ports of the loopback interface, nowhere else, and has no dashboard.

    Workers elsewhere need this package, the same versions of its libraries (results are the same to the last bit on
    the same kind of processor alone), and the folders of runs and data under the same paths.

    Args:
        backend: ``"processes"``, ``"dask"`` or ``"ray"``.
        jobs: number of processes, or of workers of a cluster on this machine.
        address: of a cluster that is there, such as ``"tcp://10.0.0.1:8786"`` (Dask) or ``"10.0.0.1:6379"`` (Ray);
            by default one is started on this machine, and ended afterwards.

    Raises:
        InputError: an unknown backend, a library that is not installed, or no cluster at `address`.
    """
    check_choice("backend", backend, BACKENDS)
    check_positive("jobs", jobs, integer=True)
    with BACKENDS[backend](jobs, address) as pool:
        yield pool


@contextmanager
def _processes(jobs: int, address: str) -> Iterator[Pool]:
    if address:
        raise InputError(f"address: expected with backend dask or ray; got {address} with processes")
    with parallel_config(backend="loky", n_jobs=jobs):
        yield Pool(jobs)


@contextmanager
def _dask(jobs: int, address: str) -> Iterator[Pool]:
    distributed = _library("dask", "distributed")
    with _dask_client(distributed, jobs, address) as client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise InputError(f"address: expected a Dask cluster with workers; got none at {address}") from error
        with parallel_config(backend="dask", n_jobs=-1):
            yield Pool(sum(client.nthreads().values()), "dask", (Exception,))


@contextmanager
def _dask_client(distributed: Any, jobs: int, address: str) -> Iterator[Any]:
    if not address:
        options = {"threads_per_worker": 1, "memory_limit": 0, **DASK_ON_LOOPBACK}  # a limit would end workers
        with distributed.LocalCluster(n_workers=jobs, **options) as cluster, distributed.Client(cluster) as client:
            yield client
        return
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(f"address: expected that of a Dask scheduler; got {address}: {error}") from error
    with client:
        yield client


@contextmanager
def _ray(jobs: int, address: str) -> Iterator[Pool]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    ray = _library("ray", "ray")
    local = {"num_cpus": jobs, "object_store_memory": OBJECT_BYTES, "include_dashboard": False}
    try:
        with nullcontext() if address else _ray_on_loopback():
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else local))
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"address: expected that of a Ray cluster; got {address or 'local'}: {error}") from error
    try:
        _library("ray", "ray.util.joblib").register_ray()
        with parallel_config(backend="ray", n_jobs=-1):
            yield Pool(int(ray.cluster_resources()["CPU"]), "ray", (Exception,))
    finally:
        ray.shutdown()


@contextmanager
def _ray_on_loopback() -> Iterator[None]:
    """Start Ray on the loopback interface alone; on Linux all its processes would listen on all interfaces.

    Ray itself does so on macOS and Windows. It has no option for it, and it reads the environment's
    ``RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER`` only when it is imported.
    """
    constants = _library("ray", "ray._private.ray_constants")
    before = getattr(constants, "ENABLE_RAY_CLUSTER", True)
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def _library(extra: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = f"install it: pip install 'tsnn-uq[{extra}]'"
        raise InputError(f"backend: expected one whose library is there; got {extra} without it; {remedy}") from error


BACKENDS: dict[str, Callable[[int, str], AbstractContextManager[Pool]]] = {
    "processes": _processes,
    "dask": _dask,
    "ray": _ray,
}
