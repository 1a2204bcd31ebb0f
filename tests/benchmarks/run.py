"""All benchmarks: ratios against snnTorch, SpikingJelly, Norse, the bare matrix products and our own dense path.

    make bench                                                   # everything, on two threads
    python -m tests.benchmarks.run --only ternary-batch1,memory  # some works; the others' rows stay
    python -m tests.benchmarks.run --out now --resume            # go on: works with rows in now/results.csv are skipped
    python -m tests.benchmarks.standing now/results.csv          # each ratio against the committed one

Every work is done by all of its contenders in one process, in turn, round by round, after it was checked that they
compute the same; what counts is the median over rounds. Writes into ``tests/benchmarks/``: ``results.csv`` and
``results.png`` (times), ``memory.csv``, ``scaling.csv`` and ``scaling.png``, and ``rates.csv``, how often the trained
networks' neurons fire, which decides what sparse sums can gain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
import torch
import typer

from tests.benchmarks import figures, inference, monte_carlo, training
from tests.benchmarks.convolutional import plif_steps, ternary_inference
from tests.benchmarks.memory import measure_memory, write_memory
from tests.benchmarks.scaling import measure_scaling, write_scaling
from tests.benchmarks.setting import STEPS, Setting
from tests.benchmarks.timer import Work, measure, merge_rows, write_rows
from tsnn_uq.checks import check_choice, check_positive
from tsnn_uq.cli.main import run_command
from tsnn_uq.cli.options import DataDir
from tsnn_uq.files import write_text

__all__ = ["WORKS", "main"]


class Entry(NamedTuple):
    """A work in the figure's words, and what makes it."""

    title: str
    make: Callable[[Setting], Work]


WORKS: dict[str, Entry] = {
    "train-spikes-T20": Entry("training step, spikes in", training.spike_steps),
    "train-constant-T20": Entry("training step, constant current", training.constant_steps),
    "epoch-constant-T8": Entry("epoch on MNIST, T = 8", training.epoch),
    "train-regularized-T4": Entry("training step, uncertainty terms", training.regularized_steps),
    "train-plif-T4": Entry("training step, convolutional PLIF", plif_steps),
    "mc-dropout-S32": Entry("Monte Carlo, dropout, S = 32", monte_carlo.dense),
    "ternary-batch256": Entry("ternary inference, 256 images", inference.whole_batch),
    "ternary-batch1": Entry("ternary inference, 1 image", inference.single),
    "ternary-stopping": Entry("ternary inference, stopping early", inference.stopping),
    "mc-ternary-stopping-S32": Entry("ternary Monte Carlo, stopping early", partial(inference.stopping, samples=32)),
    "ternary-plif-batch32": Entry("ternary PLIF network, 32 images", partial(ternary_inference, "plif", 32)),
    "ternary-plif-batch1": Entry("ternary PLIF network, 1 image", partial(ternary_inference, "plif", 1)),
    "ternary-vgg-batch32": Entry("ternary VGG for CIFAR-10, 32 images", partial(ternary_inference, "vgg", 32)),
    "ternary-vgg-batch1": Entry("ternary VGG for CIFAR-10, 1 image", partial(ternary_inference, "vgg", 1)),
    "mc-ternary-dropout-S32": Entry("ternary Monte Carlo, dropout", partial(monte_carlo.engine, "dropout")),
    "mc-ternary-dropconnect-S32": Entry("ternary Monte Carlo, dropconnect", partial(monte_carlo.engine, "dropconnect")),
}
OTHERS = ("memory", "scaling")
BUSY = 0.5


def main(
    rounds: Annotated[
        int, typer.Option(help="Timed rounds; the median counts, of at least 7 for numbers to keep.")
    ] = 7,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    data_dir: DataDir = None,
    only: Annotated[
        str, typer.Option(metavar="WORKS", help=f"Do some, with commas between: {', '.join((*WORKS, *OTHERS))}.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Skip works that have rows in the folder.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path(__file__).parent,
) -> None:
    """Time everything against its peers, and write tables and figures."""
    check_positive("rounds", rounds, integer=True)
    check_positive("threads", threads, integer=True)
    every = (*WORKS, *OTHERS)
    chosen = [check_choice("only", name, every) for name in only.split(",")] if only else list(every)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        chosen = [name for name in chosen if name not in works_in(out)]
    torch.set_num_threads(threads)
    warn_of_load()
    setting = Setting(data_dir)
    show_activity(setting, out)
    for name in chosen:
        print(f"{name}, {threads} threads", flush=True)
        if name == "memory":
            write_memory(out / "memory.csv", measure_memory(setting))
        elif name == "scaling":
            points = measure_scaling(setting, rounds)
            write_scaling(out / "scaling.csv", points)
            figures.save_png(figures.draw_scaling(points), out / "scaling.png")
        else:
            record(name, setting, rounds, out)


def works_in(out: Path) -> set[str]:
    """The works whose rows or tables are in a folder."""
    table = out / "results.csv"
    done = set(pd.read_csv(table)["work"]) if table.exists() else set()
    return done | {name for name in OTHERS if (out / f"{name}.csv").exists()}


def warn_of_load() -> None:
    """Say if the machine is busy: threads that spin while they wait for each other then hold each other up.

    The libraries that start threads for every small operation suffer most, ten times over and more.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY:
        print(f"load average {load:.1f}: other work is running here; keep no numbers, and see OMP_WAIT_POLICY=passive")


def record(name: str, setting: Setting, rounds: int, out: Path, works: Mapping[str, Entry] = WORKS) -> None:
    """Time one work, and put its rows into the table and the figure: a run that is stopped keeps what it did."""
    rows = merge_rows(out / "results.csv", measure(name, works[name].make(setting), rounds), works)
    write_rows(out / "results.csv", rows)
    titles = {work: entry.title for work, entry in works.items()}
    figures.save_png(figures.draw_ratios(rows, titles), out / "results.png")


def show_activity(setting: Setting, out: Path) -> None:
    """Print and write the firing rates of the trained networks."""
    rows = []
    for family in ("dropout", "dropconnect"):
        rates, accuracy = setting.activity(family)
        shown = ", ".join(f"{rate:.1%}" for rate in rates)
        print(f"trained ternary {family} network at T = {STEPS}: {accuracy:.2%} right, hidden neurons fire in {shown}")
        rows += [(family, layer, f"{rate:.4f}") for layer, rate in enumerate(rates, start=1)]
    write_text(out / "rates.csv", pd.DataFrame(rows, columns=["network", "layer", "rate"]).to_csv(index=False))


if __name__ == "__main__":
    run_command(main)
