"""What a training tells of itself, and who may listen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path, write_text

__all__ = ["Callback", "CsvLog", "History", "TensorBoardLog", "listening"]


@dataclass
class History:
    """What a training tells of itself: one entry an epoch, and the seconds it took in all."""

    loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Callback:
    """Is told what `tsnn_uq.training.fit` measures. All methods do nothing here.

    Steps and epochs are counted from 1. A run that was killed and goes on from a checkpoint tells of the steps since
    that checkpoint again.
    """

    def start(self, step: int, history: History) -> None:
        """Before the first step of a call.

        Args:
            step: steps that are done already, where a run goes on.
            history: the epochs that are done.
        """

    def after_step(self, step: int, measured: Mapping[str, float]) -> None:
        """After each step: its ``loss``, ``learning_rate`` and, where it is clipped, ``gradient_norm``."""

    def after_epoch(self, epoch: int, measured: Mapping[str, float]) -> None:
        """After each epoch: its mean ``loss`` and, with a validation set, ``validation_accuracy``."""

    def stop(self) -> None:
        """After the last step, or when the call fails."""


@contextmanager
def listening(callbacks: Sequence[Callback], step: int, history: History) -> Iterator[None]:
    """Context of a call of `fit`, in which callbacks are started, and stopped whatever happens."""
    for callback in callbacks:
        callback.start(step, history)
    try:
        yield
    finally:
        for callback in callbacks:
            callback.stop()


class CsvLog(Callback):
    """Writes the history as CSV, a row an epoch; the file is whole at any moment.

    Args:
        path: the file.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = as_path(path)
        self.rows: list[Mapping[str, float]] = []

    def start(self, step: int, history: History) -> None:
        """Take up the epochs that are done."""
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
    """Writes what is measured for TensorBoard, under ``step/`` and ``epoch/``, against the number of steps.

    It needs the package ``tensorboard`` (``pip install 'tsnn-uq[tensorboard]'``).

    Args:
        folder: of the event files; give each run its own.

    Raises:
        InputError: the package is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            remedy = "pip install 'tsnn-uq[tensorboard]'"
            raise InputError(f"TensorBoardLog: expected the package tensorboard; it is missing ({remedy})") from error
        self.folder, self.make = str(as_path(folder)), SummaryWriter
        self.writer: Any = None
        self.step = 0

    def start(self, step: int, history: History) -> None:
        """Open an event file; what was written of later steps, before a kill, is hidden."""
        self.writer, self.step = self.make(self.folder, purge_step=step + 1), step

    def after_step(self, step: int, measured: Mapping[str, float]) -> None:
        """Write the values of a step."""
        self.step = step
        self._write("step", measured)

    def after_epoch(self, epoch: int, measured: Mapping[str, float]) -> None:
        """Write the values of an epoch."""
        self._write("epoch", measured)

    def stop(self) -> None:
        """Write what is left, and close the file."""
        self.writer.close()

    def _write(self, group: str, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.writer.add_scalar(f"{group}/{name}", value, self.step)
