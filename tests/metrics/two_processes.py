"""One of two processes that share the inputs of every metric: ``python -m tests.metrics.two_processes RANK FILE``."""

from __future__ import annotations

import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    from torch import distributed

    from tests.helpers.metric_tester import same
    from tests.metrics.test_contract import CASES


def main(rank: int, meeting: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for tester in CASES:
        metric = tester.make()
        mine, yours = (list(tester.batches([5]))[part] for part in (rank, 1 - rank))  # five inputs, and seven
        metric.update(**mine)
        same(metric.compute(), tester.function(**joined(tester, mine, yours, rank), **tester.options))
        metric.update(**yours)  # what was gathered is put back
        assert metric._update_count == 2
    distributed.destroy_process_group()
    print(len(CASES))


def joined(tester, mine, yours, rank):
    """The inputs in the order in which the processes' parts are gathered."""
    first, second = (mine, yours) if rank == 0 else (yours, mine)
    return {name: torch.cat([first[name], second[name]], axis) for name, axis in zip(first, tester.axes, strict=True)}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
