"""Share work out among as many threads as torch may use; results do not depend on how many there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import torch

__all__ = ["each", "parts"]

NAME = "tsnn-uq"
Item = TypeVar("Item")
Result = TypeVar("Result")


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix=NAME)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


def each(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`task` of each item, in order; tasks run side by side where they give up Python's lock.

    A task that shares out work in its turn does all of it itself: to wait for a thread, it would hold one up.
    """
    todo = list(items)
    within = threading.current_thread().name.startswith(NAME)
    if within or min(torch.get_num_threads(), len(todo)) <= 1:
        return [task(item) for item in todo]
    return list(_pool(torch.get_num_threads()).map(task, todo))


def parts(task: Callable[[int, int], object], count: int, least: int = 1) -> None:
    """Call `task(first, last)` for consecutive parts of 0 .. `count`.

    There are more parts than threads, to even them out, but none smaller than `least`.
    """
    threads = torch.get_num_threads()
    number = 1 if threads == 1 else max(1, min(count // least, 4 * threads))
    edges = [count * part // number for part in range(number + 1)]
    each(lambda edge: task(*edge), pairwise(edges))
