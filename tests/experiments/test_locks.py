"""One holder at a time, whatever becomes of the holders."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.run import UnderWay, lock_path, locked


def test_a_held_lock_is_refused_and_a_free_one_leaves_no_file(tmp_path):
    folder = tmp_path / "runs" / "dropout-none-float-0"
    path = lock_path(folder)
    assert path == tmp_path / "runs" / ".lock-dropout-none-float-0"
    with locked(folder):
        assert path.read_text().split()[0] == str(os.getpid())
        with pytest.raises(UnderWay), locked(folder, wait=False):
            pass
    assert not path.exists()
    with locked(folder, wait=False):
        pass
    with pytest.raises(RuntimeError, match="within"), locked(folder):
        raise RuntimeError("within")
    assert list(path.parent.iterdir()) == []


def test_many_that_wait_come_in_one_by_one(tmp_path):
    """The file is removed and made anew between any two, so whoever waits for a removed one has to look again."""
    inside, seen = [], []

    def work():
        for _ in range(25):
            with locked(tmp_path / "run"):
                inside.append(None)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 100
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_nothing(tmp_path):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(tmp_path / "run"):
            os.write(write, b"held")
            signal.pause()
    assert os.read(read, 4) == b"held"
    with pytest.raises(UnderWay), locked(tmp_path / "run", wait=False):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert lock_path(tmp_path / "run").exists()
    with locked(tmp_path / "run", wait=False):
        assert lock_path(tmp_path / "run").read_text().split()[0] == str(os.getpid())
    assert not lock_path(tmp_path / "run").exists()


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"run: cannot write here \("), locked(tmp_path / "file" / "run"):
        pass
