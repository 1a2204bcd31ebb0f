"""``kill -9`` at any moment: the same command goes on and ends with the numbers of an uninterrupted one."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.experiments import contents, without_time
from tests.helpers.processes import WAIT, kill_when, started
from tsnn_uq.cli import main
from tsnn_uq.results.tables import read_results

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kill")]  # its fixture is made once

SETTINGS = ["--data", "digits", "--hidden", "16", "--train-limit", "320", "--batch-size", "32", "--epochs", "6"]
COMMON = [*SETTINGS, "--samples", "64"]
STEPS = 60  # 6 epochs of 10 steps


def command(*words, checkpoint_seconds=0.0):
    """Run the command in this process, which has to succeed."""
    with pytest.MonkeyPatch.context() as patch:
        given = map(str, (*words, "--checkpoint-seconds", checkpoint_seconds))
        patch.setattr(sys, "argv", ["tsnn-uq", *given, *COMMON])
        with pytest.raises(SystemExit, match="0"):
            main()


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
    """Folder of a comparison that nothing disturbed, done in this process."""
    out = tmp_path_factory.mktemp("uninterrupted")
    command("compare", "--methods", "direct,indirect,distill", "--seeds", 1, "--jobs", 1, "--out", out)
    return out


def is_trained(folder: Path) -> bool:
    return (folder / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "moments"),
    [
        pytest.param(
            "direct",
            [lambda folder: steps_done(folder) > 0, lambda folder: steps_done(folder) > 0.6 * STEPS],
            id="after the first steps and again",
        ),
        pytest.param(
            "indirect",
            [lambda folder: steps_done(folder) > 0.7 * STEPS, is_trained],
            id="between quantizations, and before evaluation",
        ),
    ],
)
def test_a_killed_training_ends_with_the_same_numbers(method, moments, uninterrupted, tmp_path):
    name = f"dropout-all-{method}-0"
    undisturbed = uninterrupted / "runs" / name
    words = ("train", "--method", method, "--out", tmp_path)
    for moment in moments:
        with started(command, *words) as process:
            kill_when(process, lambda moment=moment: moment(tmp_path / name))
        assert not (tmp_path / name / "result.json").exists()
    command(*words)
    assert contents(tmp_path / name) == contents(undisturbed)
    assert result(tmp_path / name) == result(undisturbed)
    assert {path.name for path in (tmp_path / name).iterdir()} == {path.name for path in undisturbed.iterdir()}


def test_a_killed_comparison_ends_with_the_same_table(uninterrupted, tmp_path):
    """Killed alone, so that its workers are still there: they notice that nobody waits for them, and end."""
    words = ("compare", "--methods", "direct,distill", "--seeds", 1, "--out", tmp_path)
    running = tmp_path / "runs" / "dropout-all-direct-0"
    with started(partial(command, checkpoint_seconds=0.1), *words, "--jobs", 2) as process:
        kill_when(process, lambda: steps_done(running) > 0, whole_group=False)
        deadline = time.monotonic() + WAIT
        while not group_is_gone(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert not (tmp_path / "results.csv").exists()
    command(*words, "--jobs", 1)
    undisturbed, table = (read_results(out / "results.csv").to_dict("records") for out in (uninterrupted, tmp_path))
    assert [without_time(row) for row in table] == [
        without_time(row) for row in undisturbed if row["method"] != "indirect"
    ]
    assert contents(running) == contents(uninterrupted / "runs" / running.name)
