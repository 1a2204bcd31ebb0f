"""What long work shows: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["RunBars"]

SECONDS_BETWEEN_LINES = 10.0


class RunBars:
    """Context that shows the progress of several runs: one bar for all, one for each that is under way.

    Not on a terminal, it writes a line when a run is done, and else at most one in ten seconds.

    Args:
        console: where to.
        runs: how many runs there are to do.
        train_share: share of a run's time that training takes; predicting with S samples takes the rest.
        last: the stage that ends a run.
        title: what all of it is called; by default the number of runs.
    """

    def __init__(
        self, console: Console, runs: int = 1, train_share: float = 0.8, *, last: str = "predict", title: str = ""
    ) -> None:
        self.console, self.runs, self.train_share, self.last = console, runs, train_share, last
        self.title = title or (f"all {runs} runs" if runs > 1 else "the run")
        self.shares: dict[str, float] = {}
        self.bars: dict[str, TaskID] = {}
        self.started = self.spoken = time.monotonic()
        self.before = 0.0  # what earlier, interrupted calls have done, in runs
        self.progress = Progress(
            TextColumn("{task.description:28}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> RunBars:
        self.progress.start()
        self.total = self.progress.add_task(self.title, total=self.runs)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self.progress.update(self.total, completed=self.runs)
        self.progress.stop()

    def __call__(self, run: str, stage: str, done: int, total: int) -> None:
        """Note that `run` has done so much of a stage: of "train", or of another, which comes after it."""
        part = done / max(total, 1)
        share = self.train_share * part if stage == "train" else self.train_share + (1 - self.train_share) * part
        if run not in self.shares:
            self.before += share
        self.shares[run] = share
        finished = stage == self.last and done == total
        if self.console.is_terminal:
            self._draw(run, stage, share, finished)
        elif finished or time.monotonic() - self.spoken >= SECONDS_BETWEEN_LINES:
            self._say(run, stage, done, total)

    def _draw(self, run: str, stage: str, share: float, finished: bool) -> None:
        if self.runs == 1:
            self.progress.update(self.total, completed=share, description=f"{self.title} {stage}")
            return
        if run not in self.bars:
            self.bars[run] = self.progress.add_task(run, total=1.0)
        self.progress.update(self.bars[run], completed=share, description=f"{run} {stage}", visible=not finished)
        self.progress.update(self.total, completed=sum(self.shares.values()))

    def _say(self, run: str, stage: str, done: int, total: int) -> None:
        self.spoken = time.monotonic()
        finished = sum(self.shares.values())
        gained = finished - self.before
        left = (self.spoken - self.started) * (self.runs - finished) / gained if gained > 0 else 0.0
        rest = f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left" if left >= 1 else ""
        self.console.print(f"{finished / self.runs:4.0%}  {run}: {stage} {done}/{total}{rest}", highlight=False)
