"""All sixteen rows of the paper's table, by seeds and by regularizers: what there is to do, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsnn_uq import data as datasets
from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.data import EVENT_SETS
from tsnn_uq.experiments.backends import Pool
from tsnn_uq.experiments.context import Context
from tsnn_uq.experiments.plan import Comparison, Grid, Part, claim, make_grids, plan_parts, write_tables
from tsnn_uq.experiments.runner import Failure, Task, do_runs
from tsnn_uq.experiments.storage import require_same
from tsnn_uq.files import read_toml, write_toml
from tsnn_uq.training import NEED_IMAGES, regularizer_terms

__all__ = ["BUDGETS", "Plan", "make_plan", "reproduce"]

BUDGETS = ("full", "quick")
# What goes over the settings of a family: small networks and few images, to see that everything works.
QUICK: dict[str, dict[str, Any]] = {
    "dropconnect": {"hidden": (128, 128), "train_limit": 4000, "epochs": 3, "samples": 4},
    "slayer": {"hidden": (64,), "train_limit": 1000, "epochs": 2, "samples": 4},
    # Few steps have to be large ones, or no neuron of the last layer ever fires.
    "plif": {
        **{"hidden": (8, 8, 64), "train_limit": 1000, "epochs": 2, "samples": 4},
        **{"batch_size": 16, "learning_rate": 1e-2},
    },
}
QUICK_EVENTS = {"steps": 60, "bin_ms": 5.0}  # the same 300 ms in a fifth of the steps


@dataclass(frozen=True)
class Plan:
    """What is to be reproduced, and where.

    Args:
        out: the folder.
        parts: for each regularizer, as it was asked for, the comparisons of the four families.
        budget: ``"full"`` or ``"quick"``.
    """

    out: Path
    parts: Mapping[str, Sequence[Part]]
    budget: str

    def every(self) -> list[Part]:
        """The comparisons of all regularizers."""
        return [part for parts in self.parts.values() for part in parts]

    def tasks(self) -> list[Task]:
        """All runs."""
        return [task for part in self.every() for task in part.tasks()]


def make_plan(
    out: Path,
    *,
    data: Sequence[str] = (),
    seeds: int = 3,
    regularizers: Sequence[str] = ("none",),
    budget: str = "full",
    device: str = "cpu",
    data_dir: str | Path | None = None,
) -> Plan:
    """The runs behind the paper's table, in folders under `out`.

    Of a regularizer that is a sum, events have those terms that do not need images; where none is left, the families
    of events are not in its table.

    Args:
        out: the folder.
        data: data sets, of which a family takes the first of its kind; by default MNIST and N-MNIST, as in the paper.
        seeds: seeds 0, 1, ... of each run.
        regularizers: uncertainty terms in the loss, each for a table of its own, such as ``"variance:5+outliers:0.5"``.
        budget: ``"full"``, or ``"quick"``: small networks on subsets, a few minutes to see that everything works.
        device: where networks run.
        data_dir: folder of the data sets.

    Raises:
        InputError: unknown names, settings that do not go together, data that are not there and cannot be fetched, or
            a folder with the work of another plan.
    """
    check_choice("budget", budget, BUDGETS)
    if not regularizers or len(set(regularizers)) < len(regularizers):
        raise InputError(f"regularizers: expected at least one, each once; got {list(regularizers)}")
    base = make_grids({"device": device}, data=data, families=("all",), seeds=seeds)
    for grid in base:
        datasets.extent(grid.run.data.name, data_dir)  # raises where events are missing
    if budget == "quick":
        base = [_quick(grid, data_dir) for grid in base]
    out = out.resolve()
    several = len(regularizers) > 1
    parts = {}
    for text in regularizers:
        folder = out / text.replace(":", "-")
        parts[text] = plan_parts([*_with(text, base)], folder, f"{folder.name}/" if several else "")
    plan = Plan(out, parts, budget)
    plan.tasks()  # raises where a method and a regularizer do not go together
    if (out / "reproduce.toml").exists():
        require_same(out, _fixed(plan), {name: read_toml(out / "reproduce.toml").get(name) for name in _fixed(plan)})
    return plan


def _quick(grid: Grid, data_dir: str | Path | None) -> Grid:
    settings = dict(QUICK[grid.families[0]])
    settings["train_limit"] = min(settings["train_limit"], datasets.extent(grid.run.data.name, data_dir).train)
    if grid.run.data.name in EVENT_SETS:
        settings |= QUICK_EVENTS
    return replace(grid, run=grid.run.replace(**settings))


def _with(regularizer: str, grids: Sequence[Grid]) -> Iterator[Grid]:
    terms = regularizer_terms(regularizer)
    for grid in grids:
        own = regularizer
        if grid.run.data.name in EVENT_SETS and terms.keys() & set(NEED_IMAGES):
            own = "+".join(f"{name}:{weight!r}" for name, weight in terms.items() if name not in NEED_IMAGES)
        if own:
            yield replace(grid, run=grid.run.replace(regularizer=own))


def _fixed(plan: Plan) -> dict[str, Any]:
    """What may not change in a folder; seeds and regularizers may become more."""
    return {"budget": plan.budget, "data": sorted({part.grid.run.data.name for part in plan.every()})}


def reproduce(plan: Plan, pool: Pool, context: Context = Context()) -> Comparison:
    """Do all runs of a plan, each failed one once more, and write the tables of those that could be done.

    Args:
        plan: what to do.
        pool: the workers.
        context: where and how.

    Returns:
        Tables, files and failures. In `plan.out` are ``results.csv`` (a row a run), ``summary.csv``, ``table.csv`` (the
        paper's layout) and ``reproduce.toml``; below it a comparison for each regularizer and kind of family.

    Raises:
        InputError: one of the runs cannot be done; nothing was done then.
    """
    folder = datasets.data_folder(context.data_dir).resolve()  # workers may have another one by default
    for name in _fixed(plan)["data"]:
        if name != "nmnist":  # which is never fetched, and would be read in full
            datasets.prepare(name, folder)

    def begin() -> None:
        claim(plan.every())
        write_toml(plan.out / "reproduce.toml", _fixed(plan) | {"regularizers": list(plan.parts)})

    results = do_runs(plan.tasks(), replace(context, data_dir=folder), pool=pool, retry=True, begin=begin)
    failures = tuple(result for result in results.values() if isinstance(result, Failure))
    rows = {task: result | {"budget": plan.budget} for task, result in results.items() if isinstance(result, dict)}
    return replace(write_tables(plan.parts, rows, plan.out, budget=plan.budget), failures=failures)
