"""Nothing that is written needs what Windows does not allow, by a file system that refuses it."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from tests.helpers.windows import behave_as_windows
from tsnn_uq.checks import InputError
from tsnn_uq.experiments.run import UnderWay, locked
from tsnn_uq.experiments.runner import _relayed_progress, _Reporter
from tsnn_uq.files import UNFINISHED, read_tensors, remove_leftovers, require_writable, write_tensors, write_text

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the file system's fake looks into Linux's /proc")


@pytest.fixture
def windows(monkeypatch, tmp_path):
    """A folder in which file operations behave as on Windows."""
    with monkeypatch.context() as patched:
        behave_as_windows(patched, tmp_path)
        yield tmp_path


def test_the_fake_refuses_what_windows_refuses(windows):
    (windows / "file").write_text("old", encoding="utf-8")
    with (windows / "file").open("rb") as file:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fsync(file.fileno())
        for refused in (lambda: (windows / "file").unlink(), lambda: os.replace(windows / "file", windows / "other")):
            with pytest.raises(PermissionError):
                refused()
    for name in ("a:b", "nul", "NUL.txt", "what?", "dot."):
        with pytest.raises(OSError, match="syntax is incorrect"):
            (windows / name).mkdir()
    with pytest.raises(PermissionError):
        os.open(windows.joinpath("folder").mkdir() or windows / "folder", os.O_RDONLY)


def test_files_are_written_and_replaced(windows):
    for text in ("old", "new"):
        write_text(windows / "a" / "text.txt", text)
        write_tensors(windows / "tensors", {"x": torch.full((100,), len(text))}, {"kind": "test"})
        read_tensors(windows / "tensors", "test")
    assert (windows / "a" / "text.txt").read_text(encoding="utf-8") == "new"
    require_writable(windows)


def test_a_file_that_is_being_read_is_replaced_when_it_is_closed(windows, monkeypatch):
    write_text(windows / "file", "old")
    reader = (windows / "file").open(encoding="utf-8")
    monkeypatch.setattr("time.sleep", lambda _: reader.close())
    write_text(windows / "file", "new")
    assert (windows / "file").read_text(encoding="utf-8") == "new"


def test_a_file_that_stays_open_is_one_line_and_stays_as_it_was(windows, monkeypatch):
    monkeypatch.setattr("tsnn_uq.files.PATIENCE_S", 0.05)
    write_text(windows / "file", "old")
    with (
        (windows / "file").open(encoding="utf-8") as reader,
        pytest.raises(InputError, match=r"file: writing failed \(.*cannot access.*; close what has it open"),
    ):
        write_text(windows / "file", "new")
    assert reader.closed
    assert [path.name for path in windows.iterdir()] == ["file"]
    assert (windows / "file").read_text(encoding="utf-8") == "old"


def test_locks_of_runs_and_progress_of_workers(windows):
    for _ in range(2):
        with locked(windows / "run", wait=False), pytest.raises(UnderWay), locked(windows / "run", wait=False):
            pass
    calls = []
    with _relayed_progress(lambda *call: calls.append(call), windows) as messages:
        _Reporter(messages)("näme", "train", 20, 40)
        _Reporter(messages)("näme", "train", 40, 40)
    assert calls == [("näme", "train", 20, 40), ("näme", "train", 40, 40)]
    assert [path.name for path in windows.iterdir()] == [".lock-run"]


def test_leftovers_that_another_process_writes_stay(windows):
    (windows / f"{UNFINISHED}1").touch()
    with (windows / f"{UNFINISHED}2").open("wb"):
        remove_leftovers(windows)
    assert [path.name for path in windows.iterdir()] == [f"{UNFINISHED}2"]
