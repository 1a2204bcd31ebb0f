"""What is the same for all runs of a call and decides none of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

__all__ = ["Context", "Progress", "RunProgress", "silent", "use_threads"]

Progress = Callable[[str, int, int], object]
"""Called with what is being done ("train" or "predict"), units done, units in all."""
RunProgress = Callable[[str, str, int, int], object]
"""The same, called with the name of a run first."""


def silent(*_: object) -> None:
    """A progress callback that does nothing."""


@dataclass(frozen=True)
class Context:
    """Where and how runs are done.

    Args:
        data_dir: where the data are; see `tsnn_uq.data.data_folder`.
        jobs: runs side by side, each in a process of its own.
        checkpoint_seconds: least time between two checkpoints of a run.
        progress: called, in this process, with what each run does.
        device: where trained networks run; empty for the device that each was trained on.
        logs: what else each training writes into its folder; see `LOGS`.
    """

    data_dir: str | Path | None = None
    jobs: int = 1
    checkpoint_seconds: float = 20.0
    progress: RunProgress = silent
    device: str = ""
    logs: tuple[str, ...] = ()

    def of(self, run: str) -> Progress:
        """The progress of one run."""
        return partial(self.progress, run)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Run torch on `count` threads, and put the number back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
