"""Gathering over two processes, checked from within each: what `test_two_processes` runs, by threads or for real."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pytest
    import torch
    from torch import Tensor, distributed
    from torchmetrics import Metric

    from tests.helpers.metric_tester import MetricTester, parts_of, same
    from tests.metrics.test_contract import CASES, TOOLS
    from tsnn_uq.checks import InputError

Batches = list[dict[str, Tensor]]
# One of each metric; other options change what is computed of the same sums and lists.
TESTERS = (*{tester.function: tester for tester in reversed(CASES)}.values(), *TOOLS)


def of_each_kind() -> list[MetricTester]:
    """One metric of each kind of states, as torchmetrics gathers them: their shapes, and how they are reduced."""
    kinds = {}
    for tester in TESTERS:
        metric = tester.make()
        parts = [part for part in metric.modules() if isinstance(part, Metric)]
        states = [(part, name, state) for part in parts for name, state in part._defaults.items()]
        kind = [(str(getattr(state, "shape", list)), str(part._reductions[name])) for part, name, state in states]
        kinds.setdefault(tuple(sorted(kind)), tester)
    return list(kinds.values())


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


FIRST_OF_KIND = {id(tester) for tester in of_each_kind()}


def some_shares(tester: MetricTester) -> list[tuple[Batches, Batches]]:
    """All shares for the first metric of each kind of states; for any other a pair of them, not always the same."""
    everyone = list(shares(tester))
    if id(tester) in FIRST_OF_KIND:
        return everyone
    number = next(i for i, other in enumerate(TESTERS) if other is tester)
    return [everyone[number % 6], everyone[(number + 1 + number // 6) % 6]]


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


def in_process(rank: int, meeting: str) -> None:
    """One of two processes that meet in a file (gloo)."""
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for number, tester in enumerate(of_each_kind()):  # each in one way; threads try them all
        ways = [lambda rank, tester=tester, b=batches: check(tester, rank, b) for batches in shares(tester)]
        way = [*ways, lambda rank, tester=tester: check_nothing(tester, rank)][number % (len(ways) + 1)]
        way(rank)
    distributed.destroy_process_group()
