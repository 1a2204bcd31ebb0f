"""Share work out among as many threads as torch may use; results do not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import torch

__all__ = ["each", "parts"]

os.register_at_fork(after_in_child=lambda: _pool.cache_clear())  # a child has none of its parent's threads
Item = TypeVar("Item")
Result = TypeVar("Result")


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="tsnn-uq")


def each(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`task` of each item, in order; tasks run side by side where they give up Python's lock."""
    todo = list(items)
    threads = min(torch.get_num_threads(), len(todo))
    if threads <= 1:
        return [task(item) for item in todo]
    return list(_pool(torch.get_num_threads()).map(task, todo))


def parts(task: Callable[[int, int], object], count: int) -> None:
    """Call `task(first, last)` for consecutive parts of 0 .. `count`; more parts than threads, to even them out."""
    threads = min(torch.get_num_threads(), count)
    number = 1 if threads <= 1 else min(count, 4 * threads)
    edges = [count * part // number for part in range(number + 1)]
    each(lambda edge: task(*edge), pairwise(edges))
