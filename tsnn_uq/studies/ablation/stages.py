"""Screening on a part of MNIST, finals on all of it: each a call that goes on where an earlier one was ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed

from tsnn_uq.checks import check_positive
from tsnn_uq.experiments import RunConfig, run
from tsnn_uq.experiments.measure import silent
from tsnn_uq.files import read_json, require_writable, write_json, write_text
from tsnn_uq.studies.ablation.measures import measure_run
from tsnn_uq.studies.ablation.plan import Plan
from tsnn_uq.studies.ablation.selection import chosen_weights

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["MEASURES", "Told", "do_runs", "finals", "screening"]

MEASURES = "uncertainty.json"

Told = Callable[[str, int, int], object]
"""Called with the name of a run that was finished, how many are, and how many there are in this part of the stage."""


def screening(
    plan: Plan,
    *,
    methods: Sequence[str] = ("direct", "distill"),
    jobs: int = 1,
    data_dir: Path | None = None,
    told: Told = silent,
) -> DataFrame:
    """Every term at four weights with one seed, then the chosen weights with all seeds, on 10,000 images of MNIST.

    Args:
        plan: its settings, usually `SCREENING`; ``screening.csv`` is written into its folder at the end.
        methods: ternary methods.
        jobs: runs side by side, each in its own process.
        data_dir: where the data lie.
        told: of each finished run.

    Returns:
        Two rows a run, as `measure_run` gives them, with ``family, method, term, regularizer, seed`` before them and
        ``chosen``, whether it has the weight that `chosen_weights` gives its term.

    Raises:
        InputError: missing data, or what a run raises.
    """
    every = range(plan.seeds)
    do = partial(_rows, plan, jobs=jobs, data_dir=data_dir, told=told)
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
    write_text(plan.out / "screening.csv", rows.to_csv(index=False))
    return rows


def finals(
    plan: Plan,
    texts: Sequence[str],
    *,
    families: Sequence[str] = ("dropout", "dropconnect"),
    jobs: int = 1,
    data_dir: Path | None = None,
    told: Told = silent,
) -> DataFrame:
    """No term and the best ones with direct ternary networks, no term and the best with float ones, on all of MNIST.

    Args:
        plan: its settings, usually `FINALS`; ``finals.csv`` is written into its folder at the end.
        texts: of the terms with their weights, the best first, as `best_terms` gives them.
        families: network families.
        jobs: runs side by side, each in its own process.
        data_dir: where the data lie.
        told: of each finished run.

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
    rows = _rows(plan, entries, jobs=jobs, data_dir=data_dir, told=told)
    write_text(plan.out / "finals.csv", rows.to_csv(index=False))
    return rows


def _term(text: str) -> str:
    """The name of a term, or the names of a sum's, without weights."""
    return "+".join(part.partition(":")[0] for part in text.split("+"))


def do_runs(
    plan: Plan,
    configs: Sequence[RunConfig],
    *,
    jobs: int = 1,
    data_dir: Path | None = None,
    told: Told = silent,
) -> None:
    """Do and measure those of a plan's runs that were not yet, `jobs` at a time."""
    check_positive("jobs", jobs, integer=True)
    require_writable(plan.out)
    missing = [config for config in configs if not (plan.place(config) / MEASURES).exists()]
    tasks = (delayed(_do)(config, plan, data_dir) for config in missing)
    names: Iterable[str] = Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
    for done, name in enumerate(names, 1):
        told(name, done, len(missing))


def _rows(plan: Plan, entries: Sequence[tuple[str, RunConfig]], **options: Any) -> DataFrame:
    """Two rows for each run, in the order of `entries` (its term, the run), which are done where they were not."""
    import pandas as pd

    do_runs(plan, [config for _, config in entries], **options)
    rows = []
    for term, config in entries:
        head = {name: getattr(config, name) for name in ("family", "method", "seed")}
        for measured in read_json(plan.place(config) / MEASURES)["rows"]:
            rows.append({**head, "term": term, "regularizer": config.regularizer, **measured})
    return pd.DataFrame(rows)


def _do(config: RunConfig, plan: Plan, data_dir: Path | None) -> str:
    """Train, predict and measure one run, in whichever process; returns what to call it."""
    folder = plan.place(config)
    row = run(config, folder.parent, data_dir=data_dir)
    rows = [
        {**measured, "sparsity": row["sparsity"], "train_seconds": row["train_seconds"]}
        for measured in measure_run(config, folder, plan.foreign, data_dir=data_dir)
    ]
    write_json(folder / MEASURES, {"rows": rows})
    return os.fspath(folder.relative_to(plan.out))
