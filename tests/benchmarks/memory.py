"""Peak memory of one training step with spikes as input, and bytes of the engine's weights.

Each contender steps in a fresh process, so that none uses again what another has freed. A step with a single input
comes first: it loads what is loaded once and makes the optimizer's state. What counts is how far the peak of the
process then rises above what it holds before the step (Linux). Memory that is freed goes back at once, so that the
peak is of tensors that are needed at one time; how much more a process keeps differs from start to start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from tests.benchmarks.peers import PEERS
from tests.benchmarks.setting import BATCH, STEPS, Setting
from tests.benchmarks.timer import OURS
from tests.benchmarks.training import TERNARY, contender, training_step
from tsnn_uq.engine import Engine
from tsnn_uq.files import write_text

__all__ = ["MemoryRow", "measure_memory", "memory_rows", "peak_bytes", "write_memory"]

ROOT = Path(__file__).parents[2]
# glibc: what is larger than this is mapped, and unmapped when it is freed.
FREED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class MemoryRow(NamedTuple):
    """A line of the table; the ratio is the contender's megabytes (10^6 bytes) over ours."""

    work: str
    contender: str
    megabytes: float
    ratio: float


def measure_memory(setting: Setting) -> list[MemoryRow]:
    """Training steps of all contenders but the floor, then the weights."""
    network = setting.network()
    engine, weights = Engine(network), sum(weight.numel() for weight in network.parameters())
    stored = {OURS: engine.weight_bytes, "float32": 4 * weights}
    rows = memory_rows("weights", stored)
    if not PEAK_RESET.exists():
        print("  no /proc here: the memory of a training step is not measured")
    else:
        peaks = {name: _in_fresh_process(name, setting) for name in (OURS, TERNARY, *PEERS)}
        rows = memory_rows("train-spikes-T20", peaks) + rows
    for row in rows:
        print(f"  {row.work:16} {row.contender:16} {row.megabytes:9.2f} MB  {row.ratio:6.2f} times ours", flush=True)
    return rows


def memory_rows(work: str, measured: Mapping[str, int]) -> list[MemoryRow]:
    """Bytes by contender as rows."""
    return [MemoryRow(work, name, count / 1e6, count / measured[OURS]) for name, count in measured.items()]


def write_memory(path: Path, rows: list[MemoryRow]) -> None:
    """Write rows as CSV with the columns work, contender, megabytes and ratio."""
    table = pd.DataFrame(rows, columns=list(MemoryRow._fields))
    write_text(path, table.to_csv(index=False, float_format="%.3f"))


def peak_bytes(call: Callable[[], object]) -> int:
    """How far the peak memory of this process during `call` is above what it holds before (Linux)."""
    PEAK_RESET.write_text("5")  # the peak is now what is held now
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """A field of the process's status, in bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return 1024 * int(line.split()[1])


def _in_fresh_process(name: str, setting: Setting) -> int:
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.memory"]
    arguments = [name, str(setting.runs), str(torch.get_num_threads())]
    environment = os.environ | FREED_AT_ONCE
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout)


def _step_memory(name: str, runs: Path) -> int:
    """Bytes of one step of a contender, in this process."""
    network = contender(name, Setting(runs=runs).network())
    generator = torch.Generator().manual_seed(0)
    spikes = torch.rand(STEPS, BATCH, 784, generator=generator).lt_(0.13)  # as many as MNIST's
    labels = torch.randint(10, (BATCH,), generator=generator)
    batches = iter([(spikes[:, :1].contiguous(), labels[:1]), (spikes, labels)])
    step = training_step(network, batches)
    step()
    return peak_bytes(step)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(_step_memory(sys.argv[1], Path(sys.argv[2])))
