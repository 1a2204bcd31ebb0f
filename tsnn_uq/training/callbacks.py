"""The history of a training, and callbacks that receive its measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsnn_uq.files import as_path, write_text
from tsnn_uq.missing_packages import missing_package

__all__ = ["Callback", "CsvLog", "History", "TensorBoardLog", "listening"]


@dataclass
class History:
    """The history of a training: one entry per epoch, and the total time in seconds."""

    loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Callback:
    """Receives the measurements of `tsnn_uq.training.fit`. The methods of this base class do nothing.

    Steps and epochs are counted from 1. A run that resumes from a checkpoint reports the steps after that checkpoint
    again.
    """

    def start(self, step: int, history: History) -> None:
        """Called before the first step.

        Args:
            step: steps that are already done, if a run resumes.
            history: the finished epochs.
        """

    def after_step(self, step: int, measured: Mapping[str, float]) -> None:
        """Called after each step with its ``loss``, ``learning_rate`` and, if it is clipped, ``gradient_norm``."""

    def after_epoch(self, epoch: int, measured: Mapping[str, float]) -> None:
        """Called after each epoch with its mean ``loss`` and, with a validation set, ``validation_accuracy``."""

    def stop(self) -> None:
        """Called after the last step, or if the call fails."""


@contextmanager
def listening(callbacks: Sequence[Callback], step: int, history: History) -> Iterator[None]:
    """Context of a call of `fit` that starts the callbacks, and stops them also after an error."""
    for callback in callbacks:
        callback.start(step, history)
    try:
        yield
    finally:
        for callback in callbacks:
            callback.stop()


class CsvLog(Callback):
    """Writes the history as CSV, one row per epoch; the file is replaced atomically.

    Args:
        path: the file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = as_path(path)
        self.rows: list[Mapping[str, float]] = []

    def start(self, step: int, history: History) -> None:
        """Start with the finished epochs."""
        columns = {"loss": history.loss, "validation_accuracy": history.validation_accuracy}
        filled = {name: values for name, values in columns.items() if values}
        self.rows = [dict(zip(filled, row, strict=True)) for row in zip(*filled.values(), strict=True)]

    def after_epoch(self, epoch: int, measured: Mapping[str, float]) -> None:
        """Write all rows."""
        self.rows.append(measured)
        lines = [",".join(["epoch", *measured])]
        lines += [",".join(map(repr, [number, *row.values()])) for number, row in enumerate(self.rows, start=1)]
        write_text(self.path, "\n".join(lines) + "\n")


class TensorBoardLog(Callback):
    """Writes the measurements for TensorBoard, under ``step/`` and ``epoch/``, against the number of steps.

    It needs the package ``tensorboard`` (``pip install 'tsnn-uq[tensorboard]'``).

    Args:
        folder: folder of the event files; use one per run.

    Raises:
        InputError: the package is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise missing_package("tensorboard", "TensorBoardLog") from error
        self.folder, self.make = str(as_path(folder)), SummaryWriter
        self.writer: Any = None
        self.step = 0

    def start(self, step: int, history: History) -> None:
        """Open an event file; entries of later steps, from before an interruption, are hidden."""
        self.writer, self.step = self.make(self.folder, purge_step=step + 1), step

    def after_step(self, step: int, measured: Mapping[str, float]) -> None:
        """Write the values of a step."""
        self.step = step
        self._write("step", measured)

    def after_epoch(self, epoch: int, measured: Mapping[str, float]) -> None:
        """Write the values of an epoch."""
        self._write("epoch", measured)

    def stop(self) -> None:
        """Flush and close the file."""
        self.writer.close()

    def _write(self, group: str, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.writer.add_scalar(f"{group}/{name}", value, self.step)
