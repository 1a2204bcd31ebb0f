"""The stages of an ablation: a screening on part of the data, and finals on all. Both resume if interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq import data
from tsnn_uq.experiments import Settings
from tsnn_uq.experiments.ablation.candidates import Stage, term_of
from tsnn_uq.experiments.ablation.measured_runs import (
    foreign_set,
    is_measured,
    keep_measured,
    measure_run,
    read_measured,
)
from tsnn_uq.experiments.ablation.selection import chosen_weights
from tsnn_uq.experiments.runner import Row, Task, do_runs, row_or_raise
from tsnn_uq.experiments.settings import Context, RunProgress
from tsnn_uq.experiments.storage import require_same_run
from tsnn_uq.files import csv_text, require_writable, write_text

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["do_and_measure", "finals", "finals_runs", "runs_left", "screening", "screening_runs"]

FINALISTS = ("direct", "float")
"""The training methods of the finals."""
Entry = tuple[str, Settings]
"""A term without its weight, and the settings of a run with it."""


def screening(
    stage: Stage,
    *,
    methods: Sequence[str] = ("direct", "distill"),
    context: Context = Context(),
) -> DataFrame:
    """Train with every term at four weights and one seed, then with the chosen weights and all seeds.

    Args:
        stage: settings of the stage, usually `SCREENING`, with 10,000 training images; ``screening.csv`` is written to
            its folder at the end.
        methods: ternary methods.
        context: where and how runs are done; the progress of measuring a run has the stage ``"measure"``.

    Returns:
        Two rows for each run, see `measure_run`, with ``dataset, family, method, seed, term, regularizer`` before them,
        and ``chosen``: whether the run has the weight that `chosen_weights` selects.

    Raises:
        InputError: data are missing, the folder has runs with other settings, or training a run failed.
    """
    do = partial(_rows, stage, context=context)
    do(_without_term(stage, ("float",)))  # teachers of the distilled runs
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
    families: Sequence[str] = (),
    methods: Sequence[str] = FINALISTS,
    context: Context = Context(),
) -> DataFrame:
    """Train with the best terms and without one on all data; float networks with the first term alone.

    Args:
        stage: settings of the stage, usually `FINALS`; ``finals.csv`` is written to its folder at the end.
        texts: terms with their weights, best first, as from `best_terms`.
        families: network families; by default those of the stage.
        methods: training methods.
        context: as for `screening`.

    Returns:
        Two rows for each run, as from `screening`, without ``chosen``.

    Raises:
        InputError: as for `screening`.
    """
    entries = _finals(stage, texts, families, methods)
    do_and_measure(stage, _teachers(stage, entries), context)
    rows = _rows(stage, entries, context)
    write_text(stage.out / "finals.csv", csv_text(rows))
    return rows


def screening_runs(stage: Stage, methods: Sequence[str]) -> list[Task]:
    """The runs of a screening, with the first weight of each term in place of the chosen one, still unknown."""
    texts = {(method, term): of[0] for method in methods for term, of in stage.candidates(method).items()}
    return runs_left(stage, [run for _, run in _with_first_seed(stage, methods) + _with_more_seeds(stage, texts)])


def finals_runs(
    stage: Stage, texts: Sequence[str], families: Sequence[str] = (), methods: Sequence[str] = FINALISTS
) -> list[Task]:
    """The runs of the finals."""
    entries = _finals(stage, texts, families, methods)
    runs = [run for _, run in entries]
    return runs_left(stage, [*(run for run in _teachers(stage, entries) if run not in runs), *runs])


def _without_term(stage: Stage, methods: Sequence[str]) -> list[Entry]:
    return [("none", stage.run(stage.network, method, seed=seed)) for method in methods for seed in range(stage.seeds)]


def _with_first_seed(stage: Stage, methods: Sequence[str]) -> list[Entry]:
    """Runs without a term for all seeds, then runs with every weight of every term for the first seed."""
    return _without_term(stage, ("float", *methods)) + [
        (term, stage.run(stage.network, method, text))
        for method in methods
        for term, texts in stage.candidates(method).items()
        for text in texts
    ]


def _with_more_seeds(stage: Stage, texts: Mapping[tuple[str, str], str]) -> list[Entry]:
    """Runs with the chosen weights of each method's terms, for all seeds except the first."""
    return [
        (term, stage.run(stage.network, method, text, seed))
        for (method, term), text in texts.items()
        for seed in range(1, stage.seeds)
    ]


def _finals(stage: Stage, texts: Sequence[str], families: Sequence[str], methods: Sequence[str]) -> list[Entry]:
    kinds = [(method, text) for method in methods for text in ("none", *(texts[:1] if method == "float" else texts))]
    return [
        (term_of(text), stage.run(family, method, text, seed))
        for family in families or stage.families
        for method, text in kinds
        for seed in range(stage.seeds)
    ]


def _teachers(stage: Stage, entries: Sequence[Entry]) -> list[Settings]:
    """The float runs without a term that distilled runs learn from."""
    taught = dict.fromkeys((run.family, run.seed) for _, run in entries if run.taught)
    return [stage.run(family, "float", seed=seed) for family, seed in taught]


def runs_left(stage: Stage, configs: Sequence[Settings]) -> list[Task]:
    """The runs of a stage that are not measured yet.

    Raises:
        InputError: a measured run has other settings.
    """
    for config in configs:
        require_same_run(stage.place(config), config.flat())
    return [
        Task(config, stage.place(config).parent, f"{stage.place(config).parent.name}/")
        for config in configs
        if not is_measured(stage.place(config))
    ]


def do_and_measure(stage: Stage, configs: Sequence[Settings], context: Context) -> None:
    """Do and measure the runs of a stage that are not measured yet.

    Raises:
        InputError: before the first run, if a run is not feasible or a foreign set is missing; otherwise, after all
            other runs, if one failed.
    """
    require_writable(stage.out)
    tasks = runs_left(stage, configs)
    if tasks:
        shape = data.extent(stage.data, context.data_dir).shape
        for name in stage.foreign.values():
            foreign_set(name, shape, context.data_dir)  # so that a missing set is reported before hours of training
    measure = partial(_measure, foreign=dict(stage.foreign), data_dir=context.data_dir)
    for result in do_runs(tasks, context, after=measure).values():
        row_or_raise(result)


def _rows(stage: Stage, entries: Sequence[Entry], context: Context) -> DataFrame:
    """Two rows for each run, in the order of `entries` (term and run); missing runs are done first."""
    import pandas as pd

    do_and_measure(stage, [config for _, config in entries], context)
    rows: list[dict[str, Any]] = []
    for term, config in entries:
        head = {"dataset": stage.data, "family": config.family, "method": config.method.name, "seed": config.seed}
        rows += read_measured(stage.place(config), **head, term=term, regularizer=config.regularizer.name)
    return pd.DataFrame(rows)


def _measure(
    task: Task, row: Row, progress: RunProgress, *, foreign: Mapping[str, str], data_dir: str | Path | None
) -> None:
    """Measure a finished run, in any process, and keep its rows in its folder."""
    folder = task.folder
    rows = measure_run(task.settings, folder, foreign, data_dir=data_dir)
    more = {name: row[name] for name in ("sparsity", "train_seconds")}
    keep_measured(folder, rows, **more, version=row.get("version", ""))
    progress(task.name, "measure", 1, 1)
