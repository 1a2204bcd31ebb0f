"""Screening on a part of MNIST, finals on all of it: each resumes when called again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.components.registry import names_in
from tsnn_uq.experiments import Settings
from tsnn_uq.experiments.ablation.candidates import Stage
from tsnn_uq.experiments.ablation.measured_runs import (
    foreign_set,
    is_measured,
    keep_measured,
    measure_run,
    read_measured,
)
from tsnn_uq.experiments.ablation.selection import chosen_weights
from tsnn_uq.experiments.runner import Row, Task, do_runs, raised
from tsnn_uq.experiments.settings import Context, RunProgress
from tsnn_uq.files import csv_text, require_writable, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["do_and_measure", "finals", "finals_runs", "runs_left", "screening", "screening_runs"]

Entry = tuple[str, Settings]
"""A term without its weight, and a run that has it."""


def screening(
    stage: Stage,
    *,
    methods: Sequence[str] = ("direct", "distill"),
    context: Context = Context(),
) -> DataFrame:
    """Every term at four weights with one seed, then the chosen weights with all seeds, on 10,000 images of MNIST.

    Args:
        stage: its settings, usually `SCREENING`; ``screening.csv`` is written into its folder at the end.
        methods: ternary methods.
        context: where and how; when a run is measured, its progress is that of ``"measure"``.

    Returns:
        Two rows a run, as `measure_run` gives them, with ``family, method, term, regularizer, seed`` before them and
        ``chosen``, whether it has the weight that `chosen_weights` gives its term.

    Raises:
        InputError: missing data, or what a run raises.
    """
    do = partial(_rows, stage, context=context)
    do(_without_term(stage, ("float",)))  # the teachers
    entries = _with_first_seed(stage, methods)
    chosen = chosen_weights(do(entries))
    texts = {(row["method"], row["term"]): row["regularizer"] for row in chosen.to_dict("records")}
    entries += _with_more_seeds(stage, texts)
    rows = do(entries)
    rows["chosen"] = [
        term == "none" or texts[method, term] == text
        for method, term, text in zip(rows["method"], rows["term"], rows["regularizer"], strict=True)
    ]
    write_text(stage.out / "screening.csv", csv_text(rows))
    return rows


def finals(
    stage: Stage,
    texts: Sequence[str],
    *,
    families: Sequence[str] = ("dropout", "dropconnect"),
    context: Context = Context(),
) -> DataFrame:
    """No term and the best ones with direct ternary networks, no term and the best with float ones, on all of MNIST.

    Args:
        stage: its settings, usually `FINALS`; ``finals.csv`` is written into its folder at the end.
        texts: of the terms with their weights, the best first, as `best_terms` gives them.
        families: network families.
        context: as for `screening`.

    Returns:
        Two rows a run, as `screening` gives them, without ``chosen``.

    Raises:
        InputError: missing data, or what a run raises.
    """
    rows = _rows(stage, _finals(stage, texts, families), context)
    write_text(stage.out / "finals.csv", csv_text(rows))
    return rows


def screening_runs(stage: Stage, methods: Sequence[str]) -> list[Task]:
    """The runs that a screening has to do; which weight of a term gets all seeds is open, so here the first does."""
    texts = {(method, term): of[0] for method in methods for term, of in stage.candidates(method).items()}
    return runs_left(stage, [run for _, run in _with_first_seed(stage, methods) + _with_more_seeds(stage, texts)])


def finals_runs(stage: Stage, texts: Sequence[str], families: Sequence[str]) -> list[Task]:
    """The runs that the finals have to do."""
    return runs_left(stage, [run for _, run in _finals(stage, texts, families)])


def _without_term(stage: Stage, methods: Sequence[str]) -> list[Entry]:
    return [("none", stage.run("dropout", method, seed=seed)) for method in methods for seed in range(stage.seeds)]


def _with_first_seed(stage: Stage, methods: Sequence[str]) -> list[Entry]:
    """No term with all seeds, then every weight of every term with the first."""
    return _without_term(stage, ("float", *methods)) + [
        (term, stage.run("dropout", method, text))
        for method in methods
        for term, texts in stage.candidates(method).items()
        for text in texts
    ]


def _with_more_seeds(stage: Stage, texts: Mapping[tuple[str, str], str]) -> list[Entry]:
    """The chosen weight of each method's terms with all seeds but the first."""
    return [
        (term, stage.run("dropout", method, text, seed))
        for (method, term), text in texts.items()
        for seed in range(1, stage.seeds)
    ]


def _finals(stage: Stage, texts: Sequence[str], families: Sequence[str]) -> list[Entry]:
    kinds = [("direct", text) for text in ("none", *texts)] + [("float", text) for text in ("none", *texts[:1])]
    return [
        ("+".join(names_in("regularizer", text)), stage.run(family, method, text, seed))
        for family in families
        for method, text in kinds
        for seed in range(stage.seeds)
    ]


def runs_left(stage: Stage, configs: Sequence[Settings]) -> list[Task]:
    """Those of a stage's runs that are not measured yet."""
    return [
        Task(config, stage.place(config).parent, f"{stage.place(config).parent.name}/")
        for config in configs
        if not is_measured(stage.place(config))
    ]


def do_and_measure(stage: Stage, configs: Sequence[Settings], context: Context) -> None:
    """Do and measure those of a stage's runs that are not measured yet.

    Raises:
        InputError: before any run is begun, if one cannot be or a foreign set is missing; else, after all others are
            done, what a run raised.
    """
    require_writable(stage.out)
    tasks = runs_left(stage, configs)
    if tasks:
        for name in stage.foreign.values():
            foreign_set(name, context.data_dir)  # so that a missing one is known before hours of training
    measure = partial(_measure, foreign=dict(stage.foreign), data_dir=context.data_dir)
    for result in do_runs(tasks, context, after=measure).values():
        raised(result)


def _rows(stage: Stage, entries: Sequence[Entry], context: Context) -> DataFrame:
    """Two rows for each run, in the order of `entries` (its term, the run), which are done where they were not."""
    import pandas as pd

    do_and_measure(stage, [config for _, config in entries], context)
    rows: list[dict[str, Any]] = []
    for term, config in entries:
        head = {"family": config.family, "method": config.method.name, "seed": config.seed}
        rows += read_measured(stage.place(config), **head, term=term, regularizer=config.regularizer.name)
    return pd.DataFrame(rows)


def _measure(
    task: Task, row: Row, progress: RunProgress, *, foreign: Mapping[str, str], data_dir: str | Path | None
) -> None:
    """Measure a finished run, in whichever process, and keep its rows in its folder."""
    folder = task.folder
    rows = measure_run(task.settings, folder, foreign, data_dir=data_dir)
    keep_measured(folder, rows, sparsity=row["sparsity"], train_seconds=row["train_seconds"])
    progress(task.name, "measure", 1, 1)
