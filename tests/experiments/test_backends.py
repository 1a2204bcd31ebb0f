"""The same numbers from processes, Dask and Ray, also where a worker is killed."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.helpers.experiments import contents, tiny, without_time
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, run
from tsnn_uq.experiments.run import lock_path
from tsnn_uq.experiments.runner import DASK_ON_LOOPBACK, Task, do_runs, open_pool

CONFIGS = [tiny(seed=0, epochs=20), tiny(seed=1), tiny(method="distill", seed=1)]
LIBRARIES = {"processes": "joblib", "dask": "distributed", "ray": "ray"}
# Libraries of clusters close sockets and files late.
LATE = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with the runs, done one by one in this process, and their rows."""
    runs = tmp_path_factory.mktemp("alone")
    return runs, [run(config, runs) for config in CONFIGS]


@pytest.fixture(autouse=True)
def workers_of_ray_need_not_wait(monkeypatch):
    """By default they are 15 nicer, and get little of the processor while other tests run."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


# Where clusters, their dashboards and other programs listen by default.
DEFAULT_PORTS = [*range(8786, 8790), 8265, 6379, 10001, 52365]


def need(backend):
    if importlib.util.find_spec(LIBRARIES[backend]) is None:
        pytest.skip(f"the library of {backend} is not installed")


@pytest.fixture
def ports_taken():
    """Others listen on all ports that clusters use by default."""
    with ExitStack() as stack:
        for port in DEFAULT_PORTS:
            listener = stack.enter_context(socket.socket())
            with suppress(OSError):  # another program really does
                listener.bind(("127.0.0.1", port))
                listener.listen()
        yield


def listening():
    """The addresses and ports on which this process and its descendants listen, but for those of `ports_taken`."""
    psutil = pytest.importorskip("psutil")
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            for connection in process.net_connections("inet"):
                address, port = connection.laddr[:2]
                if connection.status == psutil.CONN_LISTEN and not (process == this and port in DEFAULT_PORTS):
                    address = ipaddress.ip_address(address)
                    yield getattr(address, "ipv4_mapped", None) or address, port


def check_listeners(backend):
    found = set(listening())
    assert bool(found) == (backend != "processes")
    assert [place for place in found if not place[0].is_loopback or place[1] in DEFAULT_PORTS] == []


@contextmanager
def killed_in_training(folder):
    """End the worker that trains the run in `folder`, once, when it has written its first checkpoint."""
    killed, over = [], threading.Event()

    def watch():
        while not killed and not over.wait(0.002):
            with suppress(FileNotFoundError, IndexError):  # not begun yet
                worker = int(lock_path(folder).read_text().split()[0])
                if (folder / "checkpoint.safetensors").exists():
                    killed.append(worker)
                    assert worker != os.getpid()
                    os.kill(worker, signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
@LATE
@pytest.mark.parametrize("backend", LIBRARIES)
def test_rows_are_the_same_though_a_worker_is_killed(backend, alone, tmp_path, ports_taken):
    need(backend)
    configs = CONFIGS if backend == "processes" else CONFIGS[:2]  # workers of clusters take long to start
    tasks, shown = [Task(config, tmp_path) for config in configs], set()
    with open_pool(backend, jobs=2) as pool, killed_in_training(tmp_path / configs[0].name) as killed:
        assert pool.jobs == 2
        check_listeners(backend)
        context = Context(checkpoint_seconds=0, progress=lambda name, *_: shown.add(name))
        results = do_runs(tasks, context, pool=pool)
    assert len(killed) == 1
    assert shown == {task.name for task in tasks}
    assert set(results) == {*tasks}
    runs, rows = alone
    assert [without_time(results[task]) for task in tasks] == [without_time(row) for row in rows[: len(tasks)]]
    for config in configs:
        assert contents(tmp_path / config.name) == contents(runs / config.name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(config.name for config in configs)


@pytest.mark.slow
@LATE
def test_a_cluster_by_its_address(alone, tmp_path, ports_taken):
    need("dask")
    import distributed

    task = Task(CONFIGS[1], tmp_path)
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, **DASK_ON_LOOPBACK}
    with distributed.LocalCluster(**options) as cluster, open_pool("dask", address=cluster.scheduler_address) as pool:
        assert pool.jobs == 2
        assert without_time(do_runs([task], pool=pool)[task]) == without_time(alone[1][1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "dsak"}, "backend: expected one of"),
        ({"jobs": 0}, "jobs: expected a positive whole number"),
        ({"address": "10.0.0.1:8786"}, "address: expected with backend dask or ray"),
    ],
)
def test_bad_pools_are_refused(arguments, message):
    with pytest.raises(InputError, match=message), open_pool(**arguments):
        pass


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_library_that_is_missing_is_told_with_how_to_have_it(backend, monkeypatch):
    monkeypatch.delitem(sys.modules, LIBRARIES[backend], raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "LastFinder" in repr(finder)])
    with pytest.raises(InputError, match=rf"'tsnn-uq\[{backend}\]'"), open_pool(backend):
        pass


def test_no_scheduler_at_an_address_is_one_line(monkeypatch):
    need("dask")
    monkeypatch.setattr("tsnn_uq.experiments.runner.CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(InputError, match="address: expected a Dask scheduler"),
        open_pool("dask", address="tcp://127.0.0.1:1"),
    ):
        pass
