"""Gathering over devices: two processes, and two metrics merged, hold what one would."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.metric_tester import MetricTester, same
from tests.helpers.processes import WAIT, started
from tests.metrics.processes import TESTERS, Threads, check, check_nothing, in_process, some_shares
from tests.metrics.test_contract import CASES


@pytest.mark.parametrize("tester", TESTERS, ids=str)
def test_however_the_inputs_are_shared_out(tester: MetricTester) -> None:
    """One process without data, with empty batches, with other numbers of batches, with other dtypes."""
    for batches in some_shares(tester):
        world = Threads()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of compute before update, where there is no data
            world.run(lambda rank, batches=batches, world=world: check(tester, rank, batches, **world.options))


@pytest.mark.parametrize("tester", TESTERS, ids=str)
def test_no_process_has_data(tester: MetricTester) -> None:
    world = Threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world.run(lambda rank: check_nothing(tester, rank, **world.options))


@pytest.mark.slow
def test_two_processes_agree_on_what_all_inputs_give(tmp_path: Path) -> None:
    """For real: `compute` gathers both (gloo, on this machine)."""
    with ExitStack() as stack:
        pair = [stack.enter_context(started(in_process, rank, str(tmp_path / "meeting"))) for rank in range(2)]
        for process in pair:
            process.join(WAIT)
        assert [process.exitcode for process in pair] == [0, 0]


@pytest.mark.parametrize("tester", CASES, ids=str)
def test_merged_states(tester: MetricTester) -> None:
    one, other = tester.make(), tester.make()
    first, second = tester.batches([5])
    one.update(**first)
    other.update(**second)
    other.merge_state(one)
    same(other.compute(), tester.expected())
