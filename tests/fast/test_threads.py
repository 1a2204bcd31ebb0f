from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.fast import threads as module
from tsnn_uq.fast.threads import parallel_map, parallel_ranges


@pytest.fixture(params=[(1, True), (2, True), (3, True), (2, False), (3, False)], ids=str)
def threads(request, monkeypatch):
    """As many threads, of torch's team where there is one or of Python's pool; the old number of them afterwards."""
    count, team = request.param
    if not team:
        monkeypatch.setattr(module, "_team", lambda: None)
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield count
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 50])
def test_results_come_in_the_order_of_the_items(threads, count):
    def late_first(item: int) -> int:
        time.sleep(0.002 * (item == 0))
        return item * item

    assert parallel_map(late_first, range(count)) == [item * item for item in range(count)]
    assert parallel_map(late_first, iter(range(count))) == [item * item for item in range(count)]


def test_tasks_run_side_by_side(threads):
    meeting = threading.Barrier(threads)
    parallel_map(lambda _: meeting.wait(timeout=30), range(threads))
    assert not meeting.broken


def test_a_single_task_stays_in_the_thread_that_asks(threads):
    assert parallel_map(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]


def test_errors_come_out(threads):
    with pytest.raises(ZeroDivisionError, match=r"division"):
        parallel_map(lambda item: 1 // item, [3, 2, 1, 0])
    assert parallel_map(abs, [-1, -2]) == [1, 2]


def test_a_task_may_share_out_work_itself(threads):
    """With as many waiting tasks as threads, nobody would be left to do it."""

    def inner(item: int) -> int:
        return sum(parallel_map(lambda other: item * other, range(5)))

    assert parallel_map(inner, range(8)) == [10 * item for item in range(8)]


@given(count=st.integers(0, 200), least=st.integers(1, 30), threads=st.integers(1, 5))
def test_parts_cover_everything_once_and_are_not_too_small(count, least, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seen: list[tuple[int, int]] = []
        parallel_ranges(lambda first, last: seen.append((first, last)), count, least)
    finally:
        torch.set_num_threads(before)
    assert [place for first, last in sorted(seen) for place in range(first, last)] == list(range(count))
    assert len(seen) <= 4 * threads
    assert all(last - first >= min(least, count) for first, last in seen)
    assert len(seen) > 1 or threads == 1 or count < 2 * least


FORK = """
import os, threading, time, warnings
import torch
from tsnn_uq.fast.threads import parallel_map
warnings.simplefilter("ignore")
torch.set_num_threads(2)
meeting = threading.Barrier(2)
parallel_map(lambda _: meeting.wait(), range(2))  # both threads are there
time.sleep(0.2)  # and idle
child = os.fork()
if child == 0:
    os._exit(parallel_map(abs, [-1, -2]) != [1, 2])
assert os.waitpid(child, 0)[1] == 0
assert parallel_map(abs, [-1, -2]) == [1, 2]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
