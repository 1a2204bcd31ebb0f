"""``kill -9`` at any moment: the same command goes on and ends with the numbers of an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.experiments import contents, without_time
from tsnn_uq.experiments.tables import read_results

pytestmark = pytest.mark.slow

SETTINGS = ["--data", "digits", "--hidden", "16", "--train-limit", "320", "--batch-size", "32", "--epochs", "20"]
COMMON = [*SETTINGS, "--samples", "64", "--checkpoint-seconds", "0"]
STEPS = 200  # 20 epochs of 10 steps
WAIT = 300.0  # on a machine that does much else too


def start(*arguments):
    """The command in a process group of its own."""
    command = [sys.executable, "-c", "from tsnn_uq.cli import main; main()", *map(str, arguments), *COMMON]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)


def finish(*arguments):
    assert start(*arguments).wait(WAIT) == 0


def steps_done(folder):
    """Steps in the folder's checkpoint; 0 where there is none.

    Opened once: safetensors opens a file twice, and between the two another may have taken its place.
    """
    try:
        with (folder / "checkpoint.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except OSError:
        return 0
    return json.loads(header["__metadata__"]["header"])["step"]


def kill_when(process, condition, *, whole_group=True):
    """Kill -9 as soon as `condition` holds; it has to hold before the process ends."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert process.poll() is None, "ended before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def group_is_gone(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def result(folder):
    return without_time(json.loads((folder / "result.json").read_text())["row"])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Folders of a direct and an indirect run that nothing disturbed."""
    out = tmp_path_factory.mktemp("uninterrupted")
    for method in ("direct", "indirect"):
        finish("train", "--method", method, "--out", out)
    return out


def is_trained(folder: Path) -> bool:
    return (folder / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "moments"),
    [
        pytest.param("direct", [lambda folder: steps_done(folder) > 0], id="after the first steps"),
        pytest.param(
            "direct",
            [lambda folder: steps_done(folder) > 40, lambda folder: steps_done(folder) > 120],
            id="twice in training",
        ),
        pytest.param("indirect", [lambda folder: steps_done(folder) > 0.7 * STEPS], id="between quantizations"),
        pytest.param("indirect", [is_trained], id="before evaluation"),
    ],
)
def test_a_killed_training_ends_with_the_same_numbers(method, moments, uninterrupted, tmp_path):
    name = f"dropout-all-{method}-0"
    command = ("train", "--method", method, "--out", tmp_path)
    for moment in moments:
        kill_when(start(*command), lambda moment=moment: moment(tmp_path / name))
        assert not (tmp_path / name / "result.json").exists()
    finish(*command)
    assert contents(tmp_path / name) == contents(uninterrupted / name)
    assert result(tmp_path / name) == result(uninterrupted / name)
    assert {path.name for path in (tmp_path / name).iterdir()} == {
        path.name for path in (uninterrupted / name).iterdir()
    }


@pytest.mark.parametrize("whole_group", [True, False], ids=["with its workers", "alone"])
def test_a_killed_comparison_ends_with_the_same_table(whole_group, uninterrupted, tmp_path):
    command = ("compare", "--methods", "direct,distill", "--seeds", "1", "--jobs", "2", "--out")
    finish(*command, tmp_path / "whole")
    process = start(*command, tmp_path / "killed")
    running = tmp_path / "killed" / "runs" / "dropout-all-direct-0"
    kill_when(process, lambda: steps_done(running) > 20, whole_group=whole_group)
    deadline = time.monotonic() + WAIT
    while not group_is_gone(process.pid):  # workers notice that nobody waits for them
        assert time.monotonic() < deadline
        time.sleep(0.1)
    finish(*command, tmp_path / "killed")
    tables = [read_results(tmp_path / out / "results.csv").to_dict("records") for out in ("whole", "killed")]
    assert [without_time(row) for row in tables[0]] == [without_time(row) for row in tables[1]]
    assert contents(running) == contents(uninterrupted / running.name)
