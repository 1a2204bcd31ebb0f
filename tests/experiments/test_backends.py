"""The same numbers from processes, Dask and Ray, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.helpers.experiments import contents, tiny, without_time
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import run
from tsnn_uq.experiments.backends import open_pool
from tsnn_uq.experiments.locks import lock_path
from tsnn_uq.experiments.sweep import Task, attempt

CONFIGS = [tiny(seed=0, epochs=40), tiny(seed=1), tiny(method="distill", seed=1)]
LIBRARIES = {"processes": "joblib", "dask": "distributed", "ray": "ray"}
# Libraries of clusters close sockets and files late.
LATE = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with the runs, done one by one in this process, and their rows."""
    runs = tmp_path_factory.mktemp("alone")
    return runs, [run(config, runs) for config in CONFIGS]


@pytest.mark.slow
@LATE
@pytest.mark.parametrize("backend", LIBRARIES)
def test_rows_are_the_same_though_a_worker_is_killed(backend, alone, tmp_path):
    pytest.importorskip(LIBRARIES[backend], reason=f"the library of {backend} is not installed")
    killed = []

    def kill_once(name, stage, done, total):
        lock = lock_path(tmp_path / CONFIGS[0].name)
        if name == CONFIGS[0].name and stage == "train" and not killed and lock.exists():
            killed.append(int(lock.read_text().split()[0]))
            os.kill(killed[0], signal.SIGKILL)

    tasks = [Task(config, tmp_path) for config in CONFIGS]
    with open_pool(backend, jobs=2) as pool:
        assert pool.jobs == 2
        results = attempt(tasks, pool, checkpoint_seconds=0, progress=kill_once)
    assert killed
    assert killed != [os.getpid()]
    assert set(results) == {*tasks}
    runs, rows = alone
    assert [without_time(results[task]) for task in tasks] == [without_time(row) for row in rows]
    for config in CONFIGS:
        assert contents(tmp_path / config.name) == contents(runs / config.name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(config.name for config in CONFIGS)


@pytest.mark.slow
@LATE
def test_a_cluster_by_its_address(alone, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the library of dask is not installed")
    task = Task(CONFIGS[1], tmp_path)
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, open_pool("dask", address=cluster.scheduler_address) as pool:
        assert pool.jobs == 2
        assert without_time(attempt([task], pool)[task]) == without_time(alone[1][1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "dsak"}, r"backend: expected one of .*; got 'dsak' \(did you mean 'dask'\?\)"),
        ({"jobs": 0}, "jobs: expected a positive whole number; got 0"),
        ({"address": "10.0.0.1:8786"}, "address: expected with backend dask or ray; got 10.0.0.1:8786 with processes"),
    ],
)
def test_bad_pools_are_refused(arguments, message):
    with pytest.raises(InputError, match=message), open_pool(**arguments):
        pass


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_library_that_is_missing_is_told_with_how_to_have_it(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARIES[backend], None)
    with (
        pytest.raises(InputError, match=rf"got {backend} without it; install it: pip install 'tsnn-uq\[{backend}\]'"),
        open_pool(backend),
    ):
        pass


def test_no_scheduler_at_an_address_is_one_line(monkeypatch):
    pytest.importorskip("distributed", reason="the library of dask is not installed")
    monkeypatch.setattr("tsnn_uq.experiments.backends.CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(InputError, match=r"address: expected that of a Dask scheduler; got tcp://127\.0\.0\.1:1"),
        open_pool("dask", address="tcp://127.0.0.1:1"),
    ):
        pass
