"""Compare uncertainty terms with posteriors of networks that were trained without a term."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tsnn_uq.devices import use_threads
from tsnn_uq.experiments import Settings, load_network
from tsnn_uq.experiments.ablation.candidates import Stage
from tsnn_uq.experiments.ablation.measured_runs import foreign_set, is_measured, keep_measured, read_measured
from tsnn_uq.experiments.ablation.stages import do_and_measure, runs_left
from tsnn_uq.experiments.bayesian import (
    PosteriorSettings,
    load_draws_of,
    posterior_of_run,
    sparsity_of,
    without_masks,
)
from tsnn_uq.experiments.evaluation import predict_each
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.runner import Task
from tsnn_uq.experiments.settings import Context, run_name, silent
from tsnn_uq.files import csv_text, write_text
from tsnn_uq.results.measure_predictions import measure_predictions
from tsnn_uq.results.predictions import Part, Predictions

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["TEMPERATURES", "count_posteriors", "posteriors", "posteriors_folder", "posteriors_runs"]

TEMPERATURES = (0.003, 0.01, 0.03, 0.1, 1.0)
MEMBERS = 5


def posteriors(
    stage: Stage,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    members: int = MEMBERS,
    settings: dict[str, Any] | None = None,
    context: Context = Context(),
) -> DataFrame:
    """Infer posteriors of each float network (ternary, Laplace, SWAG), and form float and ternary ensembles.

    The temperature of the ternary posteriors is chosen with the first seed, by the smallest negative log-likelihood on
    the validation part.

    Args:
        stage: the finals, whose float and direct runs are read, or trained if they are missing; ``posteriors.csv`` is
            written to its folder, or for another network than the first of its `families` ``posteriors-NETWORK.csv``.
        temperatures: the temperatures to choose from.
        members: number of members of an ensemble, and of seeds to train.
        settings: settings of all posteriors, see `PosteriorSettings`.
        context: where and how runs are done; posteriors are inferred one after the other.

    Returns:
        Two rows for each posterior and ensemble, in the format of the finals, with the term ``"none"``.

    Raises:
        InputError: data are missing, or training a run failed.
    """
    import pandas as pd

    sources, ternary = _networks(stage, members)
    do_and_measure(stage, [*sources, *ternary], context)
    common = {"samples": sources[0].samples, **(settings or {})}
    of_seed = [
        {temperature: PosteriorSettings("ternary", temperature, seed=seed, **common) for temperature in temperatures}
        for seed in range(stage.seeds)
    ]
    losses = {
        temperature: _infer(stage, sources[0], wanted, context)["validation_nll"]
        for temperature, wanted in of_seed[0].items()
    }
    best = min(losses, key=losses.__getitem__)
    rows = []
    for seed in range(stage.seeds):
        kinds = [of_seed[seed][best], *(PosteriorSettings(kind, seed=seed, **common) for kind in ("laplace", "swag"))]
        for wanted in kinds:
            _infer(stage, sources[seed], wanted, context)
            rows += _measured(stage, sources[seed], wanted, context)
    for networks in (sources, ternary):
        rows += _ensemble(stage, networks[:members], context)
    table = pd.DataFrame(rows)
    write_text(posteriors_folder(stage).with_suffix(".csv"), csv_text(table))
    return table


def posteriors_runs(stage: Stage) -> list[Task]:
    """The runs that `posteriors` needs."""
    return runs_left(stage, [run for runs in _networks(stage, MEMBERS) for run in runs])


def count_posteriors(stage: Stage) -> int:
    """Number of posteriors that `posteriors` infers or reads: one per temperature, then three kinds for each seed."""
    return len(TEMPERATURES) + 3 * stage.seeds


def _networks(stage: Stage, members: int) -> list[list[Settings]]:
    """Settings of the float runs and of the ternary runs."""
    seeds = range(max(members, stage.seeds))
    return [[stage.run(stage.network, method, seed=seed) for seed in seeds] for method in ("float", "direct")]


def posteriors_folder(stage: Stage) -> Path:
    """The folder of the posteriors of the stage's network; the table with their rows is beside it."""
    return stage.out / ("posteriors" if stage.network == stage.families[0] else run_name("posteriors", stage.network))


def _place(stage: Stage, wanted: PosteriorSettings) -> Path:
    heat = f"-{wanted.temperature:g}" if wanted.kind == "ternary" else ""
    return posteriors_folder(stage) / f"{wanted.kind}{heat}-{wanted.seed}"


def _infer(stage: Stage, config: Settings, wanted: PosteriorSettings, context: Context) -> dict[str, Any]:
    place = _place(stage, wanted)
    values = posterior_of_run(stage.place(config), wanted, place, replace(context, progress=silent))
    context.progress(place.name, "measure", 1, 1)
    return values


def _measured(stage: Stage, config: Settings, wanted: PosteriorSettings, context: Context) -> list[dict[str, Any]]:
    place = _place(stage, wanted)
    heat = f" at temperature {wanted.temperature:g}" if wanted.kind == "ternary" else ""

    def networks() -> list[nn.Module]:
        return load_draws_of(stage.place(config), place, config.device)

    return _rows(stage, config, place, f"{wanted.kind} posterior{heat}", networks, context)


def _ensemble(stage: Stage, members: Sequence[Settings], context: Context) -> list[dict[str, Any]]:
    """Measure an ensemble of networks that differ only in their seed, without random masks."""
    method = members[0].method.name

    def networks() -> list[nn.Module]:
        return [without_masks(load_network(stage.place(config), config.device)) for config in members]

    place = posteriors_folder(stage) / f"ensemble-{method}"
    return _rows(stage, members[0], place, f"ensemble of {len(members)} {method}", networks, context)


def _rows(
    stage: Stage,
    config: Settings,
    place: Path,
    method: str,
    networks: Callable[[], list[nn.Module]],
    context: Context,
) -> list[dict[str, Any]]:
    """Rows of `measure_predictions` for given networks, kept in their folder so that they are computed once."""
    if not is_measured(place):
        drawn, splits = networks(), load_splits(config, context.data_dir)
        with use_threads(config.threads):
            predictions = Predictions(
                Part(predict_each(drawn, splits.test), splits.test.labels),
                Part(predict_each(drawn, splits.validation), splits.validation.labels),
                {
                    name: Part(predict_each(drawn, foreign_set(of, splits.test.shape, context.data_dir)))
                    for name, of in stage.foreign.items()
                },
            )
        keep_measured(place, measure_predictions(predictions, bins=config.bins), sparsity=sparsity_of(drawn))
    head = {"dataset": stage.data, "family": stage.network, "method": method, "seed": config.seed}
    return read_measured(place, **head, term="none", regularizer="none")
