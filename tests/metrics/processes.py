"""Gathering over two processes, checked from within each: what `test_two_processes` runs, by threads or for real.

``python -m tests.metrics.processes RANK FILE`` is one of two processes that meet in FILE (gloo).
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytest
    import torch
    from torch import Tensor, distributed

    from tests.helpers.metric_tester import MetricTester, parts_of, same
    from tests.metrics.test_contract import CASES, TOOLS
    from tsnn_uq.checks import InputError

Batches = list[dict[str, Tensor]]
TESTERS = (*CASES, *TOOLS)


def shares(tester: MetricTester) -> Iterator[tuple[Batches, Batches]]:
    """What the first and the second process are given."""
    five, seven = tester.batches([5])
    narrow = {name: x.float() if x.is_floating_point() else x for name, x in five.items()}
    empty, *parts = tester.batches([0, 1, 3, 2])
    yield [five], [seven]
    yield [], [five, seven]
    yield [five, seven], []
    yield [empty], parts
    yield parts[:3], [empty, parts[3], empty]
    yield [narrow], [seven]


def joined(tester: MetricTester, batches: Batches) -> dict[str, Tensor]:
    """All inputs in the order in which they are gathered."""
    axes = zip(tester.inputs, tester.axes, strict=True)
    return {name: torch.cat([batch[name] for batch in batches], axis) for name, axis in axes}


def check(tester: MetricTester, rank: int, batches: tuple[Batches, Batches], **options: Any) -> None:
    """The value is that of all inputs, and afterwards what was gathered is put back."""
    metric, mine = tester.make(**options), batches[rank]
    for batch in mine:
        metric.update(**batch)
    everything = tester.function(**joined(tester, [*batches[0], *batches[1]]), **tester.options)
    same(metric.compute(), everything, rtol=1e-5, atol=1e-6)
    metric.update(**tester.inputs)
    assert metric.update_count == len(mine) + 1
    twice = [*batches[0], tester.inputs, *batches[1], tester.inputs]
    same(metric.compute(), tester.function(**joined(tester, twice), **tester.options), rtol=1e-5, atol=1e-6)


def check_nothing(tester: MetricTester, rank: int, **options: Any) -> None:
    """Without data in any process, the error of one process; the metric goes on after it."""
    metric = tester.make(**options)
    with pytest.raises(InputError, match="got none"):
        metric.compute()
    for batch in list(tester.batches([5]))[rank : rank + 1]:
        metric.update(**batch)
    value = metric.compute()
    same(value, tester.expected())
    assert [part.dtype for part in parts_of(value)] == [part.dtype for part in parts_of(tester.after().compute())]


class Threads:
    """Two threads in place of two processes; the `options` are those of their metrics."""

    def __init__(self) -> None:
        self.barrier, self.sent = threading.Barrier(2, timeout=60), [torch.empty(0)] * 2
        self.options = {"dist_sync_fn": self.gather, "distributed_available_fn": lambda: True}

    def gather(self, tensor: Tensor, group: object = None) -> list[Tensor]:
        self.sent[int(threading.current_thread().name)] = tensor
        self.barrier.wait()
        both = list(self.sent)
        self.barrier.wait()
        # What torch.distributed cannot gather, and does not always refuse.
        assert both[0].dtype == both[1].dtype
        assert both[0].dim() == both[1].dim()
        return both

    def run(self, check: Callable[[int], None]) -> None:
        """Call `check` with the rank in both threads, and raise what either raises."""
        errors: list[BaseException] = []

        def guarded(rank: int) -> None:
            try:
                check(rank)
            except BaseException as error:
                errors.append(error)
                self.barrier.abort()

        pair = [threading.Thread(target=guarded, args=(rank,), name=str(rank)) for rank in range(2)]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
        for error in errors:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error


def main(rank: int, meeting: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for number, tester in enumerate(TESTERS):  # each in one way; threads try them all
        ways = [lambda rank, tester=tester, b=batches: check(tester, rank, b) for batches in shares(tester)]
        way = [*ways, lambda rank, tester=tester: check_nothing(tester, rank)][number % (len(ways) + 1)]
        way(rank)
    distributed.destroy_process_group()
    print(len(TESTERS))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
