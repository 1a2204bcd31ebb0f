"""What long work shows: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["RunBars"]

TRAIN_SHARE = 0.8  # of a run's time; predicting with S samples takes the rest
SECONDS_BETWEEN_LINES = 10.0


class RunBars:
    """Context that shows the progress of several runs: one bar for all, one for each that is under way."""

    def __init__(self, console: Console, runs: int) -> None:
        self.console, self.runs = console, runs
        self.shares: dict[str, float] = {}
        self.bars: dict[str, int] = {}
        self.started = self.spoken = time.monotonic()
        self.before = 0.0  # share of all work that was done when the first message came
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
        self.total = self.progress.add_task(f"all {self.runs} runs" if self.runs > 1 else "the run", total=self.runs)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self.progress.update(self.total, completed=self.runs)
        self.progress.stop()

    def __call__(self, run: str, stage: str, done: int, total: int) -> None:
        """Note that `run` has done so much of a stage."""
        part = done / max(total, 1)
        share = TRAIN_SHARE * part if stage == "train" else TRAIN_SHARE + (1 - TRAIN_SHARE) * part
        if run not in self.shares and len(self.shares) == 0:
            self.before = share
        self.shares[run] = share
        if self.console.is_terminal:
            self._draw(run, stage, share)
        elif time.monotonic() - self.spoken >= SECONDS_BETWEEN_LINES or share == 1:
            self._say(run, stage, done, total)

    def _draw(self, run: str, stage: str, share: float) -> None:
        if run not in self.bars:
            self.bars[run] = self.progress.add_task(run, total=1.0)
        self.progress.update(self.bars[run], completed=share, description=f"{run} {stage}", visible=share < 1)
        self.progress.update(self.total, completed=sum(self.shares.values()))

    def _say(self, run: str, stage: str, done: int, total: int) -> None:
        self.spoken = time.monotonic()
        share = sum(self.shares.values()) / self.runs
        gained = share - self.before / self.runs
        left = (self.spoken - self.started) * (1 - share) / gained if gained > 0 else float("nan")
        rest = f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left" if left >= 1 else ""
        self.console.print(f"{share:4.0%}  {run}: {stage} {done}/{total}{rest}", highlight=False)
