"""Screening on a part of MNIST, finals on all of it: each resumes when called again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.experiments import Settings
from tsnn_uq.experiments.ablation.measures import (
    foreign_set,
    is_measured,
    keep_measured,
    measure_run,
    read_measured,
)
from tsnn_uq.experiments.ablation.plan import Plan
from tsnn_uq.experiments.ablation.selection import chosen_weights
from tsnn_uq.experiments.context import Context, RunProgress
from tsnn_uq.experiments.runner import Row, Task, do_runs, raised
from tsnn_uq.files import csv_text, require_writable, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["do_and_measure", "finals", "screening"]


def screening(
    plan: Plan,
    *,
    methods: Sequence[str] = ("direct", "distill"),
    context: Context = Context(),
) -> DataFrame:
    """Every term at four weights with one seed, then the chosen weights with all seeds, on 10,000 images of MNIST.

    Args:
        plan: its settings, usually `SCREENING`; ``screening.csv`` is written into its folder at the end.
        methods: ternary methods.
        context: where and how; progress is that of a part of the stage, a unit for each run.

    Returns:
        Two rows a run, as `measure_run` gives them, with ``family, method, term, regularizer, seed`` before them and
        ``chosen``, whether it has the weight that `chosen_weights` gives its term.

    Raises:
        InputError: missing data, or what a run raises.
    """
    every = range(plan.seeds)
    do = partial(_rows, plan, context=context)
    entries = [("none", plan.run("dropout", "float", seed=seed)) for seed in every]
    do(entries)
    entries += [("none", plan.run("dropout", method, seed=seed)) for method in methods for seed in every]
    entries += [
        (term, plan.run("dropout", method, text))
        for method in methods
        for term, texts in plan.candidates(method).items()
        for text in texts
    ]
    chosen = chosen_weights(do(entries))
    texts = {(row["method"], row["term"]): row["regularizer"] for row in chosen.to_dict("records")}
    entries += [
        (term, plan.run("dropout", method, text, seed)) for (method, term), text in texts.items() for seed in every[1:]
    ]
    rows = do(entries)
    rows["chosen"] = [
        term == "none" or texts[method, term] == text
        for method, term, text in zip(rows["method"], rows["term"], rows["regularizer"], strict=True)
    ]
    write_text(plan.out / "screening.csv", csv_text(rows))
    return rows


def finals(
    plan: Plan,
    texts: Sequence[str],
    *,
    families: Sequence[str] = ("dropout", "dropconnect"),
    context: Context = Context(),
) -> DataFrame:
    """No term and the best ones with direct ternary networks, no term and the best with float ones, on all of MNIST.

    Args:
        plan: its settings, usually `FINALS`; ``finals.csv`` is written into its folder at the end.
        texts: of the terms with their weights, the best first, as `best_terms` gives them.
        families: network families.
        context: as for `screening`.

    Returns:
        Two rows a run, as `screening` gives them, without ``chosen``.

    Raises:
        InputError: missing data, or what a run raises.
    """
    kinds = [("direct", text) for text in ("none", *texts)] + [("float", text) for text in ("none", *texts[:1])]
    entries = [
        (_term(text), plan.run(family, method, text, seed))
        for family in families
        for method, text in kinds
        for seed in range(plan.seeds)
    ]
    rows = _rows(plan, entries, context)
    write_text(plan.out / "finals.csv", csv_text(rows))
    return rows


def _term(text: str) -> str:
    """The name of a term, or the names of a sum's, without weights."""
    return "+".join(part.partition(":")[0] for part in text.split("+"))


def do_and_measure(plan: Plan, configs: Sequence[Settings], context: Context) -> None:
    """Do and measure those of a plan's runs that are not measured yet.

    Raises:
        InputError: before any run is begun, if one cannot be or a foreign set is missing; else, after all others are
            done, what a run raised.
    """
    require_writable(plan.out)
    tasks = [
        Task(config, plan.place(config).parent, f"{plan.place(config).parent.name}/")
        for config in configs
        if not is_measured(plan.place(config))
    ]
    if tasks:
        for name in plan.foreign.values():
            foreign_set(name, context.data_dir)  # so that a missing one is known before hours of training
    finished = count(1)

    def tell(name: str, stage: str, done: int, total: int) -> None:
        if stage == "measure":
            context.progress(name, stage, next(finished), len(tasks))

    measure = partial(_measure, foreign=dict(plan.foreign), data_dir=context.data_dir)
    for result in do_runs(tasks, replace(context, progress=tell), after=measure).values():
        raised(result)


def _rows(plan: Plan, entries: Sequence[tuple[str, Settings]], context: Context) -> DataFrame:
    """Two rows for each run, in the order of `entries` (its term, the run), which are done where they were not."""
    import pandas as pd

    do_and_measure(plan, [config for _, config in entries], context)
    rows: list[dict[str, Any]] = []
    for term, config in entries:
        head = {"family": config.family, "method": config.method.name, "seed": config.seed}
        rows += read_measured(plan.place(config), **head, term=term, regularizer=config.regularizer.name)
    return pd.DataFrame(rows)


def _measure(
    task: Task, row: Row, progress: RunProgress, *, foreign: Mapping[str, str], data_dir: str | Path | None
) -> None:
    """Measure a finished run, in whichever process, and keep its rows in its folder."""
    folder = task.folder
    rows = measure_run(task.settings, folder, foreign, data_dir=data_dir)
    keep_measured(folder, rows, sparsity=row["sparsity"], train_seconds=row["train_seconds"])
    progress(task.name, "measure", 1, 1)
